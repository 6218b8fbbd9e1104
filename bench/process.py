"""Processes of a benchmark: started fresh, waited for, always ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_READY_WITHIN_S = 30.0
_STOP_WITHIN_S = 10.0
_LOOK_S = 0.002

Process = subprocess.Popen[bytes]


class BenchFailed(Exception):
    """A benchmark did not do its work: its figure would mean nothing"""


@contextmanager
def process(
    command: Sequence[str | Path],
    *,
    folder: Path,
    port: int,
    log: str,
    within_s: float = _READY_WITHIN_S,
) -> Generator[Process]:
    """Run a server until the block ends; it listens on `port` when the block begins.

    Raises: BenchFailed with what the server said when it does not listen in time.
    """
    running = start(command, folder=folder, log=log)
    try:
        wait_until_listening(running, port, folder / log, within_s=within_s)
        yield running
    finally:
        stop(running)


def start(command: Sequence[str | Path], *, folder: Path, log: str) -> Process:
    """Start a program in `folder`, its output in the file `log` there."""
    with (folder / log).open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def wait_until_listening(running: Process, port: int, log: Path, *, within_s: float) -> None:
    """Return once something accepts connections. Raises: BenchFailed."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and running.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_LOOK_S)
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    raise BenchFailed(f"{running.args!r} does not listen on port {port}: {said[-2000:]}")


def stop(running: Process) -> None:
    """End a process, by force when it does not go by itself. Idempotent."""
    if running.poll() is not None:
        return
    running.send_signal(signal.SIGTERM)
    # A stopped process takes no other signal.
    running.send_signal(signal.SIGCONT)
    try:
        running.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def kill(running: Process) -> None:
    """End a process as a power cut would."""
    running.kill()
    running.wait()


def output_of(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    within_s: float | None = None,
) -> bytes:
    """Run a program to its end and give what it printed.

    Raises: BenchFailed with what it said when it fails, or when it has not ended `within_s`.
    """
    running = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=environment() | dict(environ or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        printed, said = running.communicate(timeout=within_s)
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"{command[0]} has not ended after {within_s:g} s") from error
    finally:
        stop(running)
    if running.returncode != 0:
        raise BenchFailed(f"{command[0]} failed: {said.decode('utf-8', 'replace')[-2000:]}")
    return printed


def environment() -> dict[str, str]:
    """Give what programs of a benchmark see: no settings, and the source of this checkout."""
    root = Path(__file__).parents[1]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("OVERNIGHT_")}
    return environ | {"PYTHONPATH": os.pathsep.join((str(root), str(root / "src")))}


def module(name: str, *arguments: str | Path | float) -> list[str]:
    """Give the command that runs a module of ours in this Python."""
    return [sys.executable, "-m", name, *(str(argument) for argument in arguments)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: Any = listener.getsockname()
        return int(address[1])
