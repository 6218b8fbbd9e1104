"""Where price books disagree about a model: both numbers, with their sources and dates."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import msgspec

from overnight.pricing.book import TIERS, PriceBook, Source, Tier, TokenClass


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one book says a class costs."""

    book: str
    rate_usd: Decimal
    source: Source


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """One rate on which two books differ. The book that was asked for stands first."""

    model: str
    tier: Tier
    token_class: TokenClass
    figures: tuple[Figure, Figure]


def disagreements(
    model: str,
    *,
    book: PriceBook,
    others: Iterable[PriceBook],
    on: date,
    prompt_tokens: int = 0,
) -> tuple[Disagreement, ...]:
    """List the rates on which another book differs, by tier and class.

    A book that does not have the model says nothing about it. A price that one of two books does
    not list is not a disagreement.
    """
    ours = book.prices(model, on=on, prompt_tokens=prompt_tokens)
    if ours is None:
        return ()
    found = []
    for other in others:
        theirs = other.prices(model, on=on, prompt_tokens=prompt_tokens)
        if theirs is None or other.name == book.name:
            continue
        for tier in TIERS:
            for token_class, rate in ours.rates(tier).items():
                listed = theirs.rates(tier).get(token_class)
                if listed is None or listed.usd == rate.usd:
                    continue
                figures = (
                    Figure(book=book.name, rate_usd=rate.usd, source=ours.source),
                    Figure(book=other.name, rate_usd=listed.usd, source=theirs.source),
                )
                found.append(
                    Disagreement(
                        model=ours.model, tier=tier, token_class=token_class, figures=figures
                    )
                )
    return tuple(found)
