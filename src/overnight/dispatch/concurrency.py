"""How many calls a backend is given at once: more while all goes well, fewer when it ails. Pure.

It begins at the ceiling, which somebody chose. Additive increase for each window of answers
without trouble, multiplicative decrease when more than a small share of a window fails, and a
gentle one when answers take far longer than usual for their length. Total latency says nothing:
long answers take long.
"""

# A larger share of failures in a window is the backend's, not chance's.
_TOLERATED_SHARE = 0.05
_CUT = 0.7
# Answers that take so many times as long as usual show that the backend has too much to do.
_SLOW = 3.0
# A backend may be slow for reasons of its own: below this share of the ceiling slowness cuts not.
_SLOW_SHARE = 0.25
# Windows of growth from nothing to the ceiling.
_STEPS = 32


class Concurrency:
    """The limit for calls under way; a window is as many answers as calls may be under way."""

    def __init__(self, *, ceiling: int, floor: int = 1) -> None:
        self._floor = float(min(floor, ceiling))
        self._ceiling = float(ceiling)
        self._step = max(1.0, ceiling / _STEPS)
        self.limit = float(ceiling)
        # Below it the limit grows by doubling.
        self._safe = float(ceiling)
        # Calls that began earlier are of the trouble for which the limit was cut already.
        self._cut_at_s = float("-inf")
        self._answers = 0
        self._troubles = 0
        self._slowness = 0.0

    def answered(self, slowness: float = 1.0) -> None:
        """Note an answer that took `slowness` times as long as usual for its length."""
        self._answers += 1
        self._slowness += slowness
        if self._answers >= self.limit:
            self._end_window()

    def troubled(self, started_s: float, now_s: float) -> None:
        """Note that a call failed as calls to a backend do that has too much to do."""
        if started_s < self._cut_at_s:
            return
        self._troubles += 1
        if self._troubles > max(1.0, _TOLERATED_SHARE * self.limit):
            self._cut(now_s)

    def restart(self) -> None:
        """Begin small after an outage, and double up to half of what went before."""
        self._safe = max(self._floor, self.limit / 2)
        self.limit = self._floor
        self._begin_window()

    def _cut(self, now_s: float) -> None:
        self.limit = self._safe = max(self._floor, self.limit * _CUT)
        self._cut_at_s = now_s
        self._begin_window()

    def _end_window(self) -> None:
        if self._slowness > _SLOW * self._answers:
            least = min(self.limit, max(self._floor, self._ceiling * _SLOW_SHARE))
            self.limit = self._safe = max(least, self.limit * _CUT)
        elif self.limit < self._safe:
            self.limit = min(self._safe, self.limit * 2)
        else:
            self.limit = min(self._ceiling, self.limit + self._step)
        self._begin_window()

    def _begin_window(self) -> None:
        self._answers = self._troubles = 0
        self._slowness = 0.0
