"""Whole price books as a document with a JSON schema: `GET /overnight/v1/prices`."""

from datetime import date

import msgspec

from overnight.pricing import shelf
from overnight.pricing.book import ListedBook, Rates, Source, TokenClass
from overnight.pricing.money import exact

# Decimal strings in US dollars, for a million tokens or a thousand web searches.
RateStrings = dict[TokenClass, str]


class DatedPrices(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs from one day on. A class that is not listed has no known price."""

    since: date = msgspec.field(name="from")
    source: Source
    # Prompts of more tokens cost more; null where length does not matter.
    long_prompt_tokens: int | None
    standard: RateStrings
    batch: RateStrings


class PricedModel(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    aliases: tuple[str, ...]
    prices: tuple[DatedPrices, ...]


class Book(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    dated: date
    models: tuple[PricedModel, ...]


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Every book that comes with Overnight and lists its prices, the default first."""

    default: str
    currency: str
    books: tuple[Book, ...]


def all_books() -> Books:
    """Give the books in files; `vendor` as installed is left to `vendor-…`, its frozen copy."""
    listed = (shelf.open_book(name) for name in shelf.NAMES if name != shelf.VENDOR)
    return Books(
        default=shelf.DEFAULT,
        currency="USD",
        books=tuple(_book(book) for book in listed if isinstance(book, ListedBook)),
    )


def schema() -> dict[str, object]:
    """Give the JSON schema of `Books`."""
    return msgspec.json.schema(Books)


def _book(book: ListedBook) -> Book:
    return Book(
        name=book.name,
        title=book.title,
        dated=book.dated,
        models=tuple(
            PricedModel(
                id=model.id,
                name=model.display_name,
                aliases=model.aliases,
                prices=tuple(_prices(book, model.id, entry.since) for entry in model.entries),
            )
            for model in book.entries
        ),
    )


def _prices(book: ListedBook, model: str, since: date) -> DatedPrices:
    prices = book.prices(model, on=since)
    assert prices is not None, (model, since)
    return DatedPrices(
        since=since,
        source=prices.source,
        long_prompt_tokens=prices.long_prompt_tokens,
        standard=_rates(prices.standard),
        batch=_rates(prices.batch),
    )


def _rates(rates: Rates) -> RateStrings:
    return {token_class: exact(rate.usd) for token_class, rate in rates.items()}
