"""One rate limit as the server is believed to have it: a token bucket and its recent past. Pure.

An answer states what remained at some moment between its call and now: nobody knows which. So it
is held against all levels that the bucket had meanwhile: what lies among them tells nothing new,
what lies beyond is a mistake of the mirror, then as now.
"""

from collections import deque
from typing import NamedTuple

from overnight.model import Limit

# A share of each bucket that is left for errors of estimates and clocks.
_MARGIN = 0.005
# A wait for less than this share of a bucket is none.
_NOTHING = 1e-6
# Remaining tokens are told in thousands.
_SLACK = {"requests": 1.0, "input_tokens": 500.0, "output_tokens": 500.0}
# Longer than calls take.
_REMEMBERED_S = 600
_LONG_AGO = float("-inf")


class Amounts(NamedTuple):
    """What a call takes of each kind of limit; may be an estimate."""

    requests: float
    input_tokens: float
    output_tokens: float


class Level(NamedTuple):
    """How far a limit is used up."""

    of: str
    per_minute: int
    # Below zero when calls took more than was known to be there.
    remaining: float


class _Span(NamedTuple):
    """The lowest and the highest level within one second."""

    second: int
    low: float
    high: float


class Bucket:
    """Fills without pause up to `per_minute`; its level may be below zero."""

    __slots__ = (
        "_at_s", "_corrected", "_kind", "_level", "_past", "_since_s", "_stated_s", "_under_way",
        "of", "per_minute",
    )  # fmt: skip

    def __init__(self, limit: Limit, now_s: float) -> None:
        self.of = limit.of
        self.per_minute = limit.per_minute
        # Where the amounts are that it is about.
        self._kind = Amounts._fields.index(limit.of)
        self._level = float(min(limit.remaining, limit.per_minute))
        self._at_s = now_s
        # When the call was sent whose answer stated `per_minute`.
        self._stated_s = _LONG_AGO
        # What is told about the time before a refusal, or under another limit, is of no use.
        self._since_s = _LONG_AGO
        # Taken for calls without an answer yet.
        self._under_way = 0.0
        # All that was put right so far. Past levels are kept without it: they were as wrong.
        self._corrected = 0.0
        self._past: deque[_Span] = deque(maxlen=_REMEMBERED_S)
        self._remember(self._level, self._level)

    def wait_s(self, amounts: Amounts, now_s: float, reserve: float) -> float:
        """Give the seconds until there is enough; more than there can be needs a full bucket."""
        per_minute = self.per_minute
        least = min(amounts[self._kind] + (reserve + _MARGIN) * per_minute, per_minute)
        missing = least - self._fill(now_s)
        return missing * 60 / per_minute if missing > _NOTHING * per_minute else 0.0

    def level(self, now_s: float) -> Level:
        """Say how far the limit is used up now."""
        return Level(self.of, self.per_minute, self._fill(now_s))

    def take(self, amounts: Amounts, now_s: float) -> None:
        """Take what a call needs that is sent now."""
        before = self._fill(now_s)
        self._level -= amounts[self._kind]
        self._under_way += amounts[self._kind]
        self._remember(self._level, before)

    def settle(self, taken: Amounts, used: Amounts) -> None:
        """Put right what was taken for a call that has come back."""
        amount = taken[self._kind]
        self._under_way = max(0.0, self._under_way - amount)
        before = self._level
        self._level = min(float(self.per_minute), before + amount - used[self._kind])
        self._remember(min(before, self._level), max(before, self._level))

    def lacks(self, amounts: Amounts, remaining: int) -> bool:
        """Tell whether a call needs more than the server says it has, as it rounds."""
        return remaining < amounts[self._kind] + _SLACK[self.of]

    def drain(self, amounts: Amounts, after_s: float, now_s: float) -> None:
        """Believe a server that has too little now, and just enough in `after_s` seconds."""
        most = amounts[self._kind] - after_s * self.per_minute / 60 if after_s else 0.0
        self._correct(min(0.0, most - self._fill(now_s)))
        self._since_s = now_s

    def lower(self, calls: int, each: Amounts) -> None:
        """Count calls that were sent before the limit was known."""
        self._correct(-calls * each[self._kind])

    def learn(self, limit: Limit, asked_s: float, now_s: float) -> None:
        """Correct the mirror by what the answer to a call states that was sent at `asked_s`."""
        level = self._fill(now_s)
        self._remember(level, level)
        if asked_s >= self._stated_s:
            # Of answers that come out of order, that to the latest call counts.
            self._stated_s = asked_s
            if self.per_minute != limit.per_minute:
                self.per_minute = limit.per_minute
                self._level = min(level, float(limit.per_minute))
                self._since_s = now_s
        if asked_s < self._since_s:
            return
        low, high = self._since(asked_s)
        slack = _SLACK[self.of]
        # Some servers take the output of a call that is under way when it ends, and not before.
        uncounted = self._under_way if self.of == "output_tokens" else 0.0
        too_high = low - (limit.remaining + slack)
        too_low = limit.remaining - slack - uncounted - high
        if too_high > 0:
            self._correct(-too_high)
        elif too_low > 0 and limit.remaining:
            # Nothing remaining may be a debt as well.
            self._correct(too_low)

    def _fill(self, now_s: float) -> float:
        if now_s > self._at_s:
            filled = self._level + (now_s - self._at_s) * self.per_minute / 60
            self._level = min(float(self.per_minute), filled)
            self._at_s = now_s
        return self._level

    def _correct(self, by: float) -> None:
        """Shift the level, and with it all past ones."""
        before = self._level
        self._level = min(float(self.per_minute), before + by)
        self._corrected += self._level - before

    def _remember(self, low: float, high: float) -> None:
        low, high, second = low - self._corrected, high - self._corrected, int(self._at_s)
        if not self._past or self._past[-1].second != second:
            self._past.append(_Span(second, low, high))
            return
        last = self._past[-1]
        if low < last.low or high > last.high:
            self._past[-1] = _Span(second, min(low, last.low), max(high, last.high))

    def _since(self, since_s: float) -> tuple[float, float]:
        """Give the lowest and the highest level since a moment, as they are judged now."""
        second, (_, low, high) = int(since_s), self._past[-1]
        for span in reversed(self._past):
            if span.second < second:
                # From where this second left it, it only filled.
                break
            low, high = min(low, span.low), max(high, span.high)
        return low + self._corrected, high + self._corrected
