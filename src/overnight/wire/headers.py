"""What the headers of the wire mean: version, betas, when to come back, rate limits. Pure.

Source: protocol notes §2.2, §2.4, §8.5 (SDK 2.12 and public write-ups, read 2026-11).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol

from overnight.budget import read_usd
from overnight.errors import InvalidRequest
from overnight.model import Limit

# Newest first. 2.x clients send the first one, older clients the second one.
API_VERSIONS = ("2026-10-21", "2023-06-01")

_host = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?").fullmatch
_LIMITS: tuple[tuple[Literal["requests", "input_tokens", "output_tokens"], str], ...] = (
    ("requests", "anthropic-ratelimit-requests-limit"),
    ("input_tokens", "anthropic-ratelimit-input-tokens-limit"),
    ("output_tokens", "anthropic-ratelimit-output-tokens-limit"),
)
# Both are kept with a batch and sent on to its backend.
MAX_PROFILE_ID = 255
MAX_BETAS = 4_096
_visible = re.compile(r"[!-~]+").fullmatch
# Far above any limit; what is more is no number of ours.
_MAX_DIGITS = 15


class Headers(Protocol):
    """Request headers by case-insensitive name; a header may be there more than once."""

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


def api_version(headers: Headers) -> str:
    """Give the API version that the caller asks for.

    Raises: InvalidRequest when `anthropic-version` is missing, not known, or given twice with
    different values.
    """
    values = sorted({value.strip() for value in headers.getall("anthropic-version", [])})
    if not values:
        raise InvalidRequest("anthropic-version: header is required")
    known = ", ".join(API_VERSIONS)
    if len(values) > 1:
        raise InvalidRequest(
            f"anthropic-version: sent {len(values)} different values ({', '.join(values)}); "
            f"send one of: {known}"
        )
    if values[0] not in API_VERSIONS:
        raise InvalidRequest(
            f'anthropic-version: "{values[0]}" is not a valid version; send one of: {known}'
        )
    return values[0]


def host_name(text: str) -> str | None:
    """Give the name or address in a `host` header, in lower case and without the port.

    An IPv6 address keeps its brackets; None when it is neither.
    """
    found = _host(text)
    return found[1].lower() if found else None


def betas(headers: Headers) -> tuple[str, ...]:
    """List the beta names in the order sent, each once: comma lists and repeated headers.

    Raises: InvalidRequest for what cannot be a name, and for too many of them.
    """
    lists = headers.getall("anthropic-beta", [])
    if (size := sum(map(len, lists))) > MAX_BETAS:
        raise InvalidRequest(f"anthropic-beta: {size} characters, at most {MAX_BETAS}")
    names = (name.strip() for names in lists for name in names.split(","))
    found = tuple(dict.fromkeys(name for name in names if name))
    if not all(map(_visible, found)):
        raise InvalidRequest("anthropic-beta: names must be visible ASCII characters")
    return found


def user_profile_id(headers: Headers) -> str | None:
    """Give the user profile that a call is about. Raises: InvalidRequest."""
    values = headers.getall("anthropic-user-profile-id", [])
    if not values:
        return None
    if len(values) > 1 or len(values[0]) > MAX_PROFILE_ID or not _visible(values[0]):
        raise InvalidRequest(
            "anthropic-user-profile-id: must be sent once, as 1 to "
            f"{MAX_PROFILE_ID} visible ASCII characters"
        )
    return values[0]


def auto_cache(headers: Headers) -> bool | None:
    """Tell whether `overnight-auto-cache` asks for breakpoints; None when it is not sent.

    Raises: InvalidRequest for anything else than `true` or `false`, and for both.
    """
    values = sorted({value.strip() for value in headers.getall("overnight-auto-cache", [])})
    if not values:
        return None
    if values not in (["true"], ["false"]):
        shown = ", ".join(f'"{value}"' for value in values)
        raise InvalidRequest(
            f"overnight-auto-cache: {shown}, must be true or false",
            hint="leave the header out to have it as the service is set",
        )
    return values == ["true"]


def max_cost_usd(headers: Headers) -> Decimal | None:
    """Read `overnight-max-cost-usd`, the budget of a batch; None when it is not sent.

    Raises: InvalidRequest for what is no amount above 0, and for two different ones.
    """
    values = sorted({value.strip() for value in headers.getall("overnight-max-cost-usd", [])})
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest(f"overnight-max-cost-usd: sent {len(values)} different values")
    return read_usd(values[0], name="overnight-max-cost-usd")


def retry_after_s(
    milliseconds: str | None, seconds_or_date: str | None, *, now: datetime
) -> float | None:
    """Read `retry-after-ms`, else `retry-after`: seconds from `now`, or None when neither is valid.

    A moment that has passed gives 0.
    """
    wait = _number(milliseconds)
    if wait is not None:
        return wait / 1000
    wait = _number(seconds_or_date)
    if wait is not None or seconds_or_date is None:
        return wait
    try:
        moment = parsedate_to_datetime(seconds_or_date)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def rate_limits(header: Callable[[str], str | None]) -> tuple[Limit, ...]:
    """Read `anthropic-ratelimit-*` of an answer: those limits that are stated well."""
    found = []
    for of, name in _LIMITS:
        told = header(name)
        if told is not None and (per_minute := _count(told)):
            prefix = name.removesuffix("-limit")
            remaining = _count(header(f"{prefix}-remaining"))
            if remaining is not None:
                full_at = _moment(header(f"{prefix}-reset"))
                found.append(
                    Limit(of=of, per_minute=per_minute, remaining=remaining, full_at=full_at)
                )
    return tuple(found)


def rate_headers(
    per_minute: int, *, remaining: int, full_at: datetime
) -> list[tuple[bytes, bytes]]:
    """Write `anthropic-ratelimit-requests-*`: the limit, what is left, when all is left again."""
    # Rounded up, or a client would be told a moment that is too early.
    reset = (full_at + timedelta(seconds=1, microseconds=-1)).replace(microsecond=0)
    return [
        (b"anthropic-ratelimit-requests-limit", b"%d" % per_minute),
        (b"anthropic-ratelimit-requests-remaining", b"%d" % remaining),
        (b"anthropic-ratelimit-requests-reset", f"{reset:%Y-%m-%dT%H:%M:%SZ}".encode()),
    ]


def _count(text: str | None) -> int | None:
    if text and text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        return int(text)
    return None


def _moment(text: str | None) -> datetime | None:
    """Read RFC 3339; None for anything else, a time without a zone too."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _number(text: str | None) -> float | None:
    """Read a finite number that is not negative; None for anything else."""
    try:
        number = float(text) if text else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
