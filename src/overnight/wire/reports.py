"""The usage and cost reports of an organization: what is asked, and the objects that answer.

Source: protocol notes §13.1, §13.2, and the reference pages of both reports at
platform.claude.com/docs/en/api/admin (read 2026-11-22).
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, Protocol

import msgspec

from overnight.errors import InvalidRequest

Width = Literal["1m", "1h", "1d"]
CONTEXT_WINDOWS = ("0-200k", "200k-1M")
SERVICE_TIERS = ("standard", "batch", "priority", "priority_on_demand", "flex", "flex_discount")
# Usage is not kept by them: grouped by, they are null; as a filter they match nothing.
_UNKEPT_GROUPS = ("api_key_id", "account_id", "service_account_id", "inference_geo", "speed")
UNKEPT_FILTERS = ("api_key_ids", "account_ids", "service_account_ids", "inference_geos", "speeds")
USAGE_GROUPS = ("context_window", "model", "service_tier", "workspace_id", *_UNKEPT_GROUPS)
COST_GROUPS = ("description", "workspace_id")
_PAGE = "page_"


class Buckets(NamedTuple):
    width: timedelta
    default: int
    most: int


WIDTHS: Mapping[str, Buckets] = {
    "1d": Buckets(timedelta(days=1), 7, 31),
    "1h": Buckets(timedelta(hours=1), 24, 168),
    "1m": Buckets(timedelta(minutes=1), 60, 1_440),
}


class Query(Protocol):
    """A query string; a key may be there more than once."""

    def __iter__(self) -> Iterator[str]: ...

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which buckets of a report: from `since`, whole, up to `until`."""

    since: datetime
    until: datetime
    width: timedelta
    # Where the next page begins; None on the last one.
    next_since: datetime | None
    group_by: frozenset[str]
    models: tuple[str, ...] = ()
    workspace_ids: tuple[str, ...] = ()
    service_tiers: tuple[str, ...] = ()
    context_windows: tuple[str, ...] = ()
    # A filter that no usage of ours can pass.
    matches_nothing: bool = False

    @property
    def starts(self) -> Sequence[datetime]:
        """Give the beginning of every bucket."""
        count = -(-(self.until - self.since) // self.width)
        return [self.since + self.width * number for number in range(count)]


class CacheCreation(msgspec.Struct, frozen=True, kw_only=True):
    ephemeral_1h_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0


class ServerToolUse(msgspec.Struct, frozen=True, kw_only=True):
    web_search_requests: int = 0


class UsageResult(msgspec.Struct, frozen=True, kw_only=True):
    """Usage in one bucket; dimensions that were not grouped by are null."""

    uncached_input_tokens: int
    cache_creation: CacheCreation
    cache_read_input_tokens: int
    output_tokens: int
    server_tool_use: ServerToolUse
    api_key_id: str | None = None
    # Null for the default workspace, too.
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    inference_geo: str | None = None
    account_id: str | None = None
    service_account_id: str | None = None


class CostResult(msgspec.Struct, frozen=True, kw_only=True):
    """Cost in one bucket. `amount` is in cents, exact; null where the price is unknown."""

    currency: Literal["USD"] = "USD"
    amount: str | None
    workspace_id: str | None = None
    description: str | None = None
    cost_type: str | None = None
    token_type: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    model: str | None = None
    inference_geo: str | None = None


class UsageBucket(msgspec.Struct, frozen=True, kw_only=True):
    starting_at: str
    ending_at: str
    results: list[UsageResult]


class CostBucket(msgspec.Struct, frozen=True, kw_only=True):
    starting_at: str
    ending_at: str
    results: list[CostResult]


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    data: list[CostBucket]
    has_more: bool
    next_page: str | None


def read_usage_query(query: Query, *, now: datetime) -> ReportQuery:
    """Read the query of the usage report. Raises: InvalidRequest that names the parameter."""
    _refuse_unknown(
        query,
        "models", "workspace_ids", "service_tiers", "context_window", *UNKEPT_FILTERS,
    )  # fmt: skip
    tiers, contexts = _list(query, "service_tiers"), _list(query, "context_window")
    _known("service_tiers", tiers, SERVICE_TIERS)
    _known("context_window", contexts, CONTEXT_WINDOWS)
    return msgspec.structs.replace(
        _window(query, now=now, widths=("1d", "1h", "1m"), groups=USAGE_GROUPS),
        models=_list(query, "models"),
        workspace_ids=_list(query, "workspace_ids"),
        service_tiers=tiers,
        context_windows=contexts,
        matches_nothing=any(_list(query, name) for name in UNKEPT_FILTERS),
    )


def read_cost_query(query: Query, *, now: datetime) -> ReportQuery:
    """Read the query of the cost report, which is by day. Raises: InvalidRequest."""
    _refuse_unknown(query, "workspace_ids")
    return msgspec.structs.replace(
        _window(query, now=now, widths=("1d",), groups=COST_GROUPS),
        workspace_ids=_list(query, "workspace_ids"),
    )


def next_page(query: ReportQuery) -> str | None:
    """Write the cursor of the page behind this one."""
    if query.next_since is None:
        return None
    return _PAGE + base64.b64encode(moment(query.next_since).encode()).decode()


def moment(at: datetime) -> str:
    """Write a bucket's edge."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _window(
    query: Query, *, now: datetime, widths: Sequence[Width], groups: Sequence[str]
) -> ReportQuery:
    asked = _one(query, "bucket_width") or "1d"
    _known("bucket_width", (asked,), widths)
    group_by = _list(query, "group_by")
    _known("group_by", group_by, groups)
    width, default, most = WIDTHS[asked]
    limit = _limit(_one(query, "limit"), default, most)
    starting_at = _one(query, "starting_at")
    if not starting_at:
        raise InvalidRequest("starting_at: Field required")
    since = _snapped(_moment(starting_at, "starting_at"), width)
    ending_at = _one(query, "ending_at")
    # Without an end: up to the bucket that is running now.
    end = _moment(ending_at, "ending_at") if ending_at else _snapped(now, width) + width
    if ending_at and end <= since:
        raise InvalidRequest("ending_at: must be after starting_at")
    if page := _one(query, "page"):
        since = max(since, _snapped(_cursor(page), width))
    end = max(_snapped(end, width), since)
    until = min(end, since + width * limit)
    return ReportQuery(
        since=since,
        until=until,
        width=width,
        next_since=until if until < end else None,
        group_by=frozenset(group_by),
    )


def _refuse_unknown(query: Query, *filters: str) -> None:
    known = {"starting_at", "ending_at", "bucket_width", "limit", "page", "group_by", "format"}
    known.update(filters)
    for name in query:
        if name.removesuffix("[]") not in known:
            raise InvalidRequest(f"{name}: Extra inputs are not permitted")


def _one(query: Query, name: str) -> str | None:
    values = query.getall(name, [])
    return values[-1] if values else None


def _list(query: Query, name: str) -> tuple[str, ...]:
    values = [*query.getall(f"{name}[]", []), *query.getall(name, [])]
    return tuple(dict.fromkeys(value for value in values if value))


def _known(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise InvalidRequest(f"{name}: {value!r}: Input should be {', '.join(known)}")


def _limit(text: str | None, default: int, most: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise InvalidRequest("limit: Input should be a valid integer")
    if not 1 <= int(text) <= most:
        raise InvalidRequest(f"limit: {int(text)}: at least 1, at most {most} of these buckets")
    return int(text)


def _moment(text: str, name: str) -> datetime:
    """Read an RFC 3339 timestamp; a plus sign that a query turned into a space is one."""
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        # Buckets are counted from 1970 on, and their ends must exist.
        if not 1970 <= at.year <= 9_000:
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{name}: {text!r}: not an RFC 3339 timestamp", hint="write 2026-11-22T00:00:00Z"
        ) from None
    return at


def _snapped(at: datetime, width: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return at - (at - epoch) % width


def _cursor(page: str) -> datetime:
    try:
        if not page.startswith(_PAGE):
            raise ValueError
        text = base64.b64decode(page.removeprefix(_PAGE), validate=True).decode()
        return _moment(text, "page")
    except (binascii.Error, ValueError, InvalidRequest):
        raise InvalidRequest(
            f"page: {page[:80]!r}: not a page", hint="send the next_page of the last answer"
        ) from None
