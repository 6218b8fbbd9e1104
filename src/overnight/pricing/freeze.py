"""Write the prices of any book as a TOML book of a fixed date.

`python -m overnight.pricing.freeze` writes the book `vendor`: how books/vendor-*.toml were made.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import date

from overnight.pricing.book import PriceBook, Prices, Rates, Source
from overnight.pricing.money import exact

# Prices whose book names no first day.
ALWAYS = date(1970, 1, 1)
_ANY_LENGTH = 10**9


def freeze(book: PriceBook, *, name: str, dated: date, days: Iterable[date]) -> str:
    """Give a TOML book with the prices that `book` has on `days`, from each of them on."""
    blocks = []
    source: Source | None = None
    for model in book.models:
        entries = list(_entries(book, model, sorted({ALWAYS, *days})))
        if entries:
            source = source or entries[0][1].source
            blocks.append(_model(model, entries[0][1].display_name, entries))
    assert source, f"{book.name} has no prices"
    return "\n".join([*_head(name, dated, source, book), *blocks])


_Entry = tuple[date, Prices, Prices | None]


def _entries(book: PriceBook, model: str, days: list[date]) -> Iterator[_Entry]:
    last: tuple[Prices, Prices | None] | None = None
    for day in days:
        prices = book.prices(model, on=day)
        if prices is None or not prices.standard:
            continue
        longer = book.prices(model, on=day, prompt_tokens=_ANY_LENGTH)
        found = prices, longer if prices.long_prompt_tokens is not None else None
        if found != last:
            yield day, *found
        last = found


def _head(name: str, dated: date, source: Source, book: PriceBook) -> Iterator[str]:
    yield f"# Prices of {source.title} as of {dated}, written by overnight.pricing.freeze."
    yield f"# {ALWAYS}: the source names no first day."
    yield "format = 1"
    yield f'name = "{name}"'
    yield f'title = "{source.title}, frozen"'
    yield f"dated = {dated}\n"
    yield "[source]"
    yield f'title = "{source.title}"'
    yield from [f'url = "{source.url}"'] if source.url else []
    yield f"read = {source.read}\n"


def _model(model: str, display_name: str, entries: list[_Entry]) -> str:
    lines = ["[[models]]", f'id = "{model}"', f'name = "{display_name}"']
    for day, prices, longer in entries:
        lines += ["[[models.prices]]", f"from = {day}", *_rates(prices.standard)]
        lines += ["[models.prices.batch]", *_rates(prices.batch)] if prices.batch else []
        if longer:
            lines += ["[models.prices.long_prompt]", f"over_tokens = {prices.long_prompt_tokens}"]
            lines += _rates(longer.standard)
            if longer.batch:
                lines += ["[models.prices.long_prompt.batch]", *_rates(longer.batch)]
    return "\n".join(lines) + "\n"


def _rates(rates: Rates) -> list[str]:
    return [f"{token_class} = {exact(rate.usd)}" for token_class, rate in rates.items()]


def _main() -> None:
    from overnight.pricing.vendor import VendorBook

    book, dated = VendorBook(), date.fromisoformat(sys.argv[1])
    sys.stdout.write(freeze(book, name=f"vendor-{dated}", dated=dated, days=book.days))


if __name__ == "__main__":
    _main()
