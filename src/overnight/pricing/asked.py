"""A price asked for as JSON: `POST /overnight/v1/price`. Bounded, and pure but for our books.

Two questions: a workload (`models`, `requests`, `input_tokens`, …) gives what `overnight price
--json` prints; a `usage` as the API reports it gives the cost of that usage.
"""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from overnight.errors import InvalidRequest
from overnight.pricing import document, doors, shelf
from overnight.pricing.book import PriceBook, Tier
from overnight.pricing.caching import DEFAULT_CONCURRENCY
from overnight.pricing.cost import cost
from overnight.pricing.document import Document
from overnight.pricing.quantity import MAX_REQUESTS, MAX_TOKENS_PER_REQUEST, number, share, whole
from overnight.pricing.quote import MAX_MODELS, quote
from overnight.pricing.workload import Ttl, Workload
from overnight.wire.syntax import read_json

MAX_BYTES = 64_000
MAX_NAME_CHARACTERS = 200
MAX_CONCURRENCY = 100_000

# A JSON number, or one as people write it: "1.2k".
Number = int | float | str


class PriceQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str | None = None
    models: tuple[str, ...] = ()
    requests: Number = 1
    input_tokens: Number = 0
    output_tokens: Number = 0
    # Of the prompt: the part that all requests begin with, in tokens or as a share.
    shared_tokens: Number | None = None
    cache_read: Number | None = None
    cache_ttl: Ttl = "5m"
    hit_rate: Number = 1
    concurrency: Number = DEFAULT_CONCURRENCY
    tier: Tier = "batch"
    # The name of a book that comes with Overnight; paths are for the command line alone.
    book: str = shelf.DEFAULT
    on: date | None = None
    # Instead of the workload: token counts of one request or a sum, as `usage` of a message.
    usage: dict[str, Any] | None = None


def answer(body: bytes) -> Document:
    """Answer a question in JSON. Raises: InvalidRequest with the field that is wrong."""
    if len(body) > MAX_BYTES:
        raise InvalidRequest(f"body: {len(body):,} bytes, at most {MAX_BYTES:,}")
    hint = 'send {"model": …, "requests": …, "input_tokens": …, …}'
    asked = read_json(body, PriceQuestion, hint=hint)
    models = asked.models or ((asked.model,) if asked.model else ())
    for name in models:
        if len(name) > MAX_NAME_CHARACTERS:
            raise InvalidRequest(
                f"models: a name of {len(name)} characters, at most {MAX_NAME_CHARACTERS}"
            )
    book, on = _book(asked.book), asked.on or doors.today()
    if asked.usage is not None:
        return _cost(asked, asked.usage, models, book, on)
    found = quote(
        _workload(asked),
        models=models or book.models[:MAX_MODELS],
        tier=asked.tier,
        book=book,
        on=on,
        concurrency=_whole(asked.concurrency, "concurrency", MAX_CONCURRENCY),
    )
    return document.of_quote(found)


def _cost(
    asked: PriceQuestion, usage: dict[str, Any], models: tuple[str, ...], book: PriceBook, on: date
) -> Document:
    if len(models) != 1:
        raise InvalidRequest(f"usage: of one model, but models names {len(models)}")
    found = cost(
        doors.usage_of(usage),
        model=models[0],
        tier=asked.tier,
        book=book,
        on=on,
        requests=_whole(asked.requests, "requests", MAX_REQUESTS),
    )
    return document.of_cost(found)


def _workload(asked: PriceQuestion) -> Workload:
    input_tokens = _tokens(asked.input_tokens, "input_tokens")
    shared_tokens = Decimal(0)
    if asked.shared_tokens is not None:
        shared_tokens = _tokens(asked.shared_tokens, "shared_tokens")
    elif asked.cache_read is not None:
        shared_tokens = input_tokens * share(str(asked.cache_read), name="cache_read")
    return Workload(
        requests=_whole(asked.requests, "requests", MAX_REQUESTS),
        input_tokens=input_tokens,
        output_tokens=_tokens(asked.output_tokens, "output_tokens"),
        shared_tokens=shared_tokens,
        ttl=asked.cache_ttl,
        hit_rate=share(str(asked.hit_rate), name="hit_rate"),
    )


def _tokens(value: Number, name: str) -> Decimal:
    return number(str(value), name=name, at_most=MAX_TOKENS_PER_REQUEST, unit="tokens")


def _whole(value: Number, name: str, at_most: int) -> int:
    return whole(str(value), name=name, at_most=at_most, at_least=1)


def _book(name: str) -> PriceBook:
    if name not in shelf.NAMES:
        raise InvalidRequest(f"book: no price book {name[:MAX_NAME_CHARACTERS]!r}",
                             hint=f"use {', '.join(shelf.NAMES)}")  # fmt: skip
    return shelf.open_book(name)
