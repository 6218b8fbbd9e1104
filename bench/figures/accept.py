"""accept-10k, accept-100k: from sending a create call to its answer; then all is durable."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.memory import MemoryProbe
from bench.run import Run
from bench.service import Service, check_results, service

_FLOOR = "write + fsync of the same bytes"


def accept_10k(run: Run) -> Iterator[Figure]:
    """Accept 10,000 requests, 10 MB."""
    body = create_body(params(10_000, 960))
    with run.folder() as folder, service(folder, "--no-worker") as ours:
        pairs = _pairs(run, ours, folder, body)
    yield figure(
        "accept-10k",
        _name(body),
        pairs,
        unit="ms",
        floor=_FLOOR,
        target=Target(limit=4, of="ratio"),
    )


def accept_100k(run: Run) -> Iterator[Figure]:
    """Accept 100,000 requests, 256 MB, then work through them; look at the memory."""
    body = create_body(params(100_000, 2_520))
    raised = ("--max-requests-per-batch", 100_000)
    with (
        run.folder() as folder,
        service(folder, "--no-worker", *raised) as ours,
        MemoryProbe(ours.pid) as probe,
    ):
        pairs = _pairs(run, ours, folder, body)
    ratio = Target(limit=3, of="ratio")
    yield figure("accept-100k", _name(body), pairs, unit="ms", floor=_FLOOR, target=ratio)
    most = Target(limit=400, of="ours")
    accepting = [Pair(probe.over_idle_mib)]
    yield figure(
        "accept-100k", "memory over idle, accepting", accepting, unit="MiB", target=most,
        how=f"peak of the resident set over {run.pairs} create calls",
    )  # fmt: skip
    with (
        run.folder() as folder,
        run.fast_upstream(folder) as upstream,
        service(folder, *raised, backend=upstream.url) as ours,
    ):
        with MemoryProbe(ours.pid) as probe:
            batch_id = ours.create(body)
            ours.wait_until_ended(batch_id, poll_s=0.1)
        check_results(ours.results(batch_id), 100_000)
    working = [Pair(probe.over_idle_mib)]
    yield figure(
        "accept-100k", "memory over idle, until ended", working, unit="MiB", target=most,
        how=f"peak of the resident set from the create call to the end; {upstream.describes}",
    )  # fmt: skip


def _pairs(run: Run, ours: Service, folder: Path, body: bytes) -> list[Pair]:
    return [
        Pair(_create_ms(ours, body), _write_ms(folder / f"floor-{number}", body))
        for number in range(run.pairs)
    ]


def _create_ms(ours: Service, body: bytes) -> float:
    began = time.perf_counter()
    ours.create(body)
    return (time.perf_counter() - began) * 1000


def _write_ms(path: Path, body: bytes) -> float:
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        view = memoryview(body)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    took_ms = (time.perf_counter() - began) * 1000
    path.unlink()
    return took_ms


def _name(body: bytes) -> str:
    return f"create call of {len(body) / 1e6:.0f} MB"
