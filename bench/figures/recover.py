"""recover: `kill -9` in the middle of 10,000 requests; what is lost, repeated, and how long."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import msgspec
from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.process import free_port, kill
from bench.run import Run
from bench.service import check_results, client, service
from bench.upstream import Calls

_COUNT = 10_000
_LATENCY_MS = 10
# Killed when so many have their outcome.
_KILL_AT = 3_000
_LOOK_S = 0.002


class Recovery(NamedTuple):
    repeated: int
    # From the time when the new process accepts batches, and from its start.
    after_up_s: float
    after_start_s: float


def recover(run: Run) -> Iterator[Figure]:
    """Kill the service and start it again on the same data."""
    found = [_kill_and_restart(run) for _ in range(run.pairs)]
    how = f"concurrency {run.concurrency}, upstream with {_LATENCY_MS} ms latency"
    # `check_results` has raised where it is not so.
    yield figure(
        "recover", "lines lost or doubled", [Pair(0) for _ in found], unit="lines",
        target=Target(limit=0, of="ours"), how=how,
    )  # fmt: skip
    yield figure(
        "recover", "calls repeated", [Pair(one.repeated) for one in found], unit="calls",
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
            check_results(ours.results(batch_id), _COUNT)
            calls = probe.calls()
    return Recovery(
        repeated=calls.calls - calls.distinct,
        after_up_s=max(0.0, first_at_s - up_at_s),
        after_start_s=first_at_s - started_at_s,
    )


class UpstreamProbe:
    """Asks `bench.upstream` what has come."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = client()

    def calls(self) -> Calls:
        answer = self._client.get(f"{self._url}/calls").build().send().bytes().to_bytes()
        return msgspec.json.decode(answer, type=Calls)

    def mark(self) -> None:
        """Forget when the first call came."""
        self._client.post(f"{self._url}/mark").build().send()

    def wait_for_call(self) -> float:
        """Give the time of the first call since the mark, as `time.monotonic` has it."""
        while (first_at_s := self.calls().first_at_s) is None:
            time.sleep(_LOOK_S)
        return first_at_s
