"""What the calculator page says: prices, examples, advice and code as values. Pure."""

import re
from datetime import date
from decimal import Decimal

import msgspec

from overnight import __version__
from overnight.console import books, code, examples
from overnight.pricing import advice, shelf
from overnight.pricing.book import ListedBook, Prices, Source, Tier, TokenClass
from overnight.pricing.compare import Disagreement, disagreements
from overnight.pricing.link import Question, fragment
from overnight.pricing.money import percent

DEFAULT_BASE_URL = "http://127.0.0.1:8484"
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?")


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the price table, in US dollars for a million tokens."""

    prices: Prices

    def usd(self, token_class: str, tier: Tier) -> Decimal | None:
        rate = self.prices.rates(tier).get(TokenClass(token_class))
        return rate.usd if rate else None

    def is_discounted(self, token_class: str) -> bool:
        return self.usd(token_class, "batch") != self.usd(token_class, "standard")

    @property
    def saving_percent(self) -> Decimal | None:
        """Give what a batch saves on input, in percent."""
        standard, batch = self.usd("input", "standard"), self.usd("input", "batch")
        if standard is None or batch is None:
            return None
        return percent(standard - batch, standard)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How another book prices a model of the table."""

    name: str
    found: tuple[Disagreement, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the templates show, and the data that the calculator works with."""

    version: str
    # The day whose prices the tables show.
    on: date
    base_url: str
    book_title: str
    sources: tuple[Source, ...]
    rows: tuple[PriceRow, ...]
    differences: tuple[Difference, ...]
    examples: tuple[examples.PricedExample, ...]
    use_cases: tuple[advice.UseCase, ...]
    rule_of_thumb: str
    # By model, the published rates that the answers quote.
    published: tuple[PriceRow, ...]
    samples: tuple[code.Sample, ...]
    model: str
    data: dict[str, object]


def page(
    *,
    on: date,
    base_url: str = DEFAULT_BASE_URL,
    is_served: bool = False,
    own: ListedBook | None = None,
    question: Question | None = None,
) -> Page:
    """Compose the page for a day.

    `own` is a user's price book, shown first; `question` fills the calculator in. A served page
    takes the address for its code from the browser; `base_url` is what it shows without scripts.
    """
    published = _listed(shelf.DEFAULT)
    shown = own or published
    first = examples.EXAMPLES[0]
    opening = question or Question(
        workload=first.work, models=(_opening_model(shown, first.model),), book=shown.name, on=on
    )
    address = base_url if _URL.fullmatch(base_url) else DEFAULT_BASE_URL
    rows = _rows(shown, on)
    return Page(
        version=__version__,
        on=on,
        base_url=address,
        book_title=shown.title,
        sources=tuple(dict.fromkeys(row.prices.source for row in rows)),
        rows=rows,
        differences=_differences(shown, rows, on),
        examples=examples.priced(on),
        use_cases=advice.USE_CASES,
        rule_of_thumb=advice.RULE_OF_THUMB,
        published=_rows(published, on),
        samples=code.SAMPLES,
        model=opening.models[0],
        data={
            "format": 1,
            "today": on.isoformat(),
            "base_url": None if is_served else address,
            "question": fragment(opening),
            "books": books.page_books(own),
            "samples": {sample.id: sample.text for sample in code.SAMPLES},
            "advice": {
                "batch_window_h": advice.BATCH_WINDOW_H,
                "few_requests": advice.FEW_REQUESTS,
            },
        },
    )


def _listed(name: str) -> ListedBook:
    book = shelf.open_book(name)
    assert isinstance(book, ListedBook), name
    return book


def _opening_model(book: ListedBook, model: str) -> str:
    return model if book.resolve(model) else book.models[0]


def _rows(book: ListedBook, on: date) -> tuple[PriceRow, ...]:
    priced = (book.prices(model, on=on) for model in book.models)
    return tuple(PriceRow(prices=prices) for prices in priced if prices)


def _differences(book: ListedBook, rows: tuple[PriceRow, ...], on: date) -> tuple[Difference, ...]:
    other = shelf.open_book(shelf.VENDOR_FROZEN)
    found = (
        Difference(
            name=row.prices.display_name,
            found=disagreements(row.prices.model, book=book, others=[other], on=on),
        )
        for row in rows
    )
    return tuple(difference for difference in found if difference.found)
