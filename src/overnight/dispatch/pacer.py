"""Rate limits mirrored: the server's token buckets, so that no call is sent to be refused. Pure.

A bucket holds a minute's worth and fills without pause. What a call will take is estimated, by
how the estimates before it turned out, and put right when its answer tells. What answers state
(`anthropic-ratelimit-*`) corrects the mirror: others may use the same limits.
Source: dispatch facts §1.6 (simulated: 1.046 of the lower bound without a refusal).
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from overnight.model import Limit, Need

Dimension = Literal["requests", "input_tokens", "output_tokens"]

# A share of each bucket that is left for errors of estimates and clocks.
_MARGIN = 0.005
# Remaining tokens are told in thousands.
_ROUNDING: dict[Dimension, float] = {"requests": 0.0, "input_tokens": 500.0, "output_tokens": 500.0}
# The weight of an older answer against the one after it, in learning what estimates come to.
_MEMORY = 0.99


class Paid(NamedTuple):
    """What was taken for a call, in the buckets that there were."""

    need: Need
    taken: dict[Dimension, float]


class _Bucket:
    """One limit as the server is believed to have it; `level` may be below zero."""

    __slots__ = ("at_s", "level", "per_minute", "under_way")

    def __init__(self, per_minute: int, level: float, at_s: float) -> None:
        self.per_minute = per_minute
        self.level = level
        self.at_s = at_s
        # Taken for calls without an answer yet.
        self.under_way = 0.0

    def fill(self, now_s: float) -> float:
        passed_s = max(0.0, now_s - self.at_s)
        self.level = min(float(self.per_minute), self.level + passed_s * self.per_minute / 60)
        self.at_s = now_s
        return self.level

    def wait_s(self, amount: float, now_s: float, reserve: float) -> float:
        """Give the seconds until `amount` is there; more than there can be needs a full bucket."""
        least = min(amount + (reserve + _MARGIN) * self.per_minute, float(self.per_minute))
        missing = least - self.fill(now_s)
        return missing * 60 / self.per_minute if missing > 1e-6 else 0.0


class _Estimate:
    """What the counts in one dimension come to, for each one that was estimated."""

    __slots__ = ("_came", "_expected")

    def __init__(self) -> None:
        self._came = self._expected = 0.0

    @property
    def factor(self) -> float:
        return self._came / self._expected if self._expected else 1.0

    def learn(self, expected: int, came: int) -> None:
        self._came = _MEMORY * self._came + came
        self._expected = _MEMORY * self._expected + expected


class Pacer:
    """The buckets of one group of calls that share limits."""

    def __init__(self, limits: Iterable[Limit] = (), *, now_s: float = 0.0) -> None:
        self._buckets: dict[Dimension, _Bucket] = {
            limit.of: _Bucket(limit.per_minute, limit.remaining, now_s) for limit in limits
        }
        self._input = _Estimate()
        self._output = _Estimate()

    @property
    def known(self) -> bool:
        """Tell whether there is any limit."""
        return bool(self._buckets)

    def wait_s(self, need: Need, now_s: float, *, reserve: float = 0.0) -> float:
        """Give the seconds until a call may be sent that leaves `reserve` of each bucket."""
        amounts = self._amounts(need)
        return max(
            (bucket.wait_s(amounts[of], now_s, reserve) for of, bucket in self._buckets.items()),
            default=0.0,
        )

    def take(self, need: Need, now_s: float) -> Paid:
        """Take what a call that is sent now needs."""
        amounts = self._amounts(need)
        taken: dict[Dimension, float] = {}
        for of, bucket in self._buckets.items():
            bucket.fill(now_s)
            bucket.level -= amounts[of]
            bucket.under_way += amounts[of]
            taken[of] = amounts[of]
        return Paid(need, taken)

    def settle(self, paid: Paid, used: Need | None) -> None:
        """Put right what was taken for a call; None: it brought nothing and took nothing known."""
        if used is not None:
            self._input.learn(paid.need.input_tokens, used.input_tokens)
            self._output.learn(paid.need.output_tokens, used.output_tokens)
        for of, amount in paid.taken.items():
            bucket = self._buckets[of]
            bucket.under_way = max(0.0, bucket.under_way - amount)
            if of == "input_tokens" and used is not None:
                bucket.level += amount - used.input_tokens
            elif of == "output_tokens":
                bucket.level += amount - (used.output_tokens if used is not None else 0)

    def learn(self, limits: Iterable[Limit], now_s: float) -> None:
        """Correct the mirror by what an answer states."""
        for limit in limits:
            slack = _ROUNDING[limit.of]
            bucket = self._buckets.get(limit.of)
            remaining = float(limit.remaining)
            if bucket is None:
                self._buckets[limit.of] = _Bucket(limit.per_minute, remaining, now_s)
                continue
            bucket.per_minute = limit.per_minute
            # The server knows of none or of some or of all that is under way.
            low, high = remaining - bucket.under_way - slack, remaining + slack
            bucket.level = min(max(bucket.fill(now_s), low), high)

    def _amounts(self, need: Need) -> dict[Dimension, float]:
        return {
            "requests": 1.0,
            "input_tokens": need.input_tokens * self._input.factor,
            "output_tokens": need.output_tokens * self._output.factor,
        }
