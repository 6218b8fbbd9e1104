"""A service in a thread of its own, so that callers may block; its clock moves when told to."""

import asyncio
import contextlib
import threading
from collections.abc import Generator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.support.service import START, Service, settings_for
from tests.support.service import serving as serving_in_this_loop
from tests.wire.caller import Caller, until

from overnight.access.keys import workspace_id
from overnight.backends.simulator import Simulator
from overnight.backends.simulator.script import Refusal, Rule, SimulatorScript, Slow, Status
from overnight.clock import MovableClock

# How long the answer to a request whose custom_id begins with `held` takes, on the clock.
HELD_S = 5.0

SCRIPT = SimulatorScript(
    rules=(
        Rule(custom_id="held*", fault=Slow(seconds=HELD_S)),
        Rule(custom_id="stuck*", fault=Slow(seconds=86_400)),
        Rule(custom_id="refusing*", fault=Refusal(category="cyber", explanation="no")),
        Rule(custom_id="failing*", fault=Status(status=400, message="the model said no")),
    )
)


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A service under test, seen from another thread."""

    service: Service
    simulator: Simulator
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.service.base_url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def caller(self, key: str = "not-needed", workspace: str = "default") -> Caller:
        return Caller(self.port, key, workspace_id(workspace))

    def advance(self, seconds: float) -> None:
        """Move the service's clock."""

        async def move() -> None:
            self.service.advance(timedelta(seconds=seconds))

        asyncio.run_coroutine_threadsafe(move(), self.loop).result()

    def sending(self, count: int) -> None:
        """Wait until the backend works on so many requests."""
        until(lambda: self.simulator.in_flight == count, what=f"{count} requests under way")


@contextlib.contextmanager
def serving(data: Path, **values: Any) -> Generator[Served]:
    """Run a service with these settings until the block ends."""
    started: Future[tuple[Served, asyncio.Event]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(data, values, started)), daemon=True
    )
    thread.start()
    served, stop = started.result(timeout=30)
    try:
        yield served
    finally:
        served.loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)
        assert not thread.is_alive(), "the service did not stop"


async def _serve(
    data: Path, values: dict[str, Any], started: Future[tuple[Served, asyncio.Event]]
) -> None:
    clock, stop = MovableClock(START), asyncio.Event()
    simulator = Simulator(SCRIPT, clock=clock)
    settings = settings_for(data, **values)
    try:
        async with serving_in_this_loop(settings, clock=clock, backend=simulator) as service:
            loop = asyncio.get_running_loop()
            started.set_result((Served(service=service, simulator=simulator, loop=loop), stop))
            await stop.wait()
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
