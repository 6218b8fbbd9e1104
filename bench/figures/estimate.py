"""estimate: 100,000 rows, 100 MB, counted and priced, against reading and decoding them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.body import params
from bench.figure import Figure, Pair, Target, figure
from bench.run import Run

_ROWS = 100_000
_ROW_BYTES = 1_000
_WRITE_ROWS = 10_000

# Each in a process of its own that says how long the work took, without the start of Python.
_OURS = """
import sys, time, overnight
overnight.cost(overnight.Usage(), "claude-sonnet-4-6")
import overnight.pricing.estimate
began = time.perf_counter()
found = overnight.estimate(sys.argv[1])
took = time.perf_counter() - began
assert found.requests == int(sys.argv[2]), found.requests
print(took * 1000)
"""
_FLOOR = """
import sys, time, msgspec
decode = msgspec.json.Decoder().decode
began = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    count = sum(1 for line in file if decode(line))
took = time.perf_counter() - began
assert count == int(sys.argv[2]), count
print(took * 1000)
"""


def estimate(run: Run) -> Iterator[Figure]:
    """Estimate a large file beside decoding each of its lines with msgspec."""
    with run.folder() as folder:
        path = folder / "requests.jsonl"
        _write(path)
        pairs = [Pair(_took_ms(_OURS, path), _took_ms(_FLOOR, path)) for _ in range(run.pairs)]
        megabytes = path.stat().st_size / 1_000_000
    yield figure(
        "estimate", f"{_ROWS:,} rows, {megabytes:.0f} MB", pairs, unit="ms",
        floor="reading the lines, msgspec decoding each", target=Target(limit=5, of="ratio"),
    )  # fmt: skip


def _write(path: Path) -> None:
    made = params(_WRITE_ROWS, _ROW_BYTES)
    with path.open("wb") as file:
        for number in range(_ROWS):
            file.write(
                b'{"custom_id":"doc-%d","params":%b}\n' % (number, made[number % _WRITE_ROWS])
            )


def _took_ms(code: str, path: Path) -> float:
    command = [sys.executable, "-c", code, str(path), str(_ROWS)]
    done = subprocess.run(command, check=True, capture_output=True)
    return float(done.stdout)
