"""The worked examples of the page: four typical jobs, priced by the book of 2026."""

from datetime import date
from decimal import Decimal

import msgspec

from overnight.pricing import shelf
from overnight.pricing.cost import Cost, cost
from overnight.pricing.link import Question, fragment
from overnight.pricing.quantity import compact
from overnight.pricing.workload import Workload


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A job in words and numbers."""

    title: str
    what: str
    model: str
    work: Workload


class PricedExample(msgspec.Struct, frozen=True, kw_only=True):
    """An example with its cost, and the fragment that loads it into the calculator."""

    example: Example
    cost: Cost
    fragment: str

    @property
    def input_total(self) -> str:
        """Give the input tokens of all requests the short way: `20M`."""
        return compact(self.example.work.usage().input_tokens)

    @property
    def output_total(self) -> str:
        return compact(self.example.work.usage().output_tokens)


def _job(
    title: str, what: str, model: str, *, requests: int, tokens_in: int, tokens_out: int
) -> Example:
    work = Workload(
        requests=requests,
        input_tokens=Decimal(tokens_in),
        output_tokens=Decimal(tokens_out),
    )
    return Example(title=title, what=what, model=model, work=work)


EXAMPLES = (
    _job("Label 100,000 short documents", "A tag for each support ticket of the year.",
         "claude-haiku-4-5", requests=100_000, tokens_in=200, tokens_out=50),
    _job("Generate 50,000 product descriptions", "A shop’s whole catalogue, rewritten.",
         "claude-sonnet-4-6", requests=50_000, tokens_in=500, tokens_out=300),
    _job("Summarize 10,000 legal contracts", "Long to read, short to answer.",
         "claude-sonnet-4-6", requests=10_000, tokens_in=8_000, tokens_out=500),
    _job("Evaluate 5,000 long-form essays", "Graded by the most capable model.",
         "claude-opus-4-7", requests=5_000, tokens_in=3_000, tokens_out=200),
)  # fmt: skip


def priced(on: date) -> tuple[PricedExample, ...]:
    """Price the examples on a day."""
    book = shelf.open_book()
    return tuple(
        PricedExample(
            example=example,
            cost=cost(
                example.work.usage(),
                model=example.model,
                tier="batch",
                book=book,
                on=on,
                requests=example.work.requests,
            ),
            fragment=fragment(
                Question(workload=example.work, models=(example.model,), book=book.name, on=on)
            ),
        )
        for example in EXAMPLES
    )
