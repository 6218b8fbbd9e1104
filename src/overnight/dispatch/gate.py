"""What stands before a backend, for all who call it: whether a call may be sent now. Pure.

Four things decide, each in a module of its own: `breaker` (the backend is away, or asked us to stay
away), `concurrency` (how many calls at once; `slowness` tells it what is slow), `pacer` (rate
limits; `bucket` is one of them) and `patience` (from when on a call is a straggler). Real-time
calls never wait here; what they use is not there for batches.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from overnight.dispatch.breaker import AILING, Breaker
from overnight.dispatch.bucket import Bucket, Level
from overnight.dispatch.concurrency import Concurrency
from overnight.dispatch.pacer import Pacer, Paid
from overnight.dispatch.patience import MIN_PATIENCE_S, Patience
from overnight.dispatch.retry import RETRY_AFTER_CAP_S, policy_of
from overnight.dispatch.slowness import Slowness
from overnight.dispatch.tally import Tally
from overnight.model import Failure, FailureKind, Limit, Need, Reply

# Before the first answer tells of limits a careful gate lets so many calls go, and again twice as
# many after each time of so many seconds.
_FIRST_CALLS = 16
_DOUBLES_EVERY_S = 2.0
# Batches leave room for as many real-time calls as there were at once, half as many 20 s later.
_REMEMBERED_S = 20.0
# And this share of each rate limit, as long as there is real-time traffic.
_RESERVE = 0.1
_NOTHING = Need(0, 0)
_UNSENT = (FailureKind.UNREACHABLE, FailureKind.RATE_LIMITED)
_NEVER = float("-inf")


class Pass:
    """One call under way; given back with `answered`, `failed` or `abandoned`."""

    __slots__ = (
        "attempts", "cut", "group", "load", "need", "paid", "probe", "realtime", "started_s",
    )  # fmt: skip

    def __init__(
        self, group: int, need: Need, started_s: float, load: float, attempts: int,
        realtime: bool,
    ) -> None:  # fmt: skip
        self.group = group
        self.need = need
        self.started_s = started_s
        # Of the gate, when the call was sent; see `Gate._elapse`.
        self.load = load
        # Earlier ones of the same request.
        self.attempts = attempts
        self.realtime = realtime
        self.probe = False
        # What it took of rate limits.
        self.paid: Paid | None = None
        # It was named as a straggler.
        self.cut = False


class Pace(NamedTuple):
    """How far one rate limit is used up."""

    # Whose limit it is; None: it was configured and holds for all calls.
    group: int | None
    level: Level


class Gate:
    """Decides whether a request may be sent now; told how each call went."""

    def __init__(
        self, *, ceiling: int, random: Random, limits: Sequence[Limit] = (),
        careful: bool = True, cuts_stragglers: bool = False,
    ) -> None:  # fmt: skip
        self.tally = Tally()
        self.breaker = Breaker(random=random)
        self.concurrency = Concurrency(ceiling=ceiling)
        self.in_flight = 0
        self.realtime_in_flight = 0
        self._slowness = Slowness()
        self._patience = Patience()
        self._cuts_stragglers = cuts_stragglers
        # What was configured holds for all calls, what answers state for those of their group;
        # there are as many groups as the caller makes.
        self._configured = [Bucket(limit, 0.0) for limit in limits]
        self._pacers: dict[int, Pacer] = {}
        # Seconds of all calls under way, summed up until the latest event.
        self._load = 0.0
        self._at_s = 0.0
        # Batch calls under way, the oldest first, where stragglers are cut.
        self._under_way: dict[Pass, None] = {}
        self._first_s: float | None = None
        # An answer came, or none is waited for since it would tell of no limits.
        self._heard = not careful
        self._realtime_peak = 0.0
        self._realtime_at_s = _NEVER

    def wait_s(self, now_s: float) -> float:
        """Give the seconds for which no batch request may be sent; 0: now.

        Infinity: until a call that is under way comes back.
        """
        wait_s = self.breaker.wait_s(now_s)
        if wait_s > 0:
            return wait_s
        room = self._room(now_s)
        if self.in_flight - self.realtime_in_flight < room:
            return 0.0
        if self._heard or self._first_s is None or room >= int(self.concurrency.limit):
            return float("inf")
        return _DOUBLES_EVERY_S - (now_s - self._first_s) % _DOUBLES_EVERY_S

    def pace_s(self, group: int, need: Need, now_s: float) -> float:
        """Give the seconds until the rate limits of its group allow this request; 0: now."""
        pacer = self._pacer(group)
        if pacer is None:
            return 0.0
        reserve = _RESERVE if self._expected_realtime(now_s) else 0.0
        wait_s = pacer.wait_s(need, now_s, reserve=reserve)
        if wait_s > 0:
            self.tally.wait(pacer.scarcest(need, now_s, reserve=reserve), wait_s)
        return wait_s

    def paces(self, now_s: float) -> Iterator[Pace]:
        """Say how far each known rate limit is used up."""
        for bucket in self._configured:
            yield Pace(None, bucket.level(now_s))
        for group, pacer in self._pacers.items():
            for level in pacer.stated(now_s):
                yield Pace(group, level)

    def enter(
        self, group: int, need: Need, now_s: float, *, realtime: bool = False, attempts: int = 0
    ) -> Pass:
        """Note a call that is sent now; calls of one group share what answers state of limits.

        `attempts` counts the earlier ones of the same request.
        """
        self._elapse(now_s)
        passed = Pass(group, need, now_s, self._load, attempts, realtime)
        self.in_flight += 1
        pacer = self._pacer(group)
        if pacer is not None:
            passed.paid = pacer.take(need, now_s)
        if realtime:
            # Who calls in real time does so whether or not the backend is there.
            self._enter_realtime(now_s)
            return passed
        if self.breaker.out:
            passed.probe = self.breaker.enter()
        if self._cuts_stragglers:
            self._under_way[passed] = None
        if self._first_s is None:
            self._first_s = now_s
        return passed

    def stragglers(self, now_s: float) -> list[Pass]:
        """List the batch calls that are to be cut now, each once; to be asked every second or so.

        Whoever cuts one tells it by `failed`, as a timeout.
        """
        late: list[Pass] = []
        for passed in self._under_way:
            seconds = now_s - passed.started_s
            if seconds < MIN_PATIENCE_S or not self._patience.may_cut:
                break
            limit_s = self._patience.limit_s(passed.need.output_tokens, passed.attempts)
            if not passed.cut and limit_s is not None and seconds > limit_s:
                passed.cut = True
                self._patience.cut()
                late.append(passed)
        return late

    def answered(self, passed: Pass, reply: Reply, now_s: float) -> None:
        """Note an answer."""
        self._heard = True
        started_s = passed.started_s
        seconds = now_s - started_s
        self._elapse(now_s)
        calls = (self._load - passed.load) / seconds if seconds > 0 else float(self.in_flight)
        self._left(passed)
        usage = reply.usage
        taken = usage.input_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        if self._pacers or reply.limits:
            used = Need(taken, usage.output_tokens)
            self._settle(passed, used)
            self._learn(passed, reply.limits, now_s, unheard=used)
        if self.breaker.answered(started_s):
            self.concurrency.restart()
        if self._cuts_stragglers:
            self._patience.answered(passed.need.output_tokens, seconds)
        slow = self._slowness.note(passed.group, calls, taken, usage.output_tokens, seconds)
        if self.concurrency.answered(slow=slow):
            self._slowness.forget()
        self.tally.calls(passed.group, realtime=passed.realtime).answered(usage, seconds)

    def failed(self, passed: Pass, failure: Failure, now_s: float) -> bool:
        """Note a failure: it may be the request's own, the backend's, or that of a limit.

        Tell whether it counts against the request's attempts: not when it was a cooldown, an
        outage or our impatience.
        """
        self.tally.calls(passed.group, realtime=passed.realtime).failed[failure.kind] += 1
        self._heard = True
        self._elapse(now_s)
        self._left(passed)
        explained = self._note_limits(passed, failure, now_s)
        excused = self.breaker.excuses(failure, now_s)
        back = self.breaker.failed(
            failure, passed.started_s, now_s, probe=passed.probe, fresh=not passed.attempts
        )
        if back:
            self.concurrency.restart()
        if failure.kind is FailureKind.TIMEOUT and not passed.cut:
            self._patience.cut()
        # A limit that is known is the pacer's: fewer calls at once would not keep it.
        limited = failure.kind is FailureKind.RATE_LIMITED and not explained
        if limited or (failure.kind in AILING and not self.breaker.out and not passed.cut):
            self.concurrency.troubled(passed.started_s, now_s)
        if failure.kind is FailureKind.RATE_LIMITED and self._too_large(passed):
            # However long it waits, the limit will not allow it.
            return True
        return policy_of(failure).charged and not excused and not passed.cut

    def abandoned(self, passed: Pass) -> None:
        """Note a call that was broken off."""
        self.tally.calls(passed.group, realtime=passed.realtime).abandoned += 1
        self._left(passed)
        self._refund(passed, sent=True)
        if passed.probe:
            self.breaker.abandon(passed.started_s)

    def _elapse(self, now_s: float) -> None:
        """Sum up the calls under way over time: a difference of sums gives their mean."""
        self._load += self.in_flight * (now_s - self._at_s)
        self._at_s = now_s

    def _left(self, passed: Pass) -> None:
        self.in_flight -= 1
        if passed.realtime:
            self.realtime_in_flight -= 1
        elif self._cuts_stragglers:
            del self._under_way[passed]

    def _room(self, now_s: float) -> int:
        """Give how many batch requests may be under way: one at least, so that batches end."""
        limit = self.concurrency.limit
        if not self._heard:
            doubled = 0.0 if self._first_s is None else (now_s - self._first_s) // _DOUBLES_EVERY_S
            limit = min(limit, _FIRST_CALLS * 2.0 ** min(doubled, 16.0))
        if self._realtime_peak:
            limit -= max(float(self.realtime_in_flight), self._expected_realtime(now_s))
        return max(1, int(limit))

    def _enter_realtime(self, now_s: float) -> None:
        self.realtime_in_flight += 1
        self._realtime_peak = max(self._expected_realtime(now_s), float(self.realtime_in_flight))
        self._realtime_at_s = now_s

    def _expected_realtime(self, now_s: float) -> float:
        """Give how many real-time calls at once are to be expected."""
        if not self._realtime_peak:
            return 0.0
        passed_s = now_s - self._realtime_at_s
        peak = self._realtime_peak * 0.5 ** (passed_s / _REMEMBERED_S)
        return peak if peak >= 0.5 else 0.0

    def _pacer(self, group: int) -> Pacer | None:
        """Find what paces a group; None: nothing is known of its limits."""
        pacer = self._pacers.get(group)
        if pacer is None and self._configured:
            pacer = self._pacers[group] = Pacer(self._configured)
        return pacer

    def _settle(self, passed: Pass, used: Need) -> None:
        pacer = self._pacers.get(passed.group)
        if pacer is not None:
            pacer.settle(passed.paid or Paid(passed.need), used)

    def _refund(self, passed: Pass, *, sent: bool) -> None:
        if passed.paid is not None:
            self._pacers[passed.group].refund(passed.paid, sent=sent)

    def _learn(self, passed: Pass, limits: Sequence[Limit], now_s: float, *, unheard: Need) -> None:
        if limits:
            pacer = self._pacers.setdefault(passed.group, Pacer(self._configured))
            pacer.learn(limits, passed.started_s, now_s, unheard=unheard, calls=self.in_flight)

    def _note_limits(self, passed: Pass, failure: Failure, now_s: float) -> bool:
        """Put limits right after a failure; tell whether a known one explains it."""
        self._refund(passed, sent=failure.kind not in _UNSENT)
        self._learn(passed, failure.limits, now_s, unheard=_NOTHING)
        pacer = self._pacers.get(passed.group)
        if pacer is None or failure.kind is not FailureKind.RATE_LIMITED:
            return False
        after_s = min(failure.retry_after_s or 0.0, RETRY_AFTER_CAP_S)
        return pacer.refused(passed.paid or Paid(passed.need), failure.limits, after_s, now_s)

    def _too_large(self, passed: Pass) -> bool:
        return passed.paid is not None and self._pacers[passed.group].too_large(passed.paid)
