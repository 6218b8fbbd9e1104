"""How many calls a backend is given at once: more while all goes well, fewer when it ails. Pure.

It begins at the ceiling, which somebody chose. Additive increase for each window of answers
without trouble, multiplicative decrease when more than a small share of a window fails, or when
most of its answers were slow. What is slow says `slowness`; total latency says nothing, because
long answers take long.
"""

from typing import Literal, get_args

# More failures than these, and a larger share of a window, are no chance.
_TOLERATED = 2.0
_TOLERATED_SHARE = 0.1
_CUT = 0.7
# A window with more than this share of slow answers is slow.
_SLOW_SHARE = 0.5
# A backend may be slow for reasons of its own, and fewer calls would only cost throughput. So
# slowness alone cuts no further than to this share of the ceiling, and when so many windows there
# were no faster it is accepted.
_SLOW_FLOOR = 0.25
_USELESS = 4
# Windows of growth from nothing to the ceiling.
_STEPS = 32
# An outage leaves this share of what went before, to be doubled up to half of it.
_LEFT_BY_OUTAGE = 1 / 16

# Why there are fewer calls at once: failures, slowness, a backend that comes back.
Cut = Literal["trouble", "slow", "outage"]


class Concurrency:
    """The limit for calls under way; a window is as many answers as calls may be under way."""

    def __init__(self, *, ceiling: int, floor: int = 1) -> None:
        self._floor = float(min(floor, ceiling))
        self.ceiling = float(ceiling)
        self._step = max(1.0, ceiling / _STEPS)
        self.limit = float(ceiling)
        # Below it the limit grows by doubling.
        self._safe = float(ceiling)
        # Calls that began earlier are of the trouble for which the limit was cut already.
        self._cut_at_s = float("-inf")
        self._answers = 0
        self._slow = 0
        self._troubles = 0
        # Slow windows in a row that could not lower the limit.
        self._useless = 0
        # Changes of the limit since the start.
        self.cuts: dict[Cut, int] = dict.fromkeys(get_args(Cut), 0)
        self.growths = 0

    def answered(self, *, slow: bool = False) -> bool:
        """Note an answer, and whether it took far longer than usual.

        Tell whether fewer calls did not help: then this is what is usual from now on.
        """
        self._answers += 1
        self._slow += slow
        if self._answers < self.limit:
            return False
        self._end_window()
        return self._useless >= _USELESS

    def troubled(self, started_s: float, now_s: float) -> None:
        """Note that a call failed as calls to a backend do that has too much to do."""
        if started_s < self._cut_at_s:
            return
        self._troubles += 1
        if self._troubles > max(_TOLERATED, _TOLERATED_SHARE * self.limit):
            self._fall(max(self._floor, self.limit * _CUT), "trouble")
            self._safe = self.limit
            self._cut_at_s = now_s
            self._begin_window()

    def restart(self) -> None:
        """Begin small after an outage."""
        self._safe = max(self._floor, self.limit / 2)
        self._fall(max(self._floor, self.limit * _LEFT_BY_OUTAGE), "outage")
        self._begin_window()

    def _end_window(self) -> None:
        was_useless, self._useless = self._useless, 0
        if self._slow > _SLOW_SHARE * self._answers:
            least = max(self._floor, self.ceiling * _SLOW_FLOOR)
            if self.limit > least:
                self._fall(max(least, self.limit * _CUT), "slow")
                self._safe = self.limit
            else:
                self._useless = was_useless + 1
            if self._useless == _USELESS:
                self._safe = self.ceiling
        elif self.limit < self._safe:
            self._rise(min(self._safe, self.limit * 2))
        else:
            self._rise(min(self.ceiling, self.limit + self._step))
        self._begin_window()

    def _fall(self, limit: float, why: Cut) -> None:
        if limit < self.limit:
            self.cuts[why] += 1
        self.limit = limit

    def _rise(self, limit: float) -> None:
        if limit > self.limit:
            self.growths += 1
        self.limit = limit

    def _begin_window(self) -> None:
        self._answers = self._slow = self._troubles = 0
