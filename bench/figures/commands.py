"""cli: how much longer a command takes than Python needs to start."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, Pair, Target, figure
from bench.process import environment
from bench.run import Run

_PRICE = (
    "price",
    "--model",
    "claude-haiku-4-5",
    "--requests",
    "100k",
    "--in",
    "200",
    "--out",
    "50",
)
_COMMANDS: tuple[tuple[tuple[str, ...], float], ...] = ((("--help",), 150), (_PRICE, 250))


def commands(run: Run) -> Iterator[Figure]:
    """Run `overnight --help` and `overnight price` beside `python -c pass`."""
    overnight = str(Path(sys.executable).with_name("overnight"))
    for arguments, limit_ms in _COMMANDS:
        ours, bare = [overnight, *arguments], [sys.executable, "-c", "pass"]
        # The first call reads the files from the disk.
        _took_ms(ours)
        pairs = [Pair(_took_ms(ours), _took_ms(bare)) for _ in range(2 * run.pairs)]
        yield figure(
            "cli", f"overnight {arguments[0]}", pairs, unit="ms", floor="python -c pass",
            target=Target(limit=limit_ms, of="difference"),
        )  # fmt: skip


def _took_ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment())
    return (time.perf_counter() - began) * 1000
