"""What a running service charges by: one price book, request by request, digit by digit.

Charges are made from sums of usage, yet equal the sum of what each request costs by itself: a cost
is linear in the counts as long as the rates are the same, and `key` keeps apart what has other
rates.
"""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from overnight.model import LONG_CONTEXT_TOKENS, Charge, ServiceTier, Usage, UsageKey
from overnight.pricing.book import PriceBook
from overnight.pricing.cost import CostLine, cost, prompt_length


class Tariff:
    """A price book as charges need it. Pure but for reading the book."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        # Asked for every answer; a service sees few models and days.
        self._limits = lru_cache(maxsize=1_024)(self._find_limits)

    def key(self, model: str, usage: Usage, *, on: date) -> str:
        """Give what one request's usage is to be summed up under, as `UsageKey` writes it."""
        length = prompt_length(usage)
        over_tokens = max((limit for limit in self._limits(model, on) if length > limit), default=0)
        return str(UsageKey(model, over_tokens))

    def charges(
        self, usage: Mapping[str, Usage], *, tier: ServiceTier, on: date
    ) -> tuple[Charge, ...]:
        """Price sums of usage, which stand under their `key`, by the prices of a day."""
        made = []
        for text, counted in usage.items():
            key = UsageKey.read(text)
            priced = cost(
                counted,
                model=key.model,
                tier=tier,
                book=self.book,
                on=on,
                # One more than the limit has the price of all that are over it.
                prompt_tokens=key.over_tokens + 1 if key.over_tokens else 0,
            )
            made += [self._charge(key, line, tier) for line in priced.lines]
        return tuple(made)

    def _charge(self, key: UsageKey, line: CostLine, tier: ServiceTier) -> Charge:
        return Charge(
            model=key.model,
            over_tokens=key.over_tokens,
            token_class=line.token_class,
            count=line.count,
            service_tier=tier,
            rate_usd=line.rate_usd,
            usd=line.usd,
            standard_rate_usd=line.standard_rate_usd,
            standard_usd=line.standard_usd,
            book=self.book.name,
            book_version=self.book.version,
        )

    def _find_limits(self, model: str, on: date) -> tuple[int, ...]:
        prices = self.book.prices(model, on=on)
        limit = prices.long_prompt_tokens if prices else None
        return (LONG_CONTEXT_TOKENS,) if limit is None else (LONG_CONTEXT_TOKENS, limit)
