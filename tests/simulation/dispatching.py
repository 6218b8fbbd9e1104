"""The queue and the gate at work in simulated time: so many senders before one backend."""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from tests.simulation.serving import Call, Request, Server

from overnight.dispatch import retry
from overnight.dispatch.fairness import Fairness
from overnight.dispatch.gate import Gate, Pass
from overnight.dispatch.queue import Part, Queue, Taken
from overnight.dispatch.warmth import Warmth
from overnight.model import BatchId, Failure, FailureKind, Need, Reply, Usage

MAX_ATTEMPTS = 5
# Between looks after those who wait too long.
_LOOK_S = 5.0
_CUT = Failure(kind=FailureKind.TIMEOUT, error_type="api_error", message="")


class Sent(NamedTuple):
    """One answered call as the backend saw it."""

    request: Request
    at_s: float
    read_tokens: int
    written_tokens: int


class Moment(NamedTuple):
    """How things stood at a full second."""

    at_s: float
    # Calls of the batches.
    in_flight: int
    realtime_in_flight: int
    limit: float
    answered: int


class Outcome(NamedTuple):
    # In the order in which they were sent.
    sent: list[Sent]
    # When the last request of a batch ended.
    ended_s: float
    # The time that senders had nothing to do although requests waited and the gate was open.
    idle_s: float
    moments: list[Moment]
    # Attempts that were counted against requests, by their number.
    charged: Counter[int]
    errored: list[Request]
    cut: int
    # When calls in real time began and how long they took.
    realtime: list[tuple[float, float]]

    @property
    def read_tokens(self) -> int:
        return sum(one.read_tokens for one in self.sent)

    @property
    def written_tokens(self) -> int:
        return sum(one.written_tokens for one in self.sent)

    def at(self, second: int) -> Moment:
        return self.moments[second]


class _Flight(NamedTuple):
    """A call under way."""

    passed: Pass
    call: Call
    # None: in real time.
    taken: Taken[Request] | None


def simulate(
    requests: Sequence[Request],
    *,
    senders: int,
    server: Server | None = None,
    gate: Gate | None = None,
    seed: int = 0,
    realtime: Sequence[tuple[float, Request]] = (),
) -> Outcome:
    """Send everything until each request is answered or given up; `realtime` says what comes when.

    Without a gate of its own the backend is one that was called before.
    """
    server = server or Server(seed=seed)
    if gate is None:
        gate = Gate(ceiling=senders, random=Random(seed))
        gate.answered(
            gate.enter(0, Need(0, 0), 0.0), Reply(message=b"", usage=Usage(), model=""), 0
        )
    return _Dispatch(requests, server, gate, senders=senders, seed=seed).run(realtime)


class _Dispatch:
    """One worker with one lane, as `pipeline.dispatch` has them."""

    def __init__(
        self, requests: Sequence[Request], server: Server, gate: Gate, *, senders: int, seed: int
    ) -> None:
        self._server, self._gate, self._random = server, gate, Random(seed)
        self._queue: Queue[Request] = Queue(fairness=Fairness(), lanes=[Warmth()])
        self._queue.put(requests)
        self._free, self._left, self._answered = senders, len(requests), 0
        self._paused_until_s: dict[int, float] = {}
        self._flights: dict[Pass, _Flight] = {}
        self._sent: dict[Pass, Sent] = {}
        self._attempts: Counter[int] = Counter()
        self._cuts: Counter[int] = Counter()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._now_s = 0.0
        self._wake_s = float("inf")
        self._outcome = Outcome([], 0.0, 0.0, [], Counter(), [], 0, [])

    def run(self, realtime: Sequence[tuple[float, Request]]) -> Outcome:
        for at_s, request in realtime:
            self._at(at_s, lambda request=request: self._call(request))  # type: ignore[misc]
        self._look()
        self._tick()
        idle_s = 0.0
        while True:
            self._fill()
            if not self._events:
                sent = list(self._sent.values())
                return self._outcome._replace(sent=sent, idle_s=idle_s, cut=self._cuts.total())
            before_s = self._now_s
            self._now_s, _, act = heapq.heappop(self._events)
            if len(self._queue) and self._gate.wait_s(before_s) == 0:
                idle_s += (self._now_s - before_s) * self._free
            act()

    def _at(self, time_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._numbers), act))

    def _fill(self) -> None:
        """Send as much as may be sent now."""
        while self._free and len(self._queue):
            wait_s = self._gate.wait_s(self._now_s)
            if wait_s > 0:
                self._wake_in(wait_s)
                return
            taken = self._queue.take(0, self._now_s, self._may)
            if taken is None:
                return
            need = _need(taken)
            route = taken.item.route
            pace_s = self._gate.pace_s(route, need, self._now_s)
            if pace_s > 0:
                self._queue.put_back(0, taken)
                self._paused_until_s[route] = self._now_s + pace_s
                self._at(self._now_s + pace_s, _nothing)
            else:
                self._send(taken, need)

    def _may(self, batch_id: BatchId, route: int) -> Part:
        return "any" if self._paused_until_s.get(route, 0.0) <= self._now_s else "nothing"

    def _wake_in(self, wait_s: float) -> None:
        if self._now_s + wait_s < self._wake_s:
            self._wake_s = self._now_s + wait_s
            self._at(self._wake_s, self._woke)

    def _woke(self) -> None:
        self._wake_s = float("inf")

    def _send(self, taken: Taken[Request], need: Need) -> None:
        self._free -= 1
        request, started_s = taken.item, self._now_s
        earlier = self._attempts[request.number] + self._cuts[request.number]
        passed = self._gate.enter(request.route, need, started_s, attempts=earlier)
        call = self._server.take(request, started_s)
        self._sent[passed] = Sent(request, started_s, call.read_tokens, call.written_tokens)
        if call.begins_s is not None:
            self._at(call.begins_s, lambda: self._queue.begin(0, taken.leads, started_s))
        self._fly(_Flight(passed, call, taken))

    def _call(self, request: Request) -> None:
        """Make a call in real time: it asks nobody."""
        need = Need(request.input_tokens, request.max_tokens)
        passed = self._gate.enter(request.route, need, self._now_s, realtime=True)
        self._fly(_Flight(passed, self._server.take(request, self._now_s), None))

    def _fly(self, flight: _Flight) -> None:
        self._flights[flight.passed] = flight
        self._at(flight.call.ends_s, lambda: self._end(flight))

    def _end(self, flight: _Flight) -> None:
        if flight.passed not in self._flights:
            # It was cut.
            return
        del self._flights[flight.passed]
        answer = self._server.end(flight.call, self._now_s)
        if isinstance(answer, Failure):
            self._failed(flight, answer)
            return
        self._gate.answered(flight.passed, answer, self._now_s)
        call = flight.call
        if flight.taken is None:
            self._outcome.realtime.append((call.at_s, self._now_s - call.at_s))
            return
        self._free += 1
        self._answered += 1
        self._leave()

    def _failed(self, flight: _Flight, failure: Failure) -> None:
        charged = self._gate.failed(flight.passed, failure, self._now_s)
        if flight.taken is None:
            return
        self._free += 1
        del self._sent[flight.passed]
        self._queue.fail(0, flight.taken.leads)
        request = flight.taken.item
        self._attempts[request.number] += charged
        self._outcome.charged[request.number] += charged
        decision = retry.decide(
            failure,
            attempts=self._attempts[request.number],
            max_attempts=MAX_ATTEMPTS,
            random=self._random,
            charged=charged,
        )
        if isinstance(decision, retry.GiveUp):
            self._outcome.errored.append(request)
            self._leave()
        else:
            self._at(self._now_s + decision.after_s, lambda: self._queue.put([request]))

    def _leave(self) -> None:
        self._left -= 1
        if not self._left:
            self._outcome = self._outcome._replace(ended_s=self._now_s)

    def _look(self) -> None:
        self._queue.look_after(self._now_s)
        if self._left:
            self._at(self._now_s + _LOOK_S, self._look)

    def _tick(self) -> None:
        """Do what is done each second."""
        for passed in self._gate.stragglers(self._now_s):
            flight = self._flights.pop(passed)
            self._server.drop(flight.call)
            self._cuts[flight.call.request.number] += 1
            self._failed(flight, _CUT)
        batch = self._gate.in_flight - self._gate.realtime_in_flight
        self._outcome.moments.append(
            Moment(
                self._now_s, batch, self._gate.realtime_in_flight, self._gate.concurrency.limit,
                self._answered,
            )
        )  # fmt: skip
        if self._left:
            self._at(self._now_s + 1.0, self._tick)


def _need(taken: Taken[Request]) -> Need:
    """Say what a call will take of limits: what it reads from a cache is free."""
    request = taken.item
    read = max((one.tokens for one in request.prefixes if one not in taken.leads), default=0)
    return Need(max(0, request.input_tokens - read), request.max_tokens)


def _nothing() -> None:
    """Only look again."""
