"""Learn from a sample of a file's requests what all of them come to, with a margin of error.

A sample is drawn by chance, without repetition, the same from the same file. Ranges hold in about
95 of 100 samples; they narrow with the share of the file that was sampled.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from overnight.model import Usage

Item = TypeVar("Item")
Params = Mapping[str, Any]

_SEED = 20261122
# About 95 % of a normal distribution.
_SIGMAS = 2
_PROJECTED = Decimal("1e-9")
_ROUGH = Context(prec=34, rounding=ROUND_HALF_UP)


class Exact(msgspec.Struct, frozen=True, kw_only=True):
    """Count the prompts of a sample by a server."""

    size: int
    count: Callable[[Params], int]


class Pilot(msgspec.Struct, frozen=True, kw_only=True):
    """Run a sample on a server; usage is None for a request that did not succeed."""

    size: int
    run: Callable[[Sequence[Params]], Sequence[Usage | None]]


class Range(NamedTuple):
    """An amount that is known to lie between two others, most likely at `expected`."""

    low: Decimal
    expected: Decimal
    high: Decimal


class Reservoir(Generic[Item]):
    """Draws a sample of items that come by, each with the same chance."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._random = Random(_SEED)
        self._seen = 0
        self._kept: list[Item] = []

    def offer(self, item: Item) -> None:
        if not self._size:
            return
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(item)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self._kept[place] = item

    def draw(self, size: int) -> list[Item]:
        """Give so many of the items that were kept; they are a sample too."""
        return Random(_SEED).sample(self._kept, min(size, len(self._kept)))


def ratio(sample: Sequence[tuple[int, int]], *, of: int) -> Range | None:
    """Give the range of truth ÷ rule, from pairs (rule, truth) of some of `of` items.

    None when two pairs at least are needed and not there.
    """
    counted, rule = len(sample), sum(pair[0] for pair in sample)
    if not rule or (counted < 2 and counted < of):
        return None
    expected = _ROUGH.divide(Decimal(sum(pair[1] for pair in sample)), Decimal(rule))
    errors = [truth - expected * count for count, truth in sample]
    mean_rule = _ROUGH.divide(Decimal(rule), Decimal(counted))
    margin = _ROUGH.divide(_margin(errors, of=of), mean_rule)
    return Range(max(Decimal(0), expected - margin), expected, expected + margin)


def total(sample: Sequence[Decimal], *, of: int) -> Range | None:
    """Give the range of the sum of `of` amounts, some of which are known.

    None when two amounts at least are needed and not there.
    """
    counted = len(sample)
    if not counted or (counted < 2 and counted < of):
        return None
    known = sum(sample, Decimal(0))
    mean = _ROUGH.divide(known, Decimal(counted))
    margin = _margin([amount - mean for amount in sample], of=of) * of
    expected = known if counted == of else _rounded(mean * of)
    # What is known already is the least.
    return Range(max(known, _rounded(expected - margin)), expected, _rounded(expected + margin))


def _rounded(usd: Decimal) -> Decimal:
    """Round a projection, far below the price of a token."""
    return usd.quantize(_PROJECTED, context=_ROUGH)


def _margin(errors: Sequence[Decimal], *, of: int) -> Decimal:
    """Give how far the mean of all `of` errors may be from 0; nothing when all are known."""
    counted = len(errors)
    if counted >= of:
        return Decimal(0)
    squares = sum((error * error for error in errors), Decimal(0))
    variance = _ROUGH.divide(squares, Decimal(counted * (counted - 1)))
    unseen = 1 - _ROUGH.divide(Decimal(counted), Decimal(of))
    return _SIGMAS * _ROUGH.sqrt(variance * unseen)
