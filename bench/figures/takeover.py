"""The second part of recover: another worker on the same PostgreSQL takes over from a dead one.

One shard is the whole batch, so that only the first worker has anything to send; the first call
that the upstream gets after the death is the second worker's.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.process import Process, kill
from bench.run import Run
from bench.service import check_results, service
from bench.upstream_probe import UpstreamProbe
from tests.support.postgres import Cluster, running_cluster

_COUNT = 500
_CONCURRENCY = 2
# The batch must outlast the start of the second worker.
_LATENCY_MS = 20
_LEASE_S = 3
_LOOK_S = 0.002


def takeover(run: Run) -> Iterator[Figure]:
    """Kill one of two workers, then stop one as a host that is lost stops."""
    with running_cluster() as cluster:
        killed = [Pair(_takeover_s(run, cluster, kill)) for _ in range(run.pairs)]
        stopped = [Pair(_takeover_s(run, cluster, _freeze)) for _ in range(run.pairs)]
    how = f"PostgreSQL without fsync, 2 workers, a lease of {_LEASE_S} s"
    yield figure(
        "recover", "takeover after the death of a process", killed, unit="s",
        target=Target(limit=1, of="ours"), how=how,
    )  # fmt: skip
    yield figure(
        "recover", "takeover after the death of a host", stopped, unit="s",
        target=Target(limit=_LEASE_S + 1, of="ours"),
        how=f"{how}; the process is stopped with its connections open",
    )  # fmt: skip


def _takeover_s(run: Run, cluster: Cluster, end: Callable[[Process], None]) -> float:
    """Give the time from the end of the one worker to the first call of the other."""
    with ExitStack() as stack:
        folder = stack.enter_context(run.folder())
        upstream = stack.enter_context(run.upstream(folder, latency_ms=_LATENCY_MS))
        url = stack.enter_context(cluster.database())
        flags = (
            "--database-url", url, "--concurrency", _CONCURRENCY,
            "--lease-s", _LEASE_S, "--shard-requests", _COUNT,
        )  # fmt: skip
        first = stack.enter_context(service(folder, *flags, backend=upstream.url))
        batch_id = first.create(create_body(params(_COUNT, 1_024)))
        while not first.recorded(batch_id):
            time.sleep(_LOOK_S)
        second = stack.enter_context(service(folder, *flags, backend=upstream.url))
        probe = UpstreamProbe(upstream.url)
        ended_at_s = time.monotonic()
        end(first.process)
        probe.mark()
        taken_at_s = probe.wait_for_call()
        second.wait_until_ended(batch_id)
        check_results(second.results(batch_id), _COUNT)
        kill(first.process)
        return taken_at_s - ended_at_s


def _freeze(running: Process) -> None:
    """Stop a process where it stands: it neither works nor lets go of anything."""
    running.send_signal(signal.SIGSTOP)
