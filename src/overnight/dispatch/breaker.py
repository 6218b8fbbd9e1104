"""When nobody may call: the backend is away, or has said for how long to stay away. Pure.

Closed for a stated time, it opens for all at once. After an outage one call probes (half-open):
its answer lets all others go, its failure makes the wait longer.
"""

from random import Random
from typing import Literal

from overnight.dispatch.retry import RETRY_AFTER_CAP_S, states_a_time
from overnight.model import Failure, FailureKind

OUTAGE_BASE_S = 0.25
OUTAGE_CAP_S = 30.0
# So long an outage explains errors of a server; later they count against the requests again, lest
# those that fail every time wait for their expiry.
EXCUSED_S = 900.0
# Three calls in a row that nobody took are an outage, or sixteen that failed otherwise.
_ENOUGH = 16
_WEIGHT_OF_UNREACHABLE = 6

# Requests that failed before and fail again are no sign of an outage, unless for so long nobody was
# answered: some fail every time.
_UNHEARD_S = 60.0
# A backend that is only busy refuses many at once, but answers somebody within this time.
_BUSY_S = 1.0

# Failures that a backend makes which is not there, or no longer itself.
AILING = frozenset(
    {
        FailureKind.UNREACHABLE,
        FailureKind.RESET,
        FailureKind.TIMEOUT,
        FailureKind.MALFORMED,
        FailureKind.OVERLOADED,
        FailureKind.SERVER_ERROR,
    }
)
# Those that a request can hardly bring about: it was refused, not begun.
_REFUSALS = frozenset({FailureKind.OVERLOADED, FailureKind.SERVER_ERROR})
# Those that may state for how long to stay away.
_COOLING = (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR)
_LONG_AGO = float("-inf")

# "cooldown": the backend said for how long to stay away; "open": it is not there.
State = Literal["closed", "cooldown", "open", "half_open"]


class Breaker:
    """Open for calls, closed until a time, or half-open: waiting for what a probe brings."""

    def __init__(self, *, random: Random) -> None:
        self._random = random
        # Asked for by the backend.
        self._cooldown_until_s = _LONG_AGO
        # Chosen here, in an outage.
        self._away_until_s = _LONG_AGO
        self._outages = 0
        self._out_since_s = _LONG_AGO
        self._probing = False
        # When the latest call was sent that was answered.
        self._heard_s = _LONG_AGO
        # Failures since then, by weight, and when the first of them came.
        self._in_a_row = 0
        self._row_since_s = _LONG_AGO
        # Since the start; cooldowns by what asked for them.
        self.opens = 0
        self.probes = 0
        self.cooldowns: dict[FailureKind, int] = dict.fromkeys(_COOLING, 0)
        self.cooldown_s: dict[FailureKind, float] = dict.fromkeys(_COOLING, 0.0)

    @property
    def out(self) -> bool:
        """Tell whether the backend was away when it was last heard of."""
        return self._outages > 0

    def wait_s(self, now_s: float) -> float:
        """Give the seconds to stay away; infinity while another call probes."""
        until_s = max(self._cooldown_until_s, self._away_until_s)
        if now_s < until_s:
            return until_s - now_s
        return float("inf") if self._probing else 0.0

    def state(self, now_s: float) -> State:
        """Give the state in the words of circuit breakers: closed lets calls pass."""
        away = now_s < max(self._cooldown_until_s, self._away_until_s)
        if self._outages:
            return "open" if away else "half_open"
        return "cooldown" if away else "closed"

    def enter(self) -> bool:
        """Note a call; tell whether it is the probe."""
        if not self._outages:
            return False
        self.probes += 1
        self._probing = True
        return True

    def abandon(self, started_s: float) -> None:
        """Note that a probe came to nothing that tells of the backend: another one may probe."""
        if started_s >= self._out_since_s:
            self._probing = False

    def answered(self, started_s: float) -> bool:
        """Note an answer; tell whether it ends an outage.

        Calls from before the outage do not: a server that goes away may still end what it began.
        """
        self._heard_s = started_s
        if not self._outages:
            self._in_a_row = 0
            return False
        if started_s < self._out_since_s:
            return False
        self._in_a_row = self._outages = 0
        self._probing = False
        self._away_until_s = _LONG_AGO
        return True

    def failed(
        self, failure: Failure, started_s: float, now_s: float, *, probe: bool, fresh: bool
    ) -> bool:
        """Note a failure; stay away for an outage, or for as long as the backend asks.

        `fresh` is a request that did not fail before. Tell whether the failure ends an outage:
        that of the one request is an answer too.
        """
        if failure.retry_after_s is not None and states_a_time(failure):
            self._cool_down(failure.kind, min(failure.retry_after_s, RETRY_AFTER_CAP_S), now_s)
        if failure.kind is FailureKind.INTERNAL:
            # A defect of ours says nothing about the backend.
            if probe:
                self.abandon(started_s)
            return False
        if failure.kind not in AILING:
            return self.answered(started_s)
        if not self._outages:
            self._count(failure, now_s, fresh=fresh)
        elif probe and started_s >= self._out_since_s:
            self._break(now_s)
        # Calls that were under way when the outage began are one outage, not many.
        return False

    def excuses(self, failure: Failure, now_s: float) -> bool:
        """Tell whether the outage explains a failure, so that the request is not to blame."""
        excused = self.out and now_s - self._out_since_s <= EXCUSED_S
        return excused and failure.kind in _REFUSALS

    def _cool_down(self, kind: FailureKind, seconds: float, now_s: float) -> None:
        until_s = now_s + seconds
        # Calls that were under way together are told the same: one cooldown, not many.
        if self._cooldown_until_s <= now_s:
            self.cooldowns[kind] = self.cooldowns.get(kind, 0) + 1
        more_s = max(0.0, until_s - max(now_s, self._cooldown_until_s))
        self.cooldown_s[kind] = self.cooldown_s.get(kind, 0.0) + more_s
        self._cooldown_until_s = max(self._cooldown_until_s, until_s)

    def _count(self, failure: Failure, now_s: float, *, fresh: bool) -> None:
        """Add a failure to those in a row; enough of them are an outage."""
        if not self._in_a_row:
            self._row_since_s = now_s
        if failure.kind is FailureKind.UNREACHABLE:
            self._in_a_row += _WEIGHT_OF_UNREACHABLE
        elif fresh or now_s - self._heard_s > _UNHEARD_S:
            self._in_a_row += 1
        busy = failure.kind is FailureKind.OVERLOADED and now_s - self._row_since_s < _BUSY_S
        if self._in_a_row >= _ENOUGH and not busy:
            self._break(now_s)

    def _break(self, now_s: float) -> None:
        if not self._outages:
            self._out_since_s = now_s
        self.opens += 1
        self._outages += 1
        self._probing = False
        ceiling_s = min(OUTAGE_CAP_S, OUTAGE_BASE_S * 2 ** min(self._outages, 16))
        self._away_until_s = now_s + self._random.uniform(ceiling_s / 2, ceiling_s)
