"""scale: a million requests in a hundred batches; is the last one as fast as the first?

The batches come one after the other to one service. The floor is the first 10,000 requests: those
of this service, and of fresh ones that are measured in turn when its last batches are done.
"""

import shutil
import time
from collections.abc import Iterator

from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.memory import MIB, resident_bytes
from bench.process import BenchFailed
from bench.run import ROOT, Run
from bench.service import Service, check_results, service

_BATCHES = 100
_REQUESTS = 10_000
_REQUEST_BYTES = 300
# After so many the service has seen everything that it keeps for good.
_WARM_BATCHES = 10
# What bodies, results and the database take, with room to spare.
_FREE_BYTES = 6_000_000_000


def scale(run: Run) -> Iterator[Figure]:
    """Send 1,000,000 requests in 100 batches to an upstream that answers at once."""
    free = shutil.disk_usage(ROOT).free
    if free < _FREE_BYTES:
        raise BenchFailed(
            f"scale needs {_FREE_BYTES / 1e9:g} GB of disk, {free / 1e9:.1f} are free"
        )
    body = create_body(params(_REQUESTS, _REQUEST_BYTES))
    flags = ("--concurrency", run.concurrency)
    with run.folder() as folder, run.fast_upstream(folder) as upstream:
        with service(folder / "ours", *flags, backend=upstream.url) as ours:
            warm = [_rate(ours, body) for _ in range(_WARM_BATCHES)]
            warm_mib = resident_bytes(ours.pid) / MIB
            middle = [_rate(ours, body) for _ in range(_BATCHES - _WARM_BATCHES - run.pairs)]
            last: list[Pair] = []
            for number in range(run.pairs):
                with service(folder / f"fresh-{number}", *flags, backend=upstream.url) as fresh:
                    last.append(Pair(_rate(ours, body), _rate(fresh, body)))
            end_mib = resident_bytes(ours.pid) / MIB
        how = (
            f"{_BATCHES} batches of {_REQUESTS:,}, {_REQUEST_BYTES} bytes each; "
            f"{upstream.describes}; concurrency {run.concurrency}"
        )
    at_least = Target(limit=0.9, of="ratio", best="high")
    yield figure(
        "scale", "the last batches of 1,000,000 requests", last, unit="requests/s", target=at_least,
        floor="the first 10,000 of a fresh service", how=how,
    )  # fmt: skip
    rates = [*warm, *middle, *(pair.ours for pair in last)]
    yield figure(
        "scale", "each of its batches", [Pair(rate, rates[0]) for rate in rates],
        unit="requests/s", floor="its own first 10,000", how=how,
    )  # fmt: skip
    yield figure(
        "scale", "memory after 1,000,000 requests", [Pair(end_mib, warm_mib)], unit="MiB",
        floor="after 100,000", target=Target(limit=1.1, of="ratio"), how=how,
    )  # fmt: skip


def _rate(ours: Service, body: bytes) -> float:
    """Give the requests/s of one batch, from the create call until its end is seen."""
    began = time.perf_counter()
    batch_id = ours.create(body)
    ours.wait_until_ended(batch_id)
    took_s = time.perf_counter() - began
    check_results(ours.results(batch_id), _REQUESTS)
    return _REQUESTS / took_s
