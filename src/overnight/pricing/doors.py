"""The calculator for Python: `overnight.cost`, `overnight.estimate`. No network, no service."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from os import PathLike, fspath
from typing import TYPE_CHECKING

import msgspec

from overnight.errors import InvalidRequest
from overnight.model import Usage
from overnight.pricing import cost as core
from overnight.pricing import shelf
from overnight.pricing.book import PriceBook, Tier
from overnight.pricing.cost import Cost

if TYPE_CHECKING:
    from overnight.pricing.estimate import Estimate
    from overnight.pricing.sampling import Exact, Pilot

Book = str | PathLike[str] | PriceBook


def cost(
    usage: Usage | Mapping[str, object],
    model: str,
    tier: Tier = "batch",
    *,
    on: date | None = None,
    book: Book = shelf.DEFAULT,
    requests: int = 1,
) -> Cost:
    """Give what a usage costs, itemised, beside its standard price and the saving.

    `usage` is an `overnight.Usage`, or the `usage` object of a message as the API sends it.
    `on` is the day whose prices count, today without it; `book` the name of a price book, the
    path of one, or a book. A model or class without a known price is None in the result, never 0.

    Raises: InvalidRequest, ConfigInvalid (both `overnight.errors.OvernightError`).
    """
    counted = usage if isinstance(usage, Usage) else usage_of(usage)
    return core.cost(
        counted,
        model=model,
        tier=tier,
        book=opened(book),
        on=on or today(),
        requests=requests,
    )


def estimate(
    path: str | PathLike[str],
    model: str | Sequence[str] | None = None,
    tier: Tier = "batch",
    *,
    on: date | None = None,
    book: Book = shelf.DEFAULT,
    prompt: str | None = None,
    max_tokens: int | None = None,
    output_tokens: Decimal | int | None = None,
    exact: "Exact | None" = None,
    pilot: "Pilot | None" = None,
) -> "Estimate":
    """Count the requests of a file offline and give their cost as a range.

    JSONL as for a batch, one JSON body, or a CSV with a `prompt` template (`Sum up: {text}`).
    Without `model` each request's own model counts; several price the file on each of them.
    `output_tokens` is the mean output you expect. `exact` and `pilot` ask a server about a sample
    of the file; without them nothing is sent.

    Raises: InvalidRequest, ConfigInvalid.
    """
    # Reading files costs more to import than pricing does.
    from overnight.pricing import estimate as core_estimate

    models = (model,) if isinstance(model, str) else tuple(model or ())
    return core_estimate.estimate(
        fspath(path),
        book=opened(book),
        on=on or today(),
        tier=tier,
        models=models,
        prompt=prompt,
        max_tokens=max_tokens,
        output_tokens=None if output_tokens is None else Decimal(output_tokens),
        exact=exact,
        pilot=pilot,
    )


def opened(book: Book) -> PriceBook:
    """Give the book itself."""
    return shelf.open_book(fspath(book)) if isinstance(book, str | PathLike) else book


def today() -> date:
    """Give the day whose prices count when none is named: today in UTC."""
    return datetime.now(UTC).date()


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _ServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: int = 0


class _WireUsage(msgspec.Struct, frozen=True):
    """The `usage` of a message; cache fields may be null."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None


class _OwnUsage(Usage, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our own names, without any other."""


def usage_of(given: Mapping[str, object]) -> Usage:
    """Read a usage from a mapping, in our names or as the API writes it.

    Writes that the API does not split by TTL count as 5-minute writes, its default.

    Raises: InvalidRequest.
    """
    own = any(name in given for name in ("cache_write_5m_tokens", "cache_write_1h_tokens"))
    own = own or "cache_read_tokens" in given or "web_searches" in given
    try:
        if own:
            return msgspec.convert(given, _OwnUsage)
        wire = msgspec.convert(given, _WireUsage)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"usage: {error}", hint="pass message.usage as a dict, or overnight.Usage(…)"
        ) from None
    split = wire.cache_creation or _CacheCreation(
        ephemeral_5m_input_tokens=wire.cache_creation_input_tokens or 0
    )
    return Usage(
        input_tokens=wire.input_tokens,
        cache_write_5m_tokens=split.ephemeral_5m_input_tokens,
        cache_write_1h_tokens=split.ephemeral_1h_input_tokens,
        cache_read_tokens=wire.cache_read_input_tokens or 0,
        output_tokens=wire.output_tokens,
        web_searches=wire.server_tool_use.web_search_requests if wire.server_tool_use else 0,
    )
