"""The implementations of `Backend`, each ready to be told by a simulator script what to do.

An implementation that speaks to a server gets the simulator's own HTTP server as its upstream:
add it to `IMPLEMENTATIONS` with an async context manager that takes the script and gives the
backend, started.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from overnight.backends.messages import MessagesBackend
from overnight.backends.protocol import Backend
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.server import SimulatorServer

API_KEY = "sk-ant-simulated"

Open = Callable[[SimulatorScript], AbstractAsyncContextManager[Backend]]


@asynccontextmanager
async def upstream(script: SimulatorScript) -> AsyncGenerator[str, None]:
    """Serve the simulator on a free port; gives the base URL. Callers must bring `API_KEY`."""
    server = SimulatorServer(Simulator(script), api_key=API_KEY)
    try:
        yield await server.start()
    finally:
        await server.close()


@asynccontextmanager
async def simulator(script: SimulatorScript) -> AsyncGenerator[Backend, None]:
    backend = Simulator(script)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def messages(script: SimulatorScript) -> AsyncGenerator[Backend, None]:
    async with upstream(script) as url:
        backend = MessagesBackend(url=url, api_key=API_KEY)
        await backend.start()
        try:
            yield backend
        finally:
            await backend.close()


IMPLEMENTATIONS: dict[str, Open] = {"simulator": simulator, "messages": messages}
