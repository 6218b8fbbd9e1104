"""What one request costs at least and at most, before it is sent. Pure.

At least: the fewest tokens that the offline count may stand for, the cheapest way to bill them,
one token of output. At most: the most tokens, the dearest way, all of `max_tokens`. Tools that run
at the backend are not in it: nobody knows how often they will be used.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from overnight.pricing.book import PriceBook, Rates, Tier, TokenClass
from overnight.pricing.estimate import band
from overnight.tokens import prompt_tokens

_HOUR_S = 3_600
_FIVE_MINUTES_S = 300


class Bounds(NamedTuple):
    low_usd: Decimal
    high_usd: Decimal


class Sums(NamedTuple):
    """What several requests cost, and which models have no price."""

    bounds: Bounds
    unpriced: frozenset[str]


class Bounder:
    """Bounds costs by one price book."""

    def __init__(
        self, book: PriceBook, names: Callable[[str], Collection[str]] = lambda model: (model,)
    ) -> None:
        """`names` gives what the backends that may answer for a model call it."""
        self.book = book
        self._names = lru_cache(maxsize=1_024)(names)
        # Asked for every request; a service sees few models and days.
        self._rates = lru_cache(maxsize=1_024)(self._find_rates)
        self._band = lru_cache(maxsize=1_024)(band)

    def of(
        self, model: str, input_tokens: int, max_tokens: int, *, tier: Tier, on: date, ttl_s: int
    ) -> Bounds | None:
        """Bound one request; None when the book has no price for it, whoever answers.

        `ttl_s` is the longest life that its `cache_control` asks for, 0 without any.
        """
        found = [
            bounds
            for name in self._names(model)
            if (bounds := self._of(name, input_tokens, max_tokens, tier, on, ttl_s))
        ]
        if len(found) < 2:
            return found[0] if found else None
        return Bounds(min(one.low_usd for one in found), max(one.high_usd for one in found))

    def _of(
        self, model: str, input_tokens: int, max_tokens: int, tier: Tier, on: date, ttl_s: int
    ) -> Bounds | None:
        fewest, most = (int(input_tokens * factor) for factor in self._band(model))
        low = self._rates(model, tier, on, ttl_s, fewest)
        high = self._rates(model, tier, on, ttl_s, most)
        if low is None or high is None:
            return None
        # Rates are for a million tokens.
        return Bounds(
            (low.cheapest * fewest + low.output) / 1_000_000,
            (high.dearest * most + high.output * max_tokens) / 1_000_000,
        )

    def _find_rates(
        self, model: str, tier: Tier, on: date, ttl_s: int, prompt_tokens: int
    ) -> "_Ends | None":
        prices = self.book.prices(model, on=on, prompt_tokens=prompt_tokens)
        return None if prices is None else _ends(prices.rates(tier), ttl_s)


class _Ends(NamedTuple):
    """Rates of a prompt's tokens, the cheapest and the dearest that may come, and of output."""

    cheapest: Decimal
    dearest: Decimal
    output: Decimal


def _ends(rates: Rates, ttl_s: int) -> _Ends | None:
    classes = [TokenClass.INPUT]
    if ttl_s:
        write = TokenClass.CACHE_WRITE_1H if ttl_s >= _HOUR_S else TokenClass.CACHE_WRITE_5M
        classes += [TokenClass.CACHE_READ, write]
    prompt = [rates[one].usd for one in classes if one in rates]
    output = rates.get(TokenClass.OUTPUT)
    if len(prompt) < len(classes) or output is None:
        return None
    return _Ends(min(prompt), max(prompt), output.usd)


class Asked(NamedTuple):
    """What of a request's params decides its cost."""

    model: str
    input_tokens: int
    max_tokens: int
    ttl_s: int


def asked(params: msgspec.Raw | bytes, *, auto_cache: bool = False) -> Asked | None:
    """Read unchecked params; None when they are at fault, and therefore free."""
    data = bytes(params)
    try:
        found = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    model, max_tokens = found.get("model"), found.get("max_tokens")
    if not isinstance(model, str) or not isinstance(max_tokens, int):
        return None
    ttl_s = marked_ttl_s(data) or (_HOUR_S if auto_cache else 0)
    return Asked(model, prompt_tokens(found), max_tokens, ttl_s)


def marked_ttl_s(params: bytes) -> int:
    """Give the longest life that `cache_control` may ask for in params, 0 without any.

    By their text: a prompt that merely speaks of it is bounded more widely, never too narrowly.
    """
    if b"cache_control" not in params:
        return 0
    return _HOUR_S if b'"1h"' in params else _FIVE_MINUTES_S


def total(found: Mapping[Asked, int], bounder: Bounder, *, tier: Tier, on: date) -> Sums:
    """Sum up requests, which stand with how often each is there."""
    low = high = Decimal(0)
    unpriced = set()
    for one, times in found.items():
        bounds = bounder.of(
            one.model, one.input_tokens, one.max_tokens, tier=tier, on=on, ttl_s=one.ttl_s
        )
        if bounds is None:
            unpriced.add(one.model)
        else:
            low += bounds.low_usd * times
            high += bounds.high_usd * times
    return Sums(Bounds(low, high), frozenset(unpriced))


_decoder = msgspec.json.Decoder(dict[str, Any])
