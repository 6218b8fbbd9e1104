"""What a running service charges by: one price book, request by request, digit by digit.

Charges are made from sums of usage, yet equal the sum of what each request costs by itself: a cost
is linear in the counts as long as the rates are the same, and `key` keeps apart what has other
rates.
"""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from math import inf

from overnight.model import LONG_CONTEXT_TOKENS, Charge, ServiceTier, Usage, UsageKey
from overnight.pricing.book import PriceBook
from overnight.pricing.cost import CostLine, cost, prompt_length


class Tariff:
    """A price book as charges need it. Pure but for reading the book."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        # Asked for every answer; a service sees few models and days.
        self._keys = lru_cache(maxsize=1_024)(self._find_keys)

    def key(self, model: str, usage: Usage, *, on: date) -> str:
        """Give what one request's usage is to be summed up under, as `UsageKey` writes it."""
        keys = self._keys(model, on)
        length = prompt_length(usage)
        for limit, key in keys:
            if length <= limit:
                return key
        raise AssertionError("unreachable: the last limit is endless")

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

    def _find_keys(self, model: str, on: date) -> list[tuple[float, str]]:
        """Give the key up to each limit of prompt length, shortest first."""
        prices = self.book.prices(model, on=on)
        limit = prices.long_prompt_tokens if prices else None
        limits = sorted({0, LONG_CONTEXT_TOKENS, limit or LONG_CONTEXT_TOKENS})
        ends = [*limits[1:], inf]
        return [(end, str(UsageKey(model, over))) for over, end in zip(limits, ends, strict=True)]
