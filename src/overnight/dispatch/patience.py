"""From when on a call is a straggler, to be cut and sent again. Pure.

Twice what the slowest one in a thousand answers to a like `max_tokens` took lately. From its third
attempt on a request has four times as long each time: if it only needs longer it is answered then,
and learned from. What cutting costs is bounded as a share of all calls.
"""

from bisect import insort

# Nobody is cut before so many like calls were answered, nor before so many seconds.
_MIN_KNOWN = 100
MIN_PATIENCE_S = 10.0
_MARGIN = 2.0
_GROWTH = 4.0
_MAX_GROWTHS = 8
# One answer in so many may take longer than what is taken as the slowest.
_RARE = 1_000
# Answers after which a generation is over; this one and the one before it count.
_GENERATION = 2_000
_KEPT = 2 * _GENERATION // _RARE + 1
# Extra calls that cutting may cause, as a share of all, and how many at once.
EXTRA_SHARE = 0.01
MAX_AT_ONCE = 10.0


class _Like:
    """The slowest answers among those to a `max_tokens` of one order of magnitude."""

    __slots__ = ("before", "count", "least_s", "patience_s", "slowest_s")

    def __init__(self) -> None:
        self.slowest_s: list[float] = []
        self.before: list[float] = []
        # The shortest time that changes anything.
        self.least_s = -1.0
        # In this generation.
        self.count = 0
        self.patience_s: float | None = None

    def note(self, seconds: float) -> None:
        self.count += 1
        if seconds > self.least_s:
            insort(self.slowest_s, seconds)
            if len(self.slowest_s) > _KEPT:
                del self.slowest_s[0]
                self.least_s = self.slowest_s[0]
            self._reckon()
        elif self.count >= _GENERATION:
            self.before, self.slowest_s = self.slowest_s, []
            self.count, self.least_s = 0, -1.0
        elif self.count == _MIN_KNOWN:
            self._reckon()

    def _reckon(self) -> None:
        known = self.count + (_GENERATION if self.before else 0)
        if known >= _MIN_KNOWN:
            slowest_s = sorted(self.before + self.slowest_s)[-1 - known // _RARE]
            self.patience_s = max(MIN_PATIENCE_S, _MARGIN * slowest_s)


class Patience:
    """Learns how long answers take; counts what cutting costs."""

    def __init__(self) -> None:
        self._like: dict[int, _Like] = {}
        # How many may be cut.
        self._credit = 1.0

    @property
    def may_cut(self) -> bool:
        """Tell whether one more call may be cut."""
        return self._credit >= 1.0

    def answered(self, max_tokens: int, seconds: float) -> None:
        """Learn from an answer."""
        self._credit += EXTRA_SHARE
        size = max_tokens.bit_length()
        like = self._like.get(size)
        if like is None:
            like = self._like[size] = _Like()
        like.note(seconds)

    def cut(self) -> None:
        """Note that a call is cut, or got no more time."""
        self._credit = max(-MAX_AT_ONCE, min(self._credit, MAX_AT_ONCE) - 1.0)

    def limit_s(self, max_tokens: int, attempts: int = 0) -> float | None:
        """Give the seconds after which a call is a straggler; None: too little is known.

        `attempts` counts the earlier ones of the same request.
        """
        like = self._like.get(max_tokens.bit_length())
        if like is None or like.patience_s is None:
            return None
        return like.patience_s * _GROWTH ** min(max(0, attempts - 1), _MAX_GROWTHS)
