"""What automatic caching did to the cost of a batch, item by item. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from overnight.model import Charge, Usage, UsageKey
from overnight.pricing.book import PROMPT_CLASSES, TokenClass
from overnight.pricing.cost import amount, counts
from overnight.pricing.document import Document, money, number
from overnight.pricing.money import EXACT, ZERO, percent


class PromptLine(msgspec.Struct, frozen=True, kw_only=True):
    """Prompt tokens of one class, and what they would have cost in the same tier uncached."""

    # As the answers named it.
    model: str
    # Prompts longer than this; 0 where length changes nothing.
    over_tokens: int
    token_class: TokenClass
    count: int
    # USD for a million tokens. None is an unknown price.
    rate_usd: Decimal | None
    usd: Decimal | None
    uncached_rate_usd: Decimal | None
    uncached_usd: Decimal | None

    @property
    def saving_usd(self) -> Decimal | None:
        """Give what caching saved on the line; a write costs, so here it is negative."""
        return _difference(self.uncached_usd, self.usd)


class AutoCached(msgspec.Struct, frozen=True, kw_only=True):
    """The prompts of the succeeded requests in which Overnight set breakpoints."""

    # In how many requests it did, succeeded or not; None before the batch is planned.
    requests: int | None
    lines: Sequence[PromptLine]

    @property
    def usd(self) -> Decimal | None:
        """Give what the prompts cost; None when a price is unknown."""
        return _sum(line.usd for line in self.lines)

    @property
    def uncached_usd(self) -> Decimal | None:
        return _sum(line.uncached_usd for line in self.lines)

    @property
    def saving_usd(self) -> Decimal | None:
        """Give what was saved; negative when too few requests found what others had written."""
        return _difference(self.uncached_usd, self.usd)

    @property
    def saving_percent(self) -> Decimal | None:
        if self.saving_usd is None or self.uncached_usd is None:
            return None
        return percent(self.saving_usd, self.uncached_usd)


def auto_cached(
    requests: int | None, usage: Mapping[str, Usage], charges: Iterable[Charge]
) -> AutoCached:
    """Take from a batch's usage, by `UsageKey`, what is ours, at the rates that were charged."""
    rates = {(line.model, line.over_tokens, line.token_class): line for line in charges}
    lines = [
        _line(key, token_class, count, rates[key.model, key.over_tokens, token_class])
        for key, counted in ((UsageKey.read(text), counted) for text, counted in usage.items())
        if key.auto_cached
        for token_class, count in counts(counted).items()
        if count and token_class in PROMPT_CLASSES
    ]
    return AutoCached(requests=requests, lines=lines)


def of_auto_cached(found: AutoCached) -> Document:
    """Show it as JSON; docs/reference/json.md lists the fields."""
    return {
        "requests": found.requests,
        "usd": money(found.usd),
        "uncached_usd": money(found.uncached_usd),
        "saving_usd": money(found.saving_usd),
        "saving_percent": number(found.saving_percent),
        "lines": [
            {
                "model": line.model,
                "over_tokens": line.over_tokens,
                "token_class": str(line.token_class),
                "count": line.count,
                "per": line.token_class.per,
                "rate_usd": money(line.rate_usd),
                "usd": money(line.usd),
                "uncached_rate_usd": money(line.uncached_rate_usd),
                "uncached_usd": money(line.uncached_usd),
                "saving_usd": money(line.saving_usd),
            }
            for line in found.lines
        ],
    }


def _line(key: UsageKey, token_class: TokenClass, count: int, charged: Charge) -> PromptLine:
    rate, uncached = charged.rate_usd, charged.uncached_rate_usd
    return PromptLine(
        model=key.model,
        over_tokens=key.over_tokens,
        token_class=token_class,
        count=count,
        rate_usd=rate,
        usd=None if rate is None else amount(count, rate, token_class),
        uncached_rate_usd=uncached,
        uncached_usd=None if uncached is None else amount(count, uncached, token_class),
    )


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    total = ZERO
    for usd in amounts:
        if usd is None:
            return None
        total = EXACT.add(total, usd)
    return total


def _difference(more: Decimal | None, less: Decimal | None) -> Decimal | None:
    return None if more is None or less is None else EXACT.subtract(more, less)
