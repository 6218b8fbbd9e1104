"""The queue at work in simulated time: so many senders, a backend with a prompt cache."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from overnight.dispatch.fairness import Fairness
from overnight.dispatch.queue import Queue, Taken
from overnight.dispatch.warmth import Warmth
from overnight.model import BatchId, Prefix, WorkspaceId

FIRST_BYTE_S = 1.0
# Between looks after those who wait too long.
_LOOK_S = 5.0


class Request(NamedTuple):
    number: int
    prefixes: tuple[Prefix, ...] = ()
    batch_id: BatchId = BatchId("batch")
    workspace_id: WorkspaceId = WorkspaceId("workspace")
    route: int = 0
    cost: float = 1.0


class Sent(NamedTuple):
    """One attempt as the backend saw it."""

    request: Request
    at_s: float
    read_tokens: int
    written_tokens: int


class Outcome(NamedTuple):
    sent: list[Sent]
    ended_s: float
    # The time that senders had nothing to do although requests waited, over all of them.
    idle_s: float

    @property
    def read_tokens(self) -> int:
        return sum(one.read_tokens for one in self.sent)

    @property
    def written_tokens(self) -> int:
        return sum(one.written_tokens for one in self.sent)


class _Cache:
    """Entries that can be read once the answer that wrote them has begun."""

    def __init__(self) -> None:
        self._readable: dict[int, tuple[float, float]] = {}

    def use(self, prefixes: Sequence[Prefix], now_s: float, begins_s: float) -> tuple[int, int]:
        """Read the longest live prefix and write the rest; give the tokens of both."""
        read = 0
        for prefix in prefixes:
            from_s, until_s = self._readable.get(prefix.key, (0.0, now_s))
            if from_s <= now_s < until_s:
                read = prefix.tokens
                self._readable[prefix.key] = (from_s, now_s + prefix.ttl_s)
            elif now_s >= until_s:
                self._readable[prefix.key] = (begins_s, now_s + prefix.ttl_s)
        longest = prefixes[-1].tokens if prefixes else 0
        return read, longest - read


def simulate(
    requests: Sequence[Request],
    *,
    senders: int,
    seed: int = 0,
    answer_s: tuple[float, float] = (1.0, 4.0),
    fails: Callable[[Request, int], bool] = lambda request, attempt: False,
) -> Outcome:
    """Send everything; the answer begins after `FIRST_BYTE_S` and ends up to `answer_s` later.

    `fails` says whether an attempt of a request brings nothing; it is then sent again.
    """
    random, numbers = Random(seed), count()
    queue: Queue[Request] = Queue(fairness=Fairness(), lanes=[Warmth()])
    queue.put(requests)
    cache = _Cache()
    attempts: dict[int, int] = {}
    sent: list[Sent] = []
    events: list[tuple[float, int, Callable[[], None]]] = []
    free, now_s, idle_s = senders, 0.0, 0.0

    def at(time_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(events, (time_s, next(numbers), act))

    def send(taken: Taken[Request]) -> None:
        nonlocal free
        free -= 1
        request, started_s = taken.item, now_s
        attempt = attempts[request.number] = attempts.get(request.number, 0) + 1
        if fails(request, attempt):
            at(now_s + FIRST_BYTE_S, lambda: failed(taken))
            return
        read, written = cache.use(request.prefixes, now_s, now_s + FIRST_BYTE_S)
        sent.append(Sent(request, now_s, read, written))
        at(now_s + FIRST_BYTE_S, lambda: queue.begin(0, taken.leads, started_s))
        at(now_s + FIRST_BYTE_S + random.uniform(*answer_s), ended)

    def ended() -> None:
        nonlocal free
        free += 1

    def failed(taken: Taken[Request]) -> None:
        ended()
        queue.fail(0, taken.leads)
        queue.put([taken.item])

    def look() -> None:
        queue.look_after(now_s)
        if len(queue):
            at(now_s + _LOOK_S, look)

    look()
    while True:
        while free and (taken := queue.take(0, now_s)) is not None:
            send(taken)
        if not events:
            return Outcome(sent, now_s, idle_s)
        before_s = now_s
        now_s, _, act = heapq.heappop(events)
        idle_s += (now_s - before_s) * (free if len(queue) else 0)
        act()
