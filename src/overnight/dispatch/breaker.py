"""When nobody may call: the backend is away, or has said for how long to stay away. Pure.

After an outage one call probes (half-open): its answer lets all others go.
"""

from random import Random

from overnight.dispatch.retry import RETRY_AFTER_CAP_S
from overnight.model import Failure, FailureKind

OUTAGE_BASE_S = 0.25
OUTAGE_CAP_S = 30.0
# So many failures in a row, of calls that were sent, are an outage too.
FAILURES_IN_A_ROW = 16

# A stated time to stay away holds for everyone.
_STATES_A_TIME = (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED)
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


class Breaker:
    """Open for calls, closed until a time, or half-open: waiting for what a probe brings."""

    def __init__(self, *, random: Random) -> None:
        self._random = random
        self._closed_until_s = 0.0
        self._outages = 0
        self._probing = False
        self._in_a_row = 0

    @property
    def out(self) -> bool:
        """Tell whether the backend was away when it was last heard of."""
        return self._outages > 0

    def wait_s(self, now_s: float) -> float:
        """Give the seconds to stay away; infinity while another call probes."""
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        return float("inf") if self._probing else 0.0

    def enter(self) -> bool:
        """Note a call; tell whether it is the probe."""
        if not self._outages:
            return False
        self._probing = True
        return True

    def abandon(self) -> None:
        """Note that the probe went away without an answer."""
        self._probing = False

    def answered(self) -> None:
        """Note an answer: the backend is there."""
        self._in_a_row = self._outages = 0
        self._probing = False

    def failed(self, failure: Failure, now_s: float, *, probe: bool) -> None:
        """Note a failure; stay away for an outage, or for as long as the backend asks."""
        if failure.kind not in AILING:
            self.answered()
        else:
            self._in_a_row += 1
            unreachable = failure.kind is FailureKind.UNREACHABLE
            # Calls that were under way when the outage began are one outage, not many.
            if probe or (
                not self._outages and (unreachable or self._in_a_row >= FAILURES_IN_A_ROW)
            ):
                self._break(now_s)
        if failure.retry_after_s is not None and failure.kind in _STATES_A_TIME:
            self._close(now_s + min(failure.retry_after_s, RETRY_AFTER_CAP_S))

    def _break(self, now_s: float) -> None:
        self._outages += 1
        self._probing = False
        ceiling_s = min(OUTAGE_CAP_S, OUTAGE_BASE_S * 2 ** min(self._outages, 16))
        self._close(now_s + self._random.uniform(ceiling_s / 2, ceiling_s))

    def _close(self, until_s: float) -> None:
        self._closed_until_s = max(self._closed_until_s, until_s)
