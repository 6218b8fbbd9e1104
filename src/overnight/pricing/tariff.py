"""What a running service charges by: one price book, request by request, digit by digit.

Charges are made from sums of usage, yet equal the sum of what each request costs by itself: a cost
is linear in the counts as long as the rates are the same, and `key` keeps apart what has other
rates.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from math import inf

from overnight.model import LONG_CONTEXT_TOKENS, Charge, ServiceTier, Usage, UsageKey
from overnight.pricing.book import CACHE_CLASSES, PriceBook, TokenClass
from overnight.pricing.cost import CostLine, cost, prompt_length


class Tariff:
    """A price book as charges need it. Pure but for reading the book."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        # Asked for every answer; a service sees few models and days.
        self._keys = lru_cache(maxsize=1_024)(self._find_keys)

    def key(self, model: str, usage: Usage, *, on: date, auto_cached: bool = False) -> str:
        """Give what one request's usage is to be summed up under, as `UsageKey` writes it."""
        keys = self._keys(model, on, auto_cached)
        length = prompt_length(usage)
        for limit, key in keys:
            if length <= limit:
                return key
        raise AssertionError("unreachable: the last limit is endless")

    def charges(
        self, usage: Mapping[str, Usage], *, tier: ServiceTier, on: date
    ) -> tuple[Charge, ...]:
        """Price sums of usage, which stand under their `key`, by the prices of a day."""
        sums: dict[UsageKey, Usage] = {}
        for text, counted in usage.items():
            # Who set the breakpoints is no matter of price.
            key = UsageKey.read(text)._replace(auto_cached=False)
            sums[key] = sums.get(key, Usage()) + counted
        made = []
        for key, counted in sums.items():
            # One more than the limit has the price of all that are over it.
            prompt_tokens = key.over_tokens + 1 if key.over_tokens else 0
            priced = cost(
                counted,
                model=key.model,
                tier=tier,
                book=self.book,
                on=on,
                prompt_tokens=prompt_tokens,
            )
            prices = self.book.prices(key.model, on=on, prompt_tokens=prompt_tokens)
            plain = prices.rates(tier).get(TokenClass.INPUT) if prices else None
            plain_usd = plain.usd if plain else None
            made += [self._charge(key, line, tier, plain_usd) for line in priced.lines]
        return tuple(made)

    def price(self, usage: Mapping[str, Usage], on: date) -> Decimal:
        """Give what sums of a batch's usage cost, as far as prices are known."""
        charges = self.charges(usage, tier="batch", on=on)
        return sum((charge.usd for charge in charges if charge.usd is not None), Decimal(0))

    def _charge(
        self, key: UsageKey, line: CostLine, tier: ServiceTier, plain_usd: Decimal | None
    ) -> Charge:
        cached = line.token_class in CACHE_CLASSES
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
            uncached_rate_usd=plain_usd if cached else line.rate_usd,
            book=self.book.name,
            book_version=self.book.version,
        )

    def _find_keys(self, model: str, on: date, auto_cached: bool) -> list[tuple[float, str]]:
        """Give the key up to each limit of prompt length, shortest first."""
        prices = self.book.prices(model, on=on)
        limit = prices.long_prompt_tokens if prices else None
        limits = sorted({0, LONG_CONTEXT_TOKENS, limit or LONG_CONTEXT_TOKENS})
        ends = [*limits[1:], inf]
        return [
            (end, str(UsageKey(model, over, auto_cached)))
            for over, end in zip(limits, ends, strict=True)
        ]
