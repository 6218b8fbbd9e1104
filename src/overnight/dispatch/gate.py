"""What stands before a backend: one cooldown for all senders, one probe after an outage. Pure."""

from datetime import datetime, timedelta
from random import Random

from overnight.dispatch.retry import RETRY_AFTER_CAP_S
from overnight.model import Failure, FailureKind

OUTAGE_BASE_S = 0.25
OUTAGE_CAP_S = 30.0
# How often senders look again while another one probes.
PROBE_POLL_S = 0.5

# A stated time to stay away closes the gate for everyone.
_STATES_A_TIME = (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED)


class Gate:
    """Decides whether a request may be sent now; told how each call went."""

    def __init__(self, *, random: Random) -> None:
        self._random = random
        self._closed_at: datetime | None = None
        self._closed_until: datetime | None = None
        self._outages = 0
        self._probing = False
        # True when nothing holds requests back: the one thing the hot path looks at.
        self.open = True

    def wait_s(self, now: datetime) -> float:
        """Give the seconds to wait before asking again; 0 admits the caller.

        After an outage the first one admitted is a probe: the others wait for how it went.
        """
        if self._closed_at is not None and self._closed_until is not None:
            # Before it was closed: the system's clock was set back, for who knows how long.
            if self._closed_at <= now < self._closed_until:
                return (self._closed_until - now).total_seconds()
            self._closed_until = None
        if not self._outages:
            self.open = True
            return 0.0
        if self._probing:
            return PROBE_POLL_S
        self._probing = True
        return 0.0

    def answered(self) -> None:
        """Note that the backend answered a call, well or badly: it is there."""
        if self._outages:
            self._outages = 0
            self._probing = False
            self.open = self._closed_until is None

    def failed(self, failure: Failure, now: datetime) -> None:
        """Note a failure; close for an outage, or for as long as the backend asks."""
        if failure.kind is FailureKind.UNREACHABLE:
            if self._outages == 0 or self._probing:
                # Calls that were under way when the outage began are one outage, not many.
                self._outages += 1
                ceiling = min(OUTAGE_CAP_S, OUTAGE_BASE_S * 2 ** min(self._outages, 16))
                self._close(now, self._random.uniform(ceiling / 2, ceiling))
            self._probing = False
            return
        self.answered()
        if failure.retry_after_s is not None and failure.kind in _STATES_A_TIME:
            self._close(now, min(failure.retry_after_s, RETRY_AFTER_CAP_S))

    def abandoned(self) -> None:
        """Note that an admitted caller went away without a call."""
        self._probing = False

    def _close(self, now: datetime, seconds: float) -> None:
        until = now + timedelta(seconds=seconds)
        if self._closed_until is None or until > self._closed_until:
            self._closed_at, self._closed_until = now, until
        self.open = False
