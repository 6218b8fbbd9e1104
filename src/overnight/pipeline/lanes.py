"""Lanes: the backends that a worker sends to, each with its gate and its idle senders."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from overnight.backends.protocol import Backend
from overnight.clock import Clock
from overnight.dispatch.gate import Gate
from overnight.dispatch.queue import LaneId, RouteId
from overnight.dispatch.routing import Route, Routing, Target, one_for_all
from overnight.model import Caching

_FOREVER = float("inf")


class Lane:
    """One backend and what stands before it. Mutable, touched by the event loop only."""

    def __init__(
        self,
        id: LaneId,
        backend: Backend,
        gate: Gate,
        *,
        senders: int,
        clock: Clock,
        name: str = "",
    ) -> None:
        self.id = id
        # What the configuration calls it.
        self.name = name or backend.name
        self.backend = backend
        self.gate = gate
        # Batch requests that are under way or not yet durable, at most.
        self.senders = senders
        self._clock = clock
        # Senders that have nothing to send.
        self._resting: deque[asyncio.Future[None]] = deque()
        # Routes that wait for a rate limit.
        self._paused: set[RouteId] = set()
        self._looks: dict[RouteId | None, asyncio.Task[None]] = {}

    @property
    def out(self) -> bool:
        return self.gate.breaker.out

    def has_room(self, route: RouteId) -> bool:
        """Tell whether a sender rests that could send a request of a route now."""
        if not self._resting or route in self._paused:
            return False
        return self.gate.wait_s(self._clock.seconds()) == 0

    @property
    def load(self) -> float:
        """Give the calls under way for each that may be."""
        return self.gate.in_flight / self.gate.concurrency.limit

    @property
    def is_closed(self) -> bool:
        return self.out or 0 < self.gate.wait_s(self._clock.seconds()) < _FOREVER

    def has_to_wait(self, now_s: float) -> bool:
        """Tell whether nothing may be sent now; somebody looks again when it may."""
        wait_s = self.gate.wait_s(now_s)
        if 0 < wait_s < _FOREVER:
            self._look_again(None, wait_s)
        return wait_s > 0

    @property
    def pauses_any(self) -> bool:
        return bool(self._paused)

    def pauses(self, route: RouteId) -> bool:
        return route in self._paused

    def pause(self, route: RouteId, seconds: float) -> None:
        """Take nothing more from a route for a while."""
        self._paused.add(route)
        self._look_again(route, seconds)

    async def rest(self) -> None:
        """Return when there may be something to send."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(future)
        await future

    def wake(self) -> None:
        """Let one sender look for work; it wakes the next when it finds some."""
        while self._resting:
            future = self._resting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def wake_all(self) -> None:
        while self._resting:
            self.wake()

    def close(self) -> None:
        """Forget what was to be looked at again."""
        for task in self._looks.values():
            task.cancel()

    def _look_again(self, route: RouteId | None, seconds: float) -> None:
        if route not in self._looks:
            self._looks[route] = asyncio.ensure_future(self._look(route, seconds))

    async def _look(self, route: RouteId | None, seconds: float) -> None:
        await self._clock.sleep(seconds)
        del self._looks[route]
        if route is not None:
            self._paused.discard(route)
        self.wake()


class Cache(NamedTuple):
    """The prompt cache behind a lane, for one model."""

    # What the backend calls the model.
    model: str
    caching: Caching
    # Batch requests under way at a time.
    senders: int


class Lanes:
    """All lanes, and the rules by which requests go to them."""

    def __init__(self, lanes: Sequence[Lane], routing: Routing | None = None) -> None:
        self._lanes = lanes
        self.routing = routing or Routing([one_for_all(range(len(lanes)))])

    def __getitem__(self, id: LaneId) -> Lane:
        return self._lanes[id]

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def senders(self) -> int:
        return sum(lane.senders for lane in self._lanes)

    def find(self, model: str) -> Route | None:
        """Give the route of a model; None when no backend answers for it."""
        return self.routing.find(model)

    def route(self, id: RouteId) -> Route:
        return self.routing.routes[id]

    def names(self, model: str) -> Collection[str]:
        """Give what the backends that may answer for a model call it."""
        route = self.find(model)
        targets = route.targets.values() if route else ()
        return {target.model or model for target in targets} or {model}

    def caching(self, route: Route, model: str) -> Caching:
        """Say what is done with equal beginnings of prompts where most of a route's requests go."""
        target = next(iter(route.targets.values()))
        return self._lanes[target.lane].backend.caching(target.model or model)

    def caches(self, model: str) -> list[Cache]:
        """Give the caches of all lanes that answer for a model, but for mere fallbacks."""
        route = self.find(model)
        targets = route.targets.values() if route else ()
        found = []
        for target in targets:
            if not target.fallback:
                lane, asked = self._lanes[target.lane], target.model or model
                found.append(Cache(asked, lane.backend.caching(asked), lane.senders))
        return found

    def ranked(self, route: Route) -> list[tuple[Lane, Target]]:
        """Give the lanes of a route for a call that does not wait, the best one first."""
        targets = route.ranked(self, [lane.load for lane in self._lanes])
        return [(self._lanes[target.lane], target) for target in targets]

    def wake(self) -> None:
        """Let one sender of each lane look for work."""
        for lane in self._lanes:
            lane.wake()
