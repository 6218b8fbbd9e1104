"""Limits as the Admin API shows and sets them: one group, that of batches.

Source: SDK 2.12 types `organization.rate_limit` and `organization.workspaces.rate_limit`, and the
documented example of the group `batch`, read 2026-11.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from overnight.errors import InvalidRequest, NotFound
from overnight.tenancy import MAX_LIMIT, Allowance, LimitName, Workspace
from overnight.wire.paging import MAX_LIMIT as MAX_ROWS
from overnight.wire.schema import rule
from overnight.wire.syntax import read_json

# What the wire calls each limit; the last two are ours.
LIMITERS: Mapping[str, LimitName] = {
    "requests_per_minute": "requests_per_minute",
    "enqueued_batch_requests": "queued_requests",
    "batch_body_bytes_in_flight": "body_bytes_in_flight",
    "concurrent_batch_uploads": "uploads",
}
RATE_LIMIT_ID = "rl_01batches"
GROUP_TYPES = ("batch", "files", "model_group", "skills", "token_count", "web_search")


NewLimit = Annotated[int, rule(minimum=0, maximum=MAX_LIMIT)]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    id: str = "rlg_01batches"
    type: Literal["batch"] = "batch"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    value: int


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of every workspace that has none of its own."""

    id: str = RATE_LIMIT_ID
    group: Group = Group()
    limits: list[Value]
    models: None = None
    type: Literal["rate_limit"] = "rate_limit"


class RateLimitPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[RateLimit]
    next_page: None = None


class LimitSource(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["workspace", "organization"]


class WorkspaceValue(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    value: int
    source: LimitSource
    # What workspaces have without a limit of their own; null: none.
    org_limit: int | None


class WorkspaceRateLimit(msgspec.Struct, frozen=True, kw_only=True):
    group: Group = Group()
    limits: list[WorkspaceValue]
    models: None = None
    rate_limit_id: str = RATE_LIMIT_ID
    type: Literal["workspace_rate_limit"] = "workspace_rate_limit"
    workspace_id: str


class WorkspaceRateLimitPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[WorkspaceRateLimit]
    next_page: None = None


class NewValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Annotated[str, rule(enum=list(LIMITERS))]
    value: NewLimit | None


class NewLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a change."""

    limits: list[NewValue]


def rate_limit(defaults: Allowance) -> RateLimit:
    values = ((of, getattr(defaults, name)) for of, name in LIMITERS.items())
    return RateLimit(limits=[Value(type=of, value=value) for of, value in values if value])


def workspace_rate_limit(
    workspace: Workspace, defaults: Allowance, *, with_inherited: bool
) -> WorkspaceRateLimit:
    """Show the limits of a workspace: its own, and with those that it inherits."""
    limits = []
    for of, name in LIMITERS.items():
        own, inherited = getattr(workspace.allowance, name), getattr(defaults, name) or None
        if own is not None:
            source, value = LimitSource(type="workspace"), own
        elif with_inherited and inherited is not None:
            source, value = LimitSource(type="organization"), inherited
        else:
            continue
        limits.append(WorkspaceValue(type=of, value=value, source=source, org_limit=inherited))
    return WorkspaceRateLimit(limits=limits, workspace_id=workspace.id)


def read_new_limits(body: bytes) -> dict[LimitName, int | None]:
    """Read which limits shall change; None falls back to the settings, 0 is no limit.

    Raises: InvalidRequest that names the limit.
    """
    changed: dict[LimitName, int | None] = {}
    for given in read_json(body, NewLimits).limits:
        if given.type not in LIMITERS:
            raise InvalidRequest(f"limits: {given.type!r} is none of {', '.join(LIMITERS)}")
        changed[LIMITERS[given.type]] = checked(given.type, given.value)
    return changed


def checked(name: str, value: int | None) -> int | None:
    """Raises: InvalidRequest for a number that cannot be a limit."""
    if value is not None and not 0 <= value <= MAX_LIMIT:
        raise InvalidRequest(f"{name}: {value}, from 0 (no limit) to {MAX_LIMIT}, or null")
    return value


def shows_batches(query: Mapping[str, str]) -> bool:
    """Tell whether a list query asks for the group of batches.

    Raises: InvalidRequest for what it cannot mean; NotFound for a model, which has no limits here.
    """
    if query.get("model"):
        raise NotFound(f"model: {query['model']} has no rate limits of its own")
    if query.get("page"):
        raise InvalidRequest("page: there is only one; leave it out")
    limit = query.get("limit") or "1"
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_ROWS):
        raise InvalidRequest(f"limit: {limit!r}: Input should be from 1 to {MAX_ROWS}")
    group_type = query.get("group_type") or "batch"
    if group_type not in GROUP_TYPES:
        raise InvalidRequest(
            f"group_type: {group_type!r}: Input should be {', '.join(GROUP_TYPES)}"
        )
    return group_type == "batch"
