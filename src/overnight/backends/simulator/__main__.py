"""`python -m overnight.backends.simulator`: the simulator as a server of its own."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from overnight.backends.simulator import Simulator, SimulatorScript, load_script
from overnight.backends.simulator.server import SimulatorServer
from overnight.errors import EXIT_USAGE, OvernightError

run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
try:
    import uvloop

    run = uvloop.run
except ImportError:  # not there on Windows: the loop of the standard library serves as well
    pass


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        script = load_script(options.script) if options.script else SimulatorScript()
        run(_serve(script, options.host, options.port, options.api_key))
    except OvernightError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        print("hint: --port 0 takes a free port", file=sys.stderr)
        return EXIT_USAGE
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m overnight.backends.simulator",
        description="Answer Messages API requests without a model; GET /stats counts the calls.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default %(default)s")
    parser.add_argument("--port", type=int, default=8485, help="0 takes a free one")
    parser.add_argument("--script", type=Path, metavar="FILE.toml", help="latency, limits, faults")
    parser.add_argument("--api-key", help="refuse calls that do not bring this key")
    return parser.parse_args(arguments)


async def _serve(script: SimulatorScript, host: str, port: int, api_key: str | None) -> None:
    server = SimulatorServer(Simulator(script), api_key=api_key)
    url = await server.start(host, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print(f"listening on {url}", flush=True)
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    sys.exit(main())
