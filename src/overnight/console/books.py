"""Price books as the calculator page carries them: every digit a string, with how it came about."""

from collections.abc import Iterable
from datetime import date

import msgspec

from overnight.pricing import shelf
from overnight.pricing.book import ListedBook, Prices, Rates, Source, TokenClass
from overnight.pricing.caching import min_cacheable_tokens
from overnight.pricing.money import exact


class PageRate(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a million tokens, or a thousand searches, in US dollars."""

    usd: str
    steps: str


PageRates = dict[TokenClass, PageRate]


class LongPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt of more than `over_tokens` tokens costs instead."""

    over_tokens: int
    standard: PageRates
    batch: PageRates


class PagePrices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    since: date = msgspec.field(name="from")
    source: Source
    standard: PageRates
    batch: PageRates
    long_prompt: LongPrompt | None = None


class PageModel(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    aliases: tuple[str, ...]
    # None where it is not known.
    min_cacheable_tokens: int | None
    # Oldest first; each counts until the next one begins.
    prices: tuple[PagePrices, ...]


class PageBook(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    dated: date
    # Names of moving books for which this one stands in.
    also_named: tuple[str, ...]
    models: tuple[PageModel, ...]


def page_books(own: ListedBook | None = None) -> tuple[PageBook, ...]:
    """Give the books of the page, the default first: a user's own, then those of this release."""
    named = [shelf.open_book(name) for name in (shelf.DEFAULT, shelf.VENDOR_FROZEN)]
    listed = [book for book in named if isinstance(book, ListedBook)]
    if own is not None:
        listed = [own, *(book for book in listed if book.name != own.name)]
    return tuple(_book(book) for book in listed)


def prices_with_length(book: ListedBook, model: str, *, on: date) -> tuple[Prices, Prices | None]:
    """Give a model's prices for short prompts, and those for long ones where they differ."""
    short = book.prices(model, on=on)
    assert short is not None, (model, on)
    if short.long_prompt_tokens is None:
        return short, None
    return short, book.prices(model, on=on, prompt_tokens=short.long_prompt_tokens + 1)


def _book(book: ListedBook) -> PageBook:
    return PageBook(
        name=book.name,
        title=book.title,
        dated=book.dated,
        also_named=(shelf.VENDOR,) if book.name == shelf.VENDOR_FROZEN else (),
        models=tuple(
            PageModel(
                id=entry.id,
                name=entry.display_name,
                aliases=entry.aliases,
                min_cacheable_tokens=min_cacheable_tokens(entry.id),
                prices=tuple(_prices(book, entry.id, (e.since for e in entry.entries))),
            )
            for entry in book.entries
        ),
    )


def _prices(book: ListedBook, model: str, days: Iterable[date]) -> Iterable[PagePrices]:
    for day in days:
        short, long = prices_with_length(book, model, on=day)
        yield PagePrices(
            since=day,
            source=short.source,
            standard=_rates(short.standard),
            batch=_rates(short.batch),
            long_prompt=None
            if long is None
            else LongPrompt(
                over_tokens=short.long_prompt_tokens or 0,
                standard=_rates(long.standard),
                batch=_rates(long.batch),
            ),
        )


def _rates(rates: Rates) -> PageRates:
    return {name: PageRate(usd=exact(rate.usd), steps=rate.steps) for name, rate in rates.items()}
