"""recover: `kill -9` in the middle of a batch; what is lost or repeated, how long it takes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.figures.takeover import takeover
from bench.process import free_port, kill
from bench.run import Run
from bench.service import Tally, service, tally
from bench.upstream_probe import UpstreamProbe

_COUNT = 10_000
_LATENCY_MS = 10
# Killed when so many have their outcome.
_KILL_AT = 3_000
_LOOK_S = 0.002


class Recovery(NamedTuple):
    tally: Tally
    repeated: int
    # From the time when the new process accepts batches, and from its start.
    after_up_s: float
    after_start_s: float


def recover(run: Run) -> Iterator[Figure]:
    """Kill the service in the middle of 10,000 requests and start it again; then two workers."""
    found = [_kill_and_restart(run) for _ in range(run.pairs)]
    how = (
        f"{len(found)} kills, of the first two figures the worst; concurrency {run.concurrency}, "
        f"upstream with {_LATENCY_MS} ms latency"
    )
    wrong = max(sum(one.tally) for one in found)
    yield figure(
        "recover", "lines lost, doubled or failed", [Pair(wrong)], unit="lines",
        target=Target(limit=0, of="ours"), how=how,
    )  # fmt: skip
    yield figure(
        "recover", "calls repeated", [Pair(max(one.repeated for one in found))], unit="calls",
        target=Target(limit=run.concurrency, of="ours"), how=how,
    )  # fmt: skip
    yield figure(
        "recover", "up until dispatching again", [Pair(one.after_up_s) for one in found],
        unit="s", target=Target(limit=1, of="ours"), how=how,
    )  # fmt: skip
    yield figure(
        "recover", "start of the process until dispatching again",
        [Pair(one.after_start_s) for one in found], unit="s", how=how,
    )  # fmt: skip
    yield from takeover(run)


def _kill_and_restart(run: Run) -> Recovery:
    flags = ("--concurrency", run.concurrency)
    with ExitStack() as stack:
        folder = stack.enter_context(run.folder())
        upstream = stack.enter_context(run.upstream(folder, latency_ms=_LATENCY_MS))
        port = free_port()
        with service(folder, *flags, backend=upstream.url, port=port) as ours:
            batch_id = ours.create(create_body(params(_COUNT, 1_024)))
            while ours.recorded(batch_id) < _KILL_AT:
                time.sleep(_LOOK_S)
            kill(ours.process)
        probe = UpstreamProbe(upstream.url)
        probe.mark()
        started_at_s = time.monotonic()
        with service(folder, *flags, backend=upstream.url, port=port) as ours:
            up_at_s = time.monotonic()
            first_at_s = probe.wait_for_call()
            ours.wait_until_ended(batch_id)
            found = tally(ours.results(batch_id), _COUNT)
            calls = probe.calls()
    return Recovery(
        tally=found,
        repeated=calls.calls - calls.distinct,
        after_up_s=max(0.0, first_at_s - up_at_s),
        after_start_s=first_at_s - started_at_s,
    )
