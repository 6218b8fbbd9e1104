"""What stands before a backend, for all who call it: whether a call may be sent now. Pure.

Four things decide, each in a module of its own: `breaker` (the backend is away, or asked us to stay
away), `concurrency` (how many calls at once), `pacer` (rate limits) and `patience` (from when on a
call is a straggler). Real-time calls never wait here; what they use is not there for batches.
"""

from collections.abc import Sequence
from random import Random

from overnight.dispatch.breaker import AILING, Breaker
from overnight.dispatch.concurrency import Concurrency
from overnight.dispatch.pacer import Pacer, Paid
from overnight.dispatch.patience import Patience
from overnight.model import Failure, FailureKind, Limit, Need, Reply

# Batches leave room for as many real-time calls as there were at once, half as many a minute later.
_REMEMBERED_S = 60.0
# And this share of each rate limit, as long as there is real-time traffic.
_RESERVE = 0.1


class Pass:
    """One call under way; given back with `answered`, `failed` or `abandoned`."""

    __slots__ = ("_paid", "group", "probe", "realtime", "started_s")

    def __init__(
        self, group: int, started_s: float, paid: Sequence[tuple[Pacer, Paid]], *,
        probe: bool, realtime: bool,
    ) -> None:  # fmt: skip
        self.group = group
        self.started_s = started_s
        self.probe = probe
        self.realtime = realtime
        self._paid = paid

    def settle(self, used: Need | None) -> None:
        """Say what the call really took of its limits."""
        for pacer, paid in self._paid:
            pacer.settle(paid, used)


class Gate:
    """Decides whether a request may be sent now; told how each call went."""

    def __init__(
        self, *, ceiling: int, random: Random, limits: Sequence[Limit] = (),
        cuts_stragglers: bool = False,
    ) -> None:  # fmt: skip
        self.breaker = Breaker(random=random)
        self.concurrency = Concurrency(ceiling=ceiling)
        self._patience = Patience()
        self._cuts_stragglers = cuts_stragglers
        # What was configured holds for all calls, what answers state for those of their group.
        self._configured = Pacer(limits)
        self._learned: dict[int, Pacer] = {}
        self._paced = self._configured.known
        self.in_flight = 0
        self.realtime_in_flight = 0
        self._realtime_peak = 0.0
        self._realtime_at_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """Give the seconds for which no batch request may be sent; 0: now.

        Infinity: until a call that is under way comes back.
        """
        wait_s = self.breaker.wait_s(now_s)
        if wait_s > 0:
            return wait_s
        return 0.0 if self.in_flight - self.realtime_in_flight < self._room(now_s) else float("inf")

    def pace_s(self, group: int, need: Need, now_s: float) -> float:
        """Give the seconds until the rate limits of its group allow this request; 0: now."""
        if not self._paced:
            return 0.0
        reserve = _RESERVE if self._realtime_share(now_s) else 0.0
        waits = (pacer.wait_s(need, now_s, reserve=reserve) for pacer in self._pacers(group))
        return max(waits, default=0.0)

    def enter(self, group: int, need: Need, now_s: float, *, realtime: bool = False) -> Pass:
        """Note a call that is sent now; calls of one group share what answers state of limits."""
        self.in_flight += 1
        if realtime:
            self.realtime_in_flight += 1
            peak = max(self._realtime_share(now_s), float(self.realtime_in_flight))
            self._realtime_peak, self._realtime_at_s = peak, now_s
        paid: Sequence[tuple[Pacer, Paid]] = ()
        if self._paced:
            paid = [(pacer, pacer.take(need, now_s)) for pacer in self._pacers(group)]
        # Who calls in real time does so whether or not the backend is there.
        probe = self.breaker.enter() if not realtime else False
        return Pass(group, now_s, paid, probe=probe, realtime=realtime)

    def patience_s(self, max_tokens: int) -> float | None:
        """Give after how many seconds a call is given up as a straggler; None: never."""
        return self._patience.limit_s(max_tokens) if self._cuts_stragglers else None

    def answered(self, passed: Pass, reply: Reply, now_s: float) -> None:
        """Note an answer."""
        self._left(passed)
        usage = reply.usage
        input_tokens = (
            usage.input_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        )
        if self._paced or reply.limits:
            passed.settle(Need(input_tokens, usage.output_tokens))
            self._learn(passed.group, reply.limits, now_s)
        if self.breaker.out:
            self.concurrency.restart()
        self.breaker.answered()
        seconds = now_s - passed.started_s
        slowness = self._patience.note(input_tokens, usage.output_tokens, seconds)
        self.concurrency.answered(slowness)

    def failed(self, passed: Pass, failure: Failure, now_s: float) -> None:
        """Note a failure: it may be the request's own, the backend's, or that of a limit."""
        self._left(passed)
        passed.settle(None)
        self._learn(passed.group, failure.limits, now_s)
        was_out = self.breaker.out
        self.breaker.failed(failure, now_s, probe=passed.probe)
        if was_out and not self.breaker.out:
            self.concurrency.restart()
        if failure.kind is FailureKind.TIMEOUT:
            self._patience.timed_out()
        # A limit that is known is the pacer's: fewer calls at once would not keep it.
        unpaced = failure.kind is FailureKind.RATE_LIMITED and not self._paced
        if unpaced or (failure.kind in AILING and failure.kind is not FailureKind.UNREACHABLE):
            self.concurrency.troubled(passed.started_s, now_s)

    def abandoned(self, passed: Pass) -> None:
        """Note a call that was broken off."""
        self._left(passed)
        passed.settle(None)
        if passed.probe:
            self.breaker.abandon()

    def _left(self, passed: Pass) -> None:
        self.in_flight -= 1
        if passed.realtime:
            self.realtime_in_flight -= 1

    def _room(self, now_s: float) -> float:
        """Give how many batch requests may be under way: one at least, so that batches end."""
        limit = self.concurrency.limit
        if self._realtime_at_s > float("-inf"):
            limit -= max(float(self.realtime_in_flight), self._realtime_share(now_s))
        return max(1.0, float(int(limit)))

    def _realtime_share(self, now_s: float) -> float:
        """Give how many real-time calls at once are to be expected."""
        passed_s = now_s - self._realtime_at_s
        peak = self._realtime_peak * 0.5 ** (passed_s / _REMEMBERED_S)
        return peak if peak >= 0.5 else 0.0

    def _pacers(self, group: int) -> Sequence[Pacer]:
        if not self._paced:
            return ()
        learned = self._learned.get(group)
        return (self._configured,) if learned is None else (self._configured, learned)

    def _learn(self, group: int, limits: Sequence[Limit], now_s: float) -> None:
        if limits:
            self._learned.setdefault(group, Pacer()).learn(limits, now_s)
            self._paced = True
