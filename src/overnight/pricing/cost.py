"""usage × model × tier × price book × date → cost: itemised, exact, beside the standard price."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import msgspec

from overnight.errors import InvalidRequest
from overnight.model import Usage
from overnight.pricing.book import (
    TIERS,
    PriceBook,
    Rate,
    Rates,
    Source,
    Tier,
    TokenClass,
    near,
)
from overnight.pricing.money import EXACT, ZERO, percent

MAX_COUNT = 10**21

_COUNTS = {
    TokenClass.INPUT: "input_tokens",
    TokenClass.CACHE_WRITE_5M: "cache_write_5m_tokens",
    TokenClass.CACHE_WRITE_1H: "cache_write_1h_tokens",
    TokenClass.CACHE_READ: "cache_read_tokens",
    TokenClass.OUTPUT: "output_tokens",
    TokenClass.WEB_SEARCH: "web_searches",
}


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """One token class: count × rate = amount. None is an unknown price."""

    token_class: TokenClass
    count: int
    # USD for `token_class.per` of them.
    rate_usd: Decimal | None
    usd: Decimal | None
    standard_rate_usd: Decimal | None
    standard_usd: Decimal | None
    # How the rate came about: `0.80 (input) × 0.5 (batch)`; empty when it is unknown.
    steps: str


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a usage costs in one tier. The lines sum to the amounts, digit by digit."""

    # As it was asked for, and the book's own id; None for a model that the book does not know.
    asked_model: str
    model: str | None
    display_name: str
    tier: Tier
    book: str
    # The day whose prices were taken.
    on: date
    source: Source | None
    # One line per class that was used, in the order of the classes.
    lines: tuple[CostLine, ...]
    # Known models with a name like the unknown one, the closest first.
    near_models: tuple[str, ...] = ()

    @property
    def usd(self) -> Decimal | None:
        """Sum what is known; None when nothing is. See `complete`."""
        return self._sum(line.usd for line in self.lines)

    @property
    def standard_usd(self) -> Decimal | None:
        return self._sum(line.standard_usd for line in self.lines)

    @property
    def complete(self) -> bool:
        """Tell whether every price is known; else `usd` is a lower bound."""
        return self.model is not None and all(line.usd is not None for line in self.lines)

    @property
    def standard_complete(self) -> bool:
        return self.model is not None and all(x.standard_usd is not None for x in self.lines)

    @property
    def saving_usd(self) -> Decimal | None:
        """Give standard price less this one; None unless both are wholly known."""
        if self.usd is None or self.standard_usd is None:
            return None
        if not (self.complete and self.standard_complete):
            return None
        return EXACT.subtract(self.standard_usd, self.usd)

    @property
    def saving_percent(self) -> Decimal | None:
        """Give the saving in percent of the standard price, to two decimals."""
        if self.saving_usd is None or self.standard_usd is None:
            return None
        return percent(self.saving_usd, self.standard_usd)

    @property
    def unknown(self) -> tuple[TokenClass, ...]:
        """Name the classes that were used and have no known price."""
        return tuple(line.token_class for line in self.lines if line.usd is None)

    def _sum(self, amounts: Iterable[Decimal | None]) -> Decimal | None:
        if self.model is None:
            return None
        total, known = ZERO, not self.lines
        for amount in amounts:
            if amount is not None:
                total, known = EXACT.add(total, amount), True
        return total if known else None


def cost(
    usage: Usage,
    *,
    model: str,
    tier: Tier,
    book: PriceBook,
    on: date,
    requests: int = 1,
    prompt_tokens: int | None = None,
) -> Cost:
    """Price a usage. Pure: the same arguments give the same digits.

    `requests` says how many requests the usage sums up. It matters only for models whose price
    depends on the length of a prompt: `prompt_tokens` decides, else the mean length.

    Raises: InvalidRequest for a tier that does not exist, or a count out of range.
    """
    if tier not in TIERS:
        raise InvalidRequest(f"tier: {tier!r} is not a tier", hint=f"use {' or '.join(TIERS)}")
    counted = counts(usage)
    if not 1 <= requests <= MAX_COUNT:
        raise InvalidRequest(f"requests: {requests}: at least 1, at most {MAX_COUNT:,}")
    if prompt_tokens is None:
        prompt_tokens = -(-prompt_length(usage) // requests)
    prices = book.prices(model, on=on, prompt_tokens=prompt_tokens)
    rates: Rates = prices.rates(tier) if prices else {}
    standard: Rates = prices.standard if prices else {}
    return Cost(
        asked_model=model,
        model=prices.model if prices else None,
        display_name=prices.display_name if prices else model,
        tier=tier,
        book=book.name,
        on=on,
        source=prices.source if prices else None,
        lines=tuple(
            _line(token_class, count, rates.get(token_class), standard.get(token_class))
            for token_class, count in counted.items()
            if count
        ),
        near_models=() if prices else near(model, book),
    )


def counts(usage: Usage) -> dict[TokenClass, int]:
    """Give the count of each class. Raises: InvalidRequest for one that is out of range."""
    return {token_class: _count(usage, token_class) for token_class in TokenClass}


def prompt_length(usage: Usage) -> int:
    """Give the tokens of the prompt, however they were billed."""
    return (
        usage.input_tokens
        + usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens
        + usage.cache_read_tokens
    )


def amount(count: int, rate: Decimal, token_class: TokenClass) -> Decimal:
    """Give the exact price of `count` units of a class."""
    return EXACT.divide(EXACT.multiply(Decimal(count), rate), Decimal(token_class.per))


def _line(
    token_class: TokenClass, count: int, rate: Rate | None, standard: Rate | None
) -> CostLine:
    return CostLine(
        token_class=token_class,
        count=count,
        rate_usd=rate.usd if rate else None,
        usd=amount(count, rate.usd, token_class) if rate else None,
        standard_rate_usd=standard.usd if standard else None,
        standard_usd=amount(count, standard.usd, token_class) if standard else None,
        steps=rate.steps if rate else "",
    )


def _count(usage: Usage, token_class: TokenClass) -> int:
    name = _COUNTS[token_class]
    count = getattr(usage, name)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_COUNT:
        raise InvalidRequest(
            f"usage.{name}: {count!r}: must be a whole number from 0 to {MAX_COUNT:,}"
        )
    return count
