"""A quote: what a workload costs on each of several models, before it runs."""

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal

import msgspec

from overnight.errors import InvalidRequest
from overnight.pricing import caching, shelf
from overnight.pricing.book import PriceBook, Tier
from overnight.pricing.caching import CachingAdvice
from overnight.pricing.compare import Disagreement, disagreements
from overnight.pricing.cost import Cost, cost
from overnight.pricing.workload import Workload

MAX_MODELS = 50
# Digits of the price of one request, which seldom divides evenly.
_PER_REQUEST = Context(prec=12, rounding=ROUND_HALF_UP)


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a quote."""

    # In the batch tier; it carries the standard price beside each amount.
    cost: Cost
    # None without a shared prompt.
    caching: CachingAdvice | None
    disagreements: tuple[Disagreement, ...]
    # The other book's prices of the same work, for the books that disagree.
    other_costs: tuple[Cost, ...]

    def usd(self, tier: Tier) -> Decimal | None:
        return self.cost.usd if tier == "batch" else self.cost.standard_usd

    def complete(self, tier: Tier) -> bool:
        return self.cost.complete if tier == "batch" else self.cost.standard_complete


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload costs; the models stand in the order of the question."""

    workload: Workload
    tier: Tier
    on: date
    book_name: str
    book_title: str
    book_dated: date
    options: tuple[Option, ...]

    def per_request_usd(self, usd: Decimal | None) -> Decimal | None:
        """Give an amount for one request, to twelve digits."""
        return None if usd is None else _PER_REQUEST.divide(usd, Decimal(self.workload.requests))

    def times_cheapest(self, option: Option) -> Decimal | None:
        """Give how many times the cheapest model's price an option costs, to two decimals."""
        known = [o.usd(self.tier) for o in self.options if o.complete(self.tier)]
        cheapest = min((usd for usd in known if usd), default=None)
        usd = option.usd(self.tier)
        if not cheapest or usd is None or not option.complete(self.tier):
            return None
        return _PER_REQUEST.divide(usd, cheapest).quantize(Decimal("0.01"))


def quote(
    workload: Workload,
    *,
    models: Sequence[str],
    tier: Tier,
    book: PriceBook,
    on: date,
    concurrency: int = caching.DEFAULT_CONCURRENCY,
) -> Quote:
    """Price a workload on each model. Pure but for reading the books that come with Overnight.

    Raises: InvalidRequest for a model that the book does not know, with names like it.
    """
    if not 1 <= len(models) <= MAX_MODELS:
        raise InvalidRequest(f"models: {len(models)} of them: at least 1, at most {MAX_MODELS}")
    usage = workload.usage()
    options = []
    for model in models:
        priced = cost(
            usage, model=model, tier="batch", book=book, on=on, requests=workload.requests
        )
        if priced.model is None:
            raise unknown_model(priced, book)
        options.append(
            _option(priced, workload, tier=tier, book=book, on=on, concurrency=concurrency)
        )
    return Quote(
        workload=workload,
        tier=tier,
        on=on,
        book_name=book.name,
        book_title=book.title,
        book_dated=book.dated,
        options=tuple(options),
    )


def unknown_model(priced: Cost, book: PriceBook) -> InvalidRequest:
    """Say that a book has no price for a model, and what is near."""
    if book.resolve(priced.asked_model):
        reason, hint = f"has no price in {book.name} on {priced.on}", "choose a later --on"
    else:
        reason = f"is not in price book {book.name}"
        elsewhere = [
            name
            for name in (shelf.DEFAULT, shelf.VENDOR_FROZEN)
            if name != book.name and shelf.open_book(name).resolve(priced.asked_model)
        ]
        hint = f"it is in price book {elsewhere[0]}" if elsewhere else "name a book that has it"
        if priced.near_models:
            hint = f"did you mean {' or '.join(priced.near_models)}?" + (
                f" Or use price book {elsewhere[0]}" if elsewhere else ""
            )
    return InvalidRequest(f"model {priced.asked_model!r} {reason}: its price is unknown", hint=hint)


def _option(
    priced: Cost, workload: Workload, *, tier: Tier, book: PriceBook, on: date, concurrency: int
) -> Option:
    assert priced.model is not None
    others = [
        shelf.open_book(name)
        for name in (shelf.DEFAULT, shelf.VENDOR_FROZEN)
        # The frozen copy of a book is no second opinion about it.
        if name != book.name and not (book.name == shelf.VENDOR and name == shelf.VENDOR_FROZEN)
    ]
    used = {line.token_class for line in priced.lines}
    found = tuple(
        difference
        for difference in disagreements(priced.model, book=book, others=others, on=on)
        if difference.token_class in used
    )
    differing = {difference.figures[1].book for difference in found}
    return Option(
        cost=priced,
        caching=caching.advise(
            workload, model=priced.model, tier=tier, book=book, on=on, concurrency=concurrency
        )
        if workload.shared_tokens
        else None,
        disagreements=found,
        other_costs=tuple(
            cost(
                workload.usage(),
                model=priced.model,
                tier="batch",
                book=other,
                on=on,
                requests=workload.requests,
            )
            for other in others
            if other.name in differing
        ),
    )
