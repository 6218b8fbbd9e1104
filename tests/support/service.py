"""The whole service inside the test's event loop, behind a real socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from tests.support.api import Api

from overnight import app
from overnight.backends.protocol import Backend
from overnight.backends.simulator import Simulator
from overnight.clock import Clock, MovableClock, SystemClock
from overnight.http.server import Server
from overnight.pipeline.wake import Wakes
from overnight.settings import Settings
from overnight.store.database import Database

START = datetime(2026, 11, 22, 6, 40, 25, 141141, tzinfo=UTC)
DAY = timedelta(days=1)


class Service(NamedTuple):
    """A running service and the parts that a test looks at or moves."""

    base_url: str
    api: Api
    settings: Settings
    clock: Clock
    # None where the settings name others.
    backend: Backend | None
    wakes: Wakes
    running: app.Running

    def advance(self, by: timedelta) -> None:
        """Move the clock and let every part look at it."""
        assert isinstance(self.clock, MovableClock)
        self.clock.advance(by)
        for wake in (self.wakes.stopped, self.wakes.cleared, self.wakes.planned):
            wake.ring()


def settings_for(data: Path, **changes: Any) -> Settings:
    """Give settings for a test: everything due is looked for at once."""
    settings = Settings(data=data, port=0, sweep_interval_s=0.05, drain_timeout_s=0.2)
    return replace(settings, **changes)


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    *,
    clock: Clock | None = None,
    backend: Backend | None = None,
    database: Database | None = None,
) -> AsyncGenerator[Service]:
    """Run the service as `overnight serve` composes it, and drain it afterwards."""
    clock = clock or SystemClock()
    if backend is None and settings.backend == "simulator" and settings.routing is None:
        backend = Simulator(clock=clock)
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            app.running(settings, clock=clock, backend=backend, database=database)
        )
        base_url = await stack.enter_async_context(_listening(running, settings))
        api = await stack.enter_async_context(Api(base_url))
        yield Service(base_url, api, settings, clock, backend, running.wakes, running)


@contextlib.asynccontextmanager
async def _listening(running: app.Running, settings: Settings) -> AsyncGenerator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = Server(running.http, settings)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.wakes.closing.set()
            server.should_exit = True
            await task
