"""poll: how long the GET of a batch takes while the service is busy dispatching."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import quantiles

from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.process import BenchFailed
from bench.run import Run
from bench.service import Service, check_results, service

_REQUESTS = 50_000
_EVERY_S = 0.02
_IDLE_POLLS = 150


def poll(run: Run) -> Iterator[Figure]:
    """Ask 50 times a second while 50,000 requests go to an upstream that answers at once."""
    body = create_body(params(_REQUESTS, 1_024))
    flags = ("--max-requests-per-batch", 100_000, "--concurrency", run.concurrency)
    pairs: list[Pair] = []
    polls: list[int] = []
    with run.folder() as folder, run.fast_upstream(folder) as upstream:
        for number in range(run.pairs):
            with service(folder / str(number), *flags, backend=upstream.url) as ours:
                idle = _idle_ms(ours)
                batch_id = ours.create(body)
                busy = _latencies_ms(partial(ours.has_ended, batch_id))
                check_results(ours.results(batch_id), _REQUESTS)
            pairs.append(Pair(_p99(busy), _p99(idle)))
            polls.append(len(busy))
    yield figure(
        "poll", "p99 of the GET of a batch, busy", pairs, unit="ms", floor="the same when idle",
        target=Target(limit=25, of="ours"),
        how=f"50/s at fixed times, {min(polls)} polls a run at least; {upstream.describes}; "
        f"concurrency {run.concurrency}",
    )  # fmt: skip


def _idle_ms(ours: Service) -> list[float]:
    """Ask for a batch that has ended, when nothing else is to do."""
    batch_id = ours.create(create_body(params(1, 1_024)))
    ours.wait_until_ended(batch_id)
    left = iter(range(_IDLE_POLLS))

    def ask() -> bool:
        ours.has_ended(batch_id)
        return next(left, None) is None

    return _latencies_ms(ask)


def _latencies_ms(ask: Callable[[], bool]) -> list[float]:
    """Ask at fixed times until told to stop; a late answer delays no later measurement's begin."""
    latencies: list[float] = []
    due = time.perf_counter()
    while True:
        time.sleep(max(0.0, due - time.perf_counter()))
        stop = ask()
        latencies.append((time.perf_counter() - due) * 1000)
        if stop:
            return latencies
        due += _EVERY_S


def _p99(latencies_ms: list[float]) -> float:
    if len(latencies_ms) < 100:
        raise BenchFailed(f"{len(latencies_ms)} polls are too few for a 99th percentile")
    return quantiles(latencies_ms, n=100, method="inclusive")[98]
