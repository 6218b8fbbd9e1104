"""Real processes: `overnight serve` and the simulator as its backend, killed at will."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from tests.support.api import Api
from tests.support.waiting import until

_SERVE = (sys.executable, "-c", "import sys; from overnight.cli import main; sys.exit(main())")
_SIMULATOR = (sys.executable, "-m", "overnight.backends.simulator")
_ADDRESS = re.compile(r"(?:listens|listening) on (https?://\S+)")
# Starting takes a second; a machine under load may need many times that.
_START_S = 60
_END_S = 60


class Process:
    """A started process whose output goes to a file of its own."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        preexec: Callable[[], None] | None = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        with open(log, "wb") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment() | (environ or {}),
                preexec_fn=preexec,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """Give the exit code; None while it runs, negative after a signal."""
        return self._popen.poll()

    async def address(self) -> str:
        """Wait until the process says where it listens."""
        found: list[str] = []

        async def listens() -> bool:
            assert self.exit_code is None, f"it ended instead of listening:\n{self.output}"
            found.extend(_ADDRESS.findall(self.output))
            return bool(found)

        await until(listens, what=f"address in {self.log}", timeout_s=_START_S)
        return found[0]

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kill it as `kill -9` does, and collect it."""
        self._popen.kill()
        self._popen.wait()

    async def ended(self) -> int:
        """Wait for the end; give the exit code."""
        return await asyncio.to_thread(self._popen.wait, _END_S)


class Server:
    """One `overnight serve` on a data directory: started, killed, started again."""

    def __init__(
        self, data: Path, *options: str, preexec: Callable[[], None] | None = None
    ) -> None:
        self.data = data
        self._options = options
        self._preexec = preexec
        self._starts = 0
        self.process: Process | None = None
        self.base_url = ""

    def launch(self) -> Process:
        """Start the process and do not wait for it."""
        self._starts += 1
        folder = next(parent for parent in self.data.parents if parent.is_dir())
        log = folder / f"{self.data.name}-{id(self):x}-{self._starts}.log"
        command = [*_SERVE, "serve", *self._options]
        command += ["--data", str(self.data)]
        command += [] if "--port" in self._options else ["--port", "0"]
        self.process = Process(command, log, preexec=self._preexec)
        return self.process

    async def start(self) -> str:
        """Start the process and give its address once it listens."""
        self.base_url = await self.launch().address()
        return self.base_url

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    @property
    def output(self) -> str:
        """Give what the latest process has said so far."""
        assert self.process is not None
        return self.process.output

    def api(self) -> Api:
        return Api(self.base_url)


@contextlib.asynccontextmanager
async def server(
    data: Path, *options: str, preexec: Callable[[], None] | None = None
) -> AsyncGenerator[Server]:
    """Run `overnight serve` with further options; whatever runs in the end is killed."""
    started = Server(data, *options, preexec=preexec)
    try:
        await started.start()
        yield started
    finally:
        if started.process is not None:
            started.kill()


@contextlib.asynccontextmanager
async def simulator(folder: Path, script: str, *, port: int = 0) -> AsyncGenerator[str]:
    """Run the simulator as a process of its own; gives its URL."""
    path = folder / "script.toml"
    path.write_text(script, encoding="utf-8")
    process = Process(
        [*_SIMULATOR, "--port", str(port), "--script", str(path)], folder / "simulator.log"
    )
    try:
        yield await process.address()
    finally:
        process.kill()


def _environment() -> dict[str, str]:
    """Give this environment without what would configure the service."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OVERNIGHT_", "ANTHROPIC_"))
    }
