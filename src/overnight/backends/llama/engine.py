"""One model's llama.cpp: a child process, watched, and started again when it dies."""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Mapping

import msgspec

from overnight.backends.llama.gguf import Gguf
from overnight.backends.llama.order import Order, Ready
from overnight.backends.llama.sizing import CPU_SLOTS, GPU_SLOTS, Sizing
from overnight.backends.messages import MessagesBackend
from overnight.errors import ConfigInvalid

_PAUSE_FIRST_S = 0.1
_PAUSE_CAP_S = 30.0
# Who lived this long did not die of its start.
_HEALTHY_S = 60.0
_TOLD_LINES = 100
_OURS = ("OVERNIGHT_", "ANTHROPIC_")
# Calls beyond the slots, so that a slot that comes free has its next prompt at once.
_WAITING_CALLS = 2
# Connections that are kept beyond one for each slot.
_SPARE_CONNECTIONS = 16

log = logging.getLogger(__name__)


class LoadFailed(Exception):
    """llama.cpp ended before it could answer; the text is what it said last"""


class Engine:
    """A child that answers for one model. `calls` is None while there is no child to call."""

    def __init__(self, name: str, model: Gguf, sizing: Sizing, *, request_timeout_s: float) -> None:
        self.name = name
        self.model = model
        self.sizing = sizing
        # Known once it has started.
        self.slots = sizing.slots or CPU_SLOTS
        self.calls: MessagesBackend | None = None
        self._request_timeout_s = request_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Give the process id of the child, None while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def max_calls(self) -> int:
        """Tell how many calls keep it busy; more would only wait in it. Known once started."""
        return self.slots + _WAITING_CALLS

    async def start(self) -> None:
        """Return once it can answer. Raises: ConfigInvalid when the model cannot be loaded."""
        try:
            await self._launch()
        except LoadFailed as error:
            raise ConfigInvalid(
                f"gguf: {self.model.path}: llama.cpp cannot load it: {error}",
                hint="a smaller --llama-context-tokens or fewer --llama-slots need less memory",
            ) from None
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End the child. Idempotent."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._end()

    async def _launch(self) -> None:
        api_key = secrets.token_urlsafe(24)
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "overnight.backends.llama",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_without_ours(os.environ),
            # Not of our group: Ctrl-C is for us, and running requests get their time.
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        told: deque[str] = deque(maxlen=_TOLD_LINES)
        listening = asyncio.create_task(_listen(process.stderr, told))
        with contextlib.suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(self._order(api_key)) + b"\n")
            await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            await listening
            raise LoadFailed(_reason(told, process.returncode))
        ready = msgspec.json.decode(line, type=Ready)
        self.slots = ready.slots
        calls = MessagesBackend(
            url=ready.url,
            api_key=api_key,
            concurrency=ready.slots + _SPARE_CONNECTIONS,
            idle_timeout_s=self._request_timeout_s,
            request_timeout_s=self._request_timeout_s,
        )
        await calls.start()
        self.calls = calls

    def _order(self, api_key: str) -> Order:
        return Order(
            path=str(self.model.path),
            model=self.name,
            api_key=api_key,
            slots=self.sizing.slots,
            cpu_slots=CPU_SLOTS,
            gpu_slots=GPU_SLOTS,
            context_tokens=self.sizing.context_tokens,
            threads=self.sizing.threads,
            gpu_layers=self.sizing.gpu_layers,
            prompt_cache_mib=self.sizing.prompt_cache_mib,
        )

    async def _watch(self) -> None:
        """Start it again whenever it has died; a child that dies at once is given longer rests."""
        loop = asyncio.get_running_loop()
        pause_s = _PAUSE_FIRST_S
        while True:
            assert self._process is not None
            began_s = loop.time()
            code = await self._process.wait()
            await self._end()
            if loop.time() - began_s > _HEALTHY_S:
                pause_s = _PAUSE_FIRST_S
            log.error(
                "llama.cpp for model %s ended with code %d: starting it again in %g s",
                self.name, code, pause_s,
            )  # fmt: skip
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_CAP_S)
            try:
                await self._launch()
            except (LoadFailed, OSError) as error:
                log.error("llama.cpp for model %s does not start: %s", self.name, error)

    async def _end(self) -> None:
        calls, self.calls = self.calls, None
        if calls is not None:
            await calls.close()
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Give an environment without our settings: keys are not the child's business."""
    return {name: value for name, value in environ.items() if not name.startswith(_OURS)}


async def _listen(stream: asyncio.StreamReader, told: deque[str]) -> None:
    """Keep the last lines: they are shown only if the model cannot be loaded."""
    while data := await stream.read(65_536):
        told.extend(line for line in data.decode(errors="replace").splitlines() if line.strip())


def _reason(told: deque[str], code: int | None) -> str:
    """Choose the line that says most: the first error, else the last line."""
    errors = [line for line in told if "error" in line] or list(told)[-1:]
    if not errors:
        return f"it ended with code {code} without a word"
    return errors[0].rpartition("error loading model: ")[2].rpartition(" E ")[2].strip()
