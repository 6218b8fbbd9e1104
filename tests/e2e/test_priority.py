"""Real-time calls go first: what they use is not there for batches, from the next request on.

Counted at the backend, which answers when its clock is moved: a step is the time of one request.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic
from tests.support.api import params, requests
from tests.support.service import Service, serving, settings_for
from tests.support.waiting import until

from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency, Limit
from overnight.backends.simulator.server import SimulatorServer
from overnight.backends.simulator.simulator import Attempt
from overnight.clock import MovableClock
from overnight.model import Call, Failure

CONCURRENCY = 8
CALLERS = 4
LEFT = CONCURRENCY - CALLERS
REQUESTS = 300
STEP = timedelta(seconds=1)
STEPS = 8
# All that may be under way at once: for more, the backend says 529.
SCRIPT = SimulatorScript(
    latency=Latency(base_s=STEP.total_seconds()),
    limits=(Limit(max_in_flight=CONCURRENCY + CALLERS),),
)
LIVE = "Somebody waits for this."


class CountingSimulator(Simulator):
    """A simulator that counts calls of batches and real-time calls apart."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(SCRIPT, clock=clock)
        self.of_batches = self.live = 0
        self.most_of_batches = 0
        self.refused = 0
        self._live: set[int] = set()

    def begin(self, call: Call) -> Attempt:
        attempt = super().begin(call)
        self.refused += isinstance(attempt.result, Failure)
        if LIVE.encode() in call.params:
            self._live.add(id(attempt))
            self.live += 1
        else:
            self.of_batches += 1
            self.most_of_batches = max(self.most_of_batches, self.of_batches)
        return attempt

    def end(self, attempt: Attempt) -> None:
        if id(attempt) in self._live:
            self._live.remove(id(attempt))
            self.live -= 1
        else:
            self.of_batches -= 1
        super().end(attempt)

    async def under_way(self, *, of_batches: int, live: int, calls: int) -> None:
        """Wait until exactly so many calls are under way, of so many that ever came."""

        async def holds() -> bool:
            return (self.of_batches, self.live, self.calls) == (of_batches, live, calls)

        await until(holds, what=f"{of_batches} calls of batches and {live} live ones under way")


@asynccontextmanager
async def behind(
    tmp_path: Path, clock: MovableClock
) -> AsyncGenerator[tuple[Service, CountingSimulator]]:
    """Run a service over HTTP behind a backend that both share a clock with."""
    simulator = CountingSimulator(clock)
    server = SimulatorServer(simulator)
    backend = MessagesBackend(url=await server.start())
    settings = settings_for(tmp_path, concurrency=CONCURRENCY)
    try:
        async with serving(settings, clock=clock, backend=backend) as service:
            yield service, simulator
    finally:
        await server.close()


class Callers:
    """People who ask again as soon as they have their answer."""

    def __init__(self, client: AsyncAnthropic) -> None:
        self._client = client
        self._leaving = False
        self.answers = 0
        self._tasks = [asyncio.create_task(self._ask(bool(n % 2))) for n in range(CALLERS)]

    async def leave(self) -> None:
        """Let each have its last answer. Raises what any of them has met."""
        await asyncio.gather(*self._tasks)

    def stop(self) -> None:
        self._leaving = True

    async def _ask(self, streaming: bool) -> None:
        while not self._leaving:
            asked: dict[str, Any] = params(LIVE)
            if streaming:
                async with self._client.messages.stream(**asked) as stream:
                    await stream.get_final_message()
            else:
                await self._client.messages.create(**asked)
            self.answers += 1


async def test_batches_leave_room_within_one_request_and_take_it_back(
    tmp_path: Path, clock: MovableClock
) -> None:
    async with (
        behind(tmp_path, clock) as (service, simulator),
        AsyncAnthropic(base_url=service.base_url, api_key="k", max_retries=0) as client,
    ):
        await service.api.created(requests(REQUESTS))
        await simulator.under_way(of_batches=CONCURRENCY, live=0, calls=CONCURRENCY)
        # They wait for nobody, though the batch uses all that it may.
        callers, calls = Callers(client), CONCURRENCY + CALLERS
        await simulator.under_way(of_batches=CONCURRENCY, live=CALLERS, calls=calls)
        service.advance(STEP)
        calls += CONCURRENCY
        await simulator.under_way(of_batches=LEFT, live=CALLERS, calls=calls)
        simulator.most_of_batches = 0
        for _ in range(STEPS):
            service.advance(STEP)
            calls += CONCURRENCY
            await simulator.under_way(of_batches=LEFT, live=CALLERS, calls=calls)
        assert simulator.most_of_batches <= LEFT
        callers.stop()
        service.advance(STEP)
        await callers.leave()
        assert callers.answers == CALLERS * (STEPS + 2)
        assert simulator.refused == 0

        # What they used is kept free for a while, and less of it from minute to minute.
        stepped = calls

        async def more_again() -> bool:
            nonlocal stepped
            if simulator.calls >= stepped + LEFT:
                stepped = simulator.calls
                service.advance(STEP)
            return simulator.most_of_batches > LEFT

        await until(more_again, what="the batch uses more again")
        assert simulator.refused == 0
