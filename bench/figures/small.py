"""small: a batch of one request, from the create call until it is seen to have ended."""

import time
from collections.abc import Iterator

from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.run import Run
from bench.service import Service, check_results, service

_POLL_S = 0.002
_BATCHES_PER_PAIR = 10


def small(run: Run) -> Iterator[Figure]:
    """Create one small batch after the other."""
    with (
        run.folder() as folder,
        run.fast_upstream(folder) as upstream,
        service(folder, backend=upstream.url) as ours,
    ):
        took = [Pair(_batch_ms(ours)) for _ in range(run.pairs * _BATCHES_PER_PAIR)]
    yield figure(
        "small", "1 request, create to ended", took, unit="ms", target=Target(limit=250, of="ours"),
        how=f"{upstream.describes}; polled every {_POLL_S:g} s",
    )  # fmt: skip


def _batch_ms(ours: Service) -> float:
    body = create_body(params(1, 1_024))
    began = time.perf_counter()
    batch_id = ours.create(body)
    ours.wait_until_ended(batch_id, poll_s=_POLL_S)
    took_ms = (time.perf_counter() - began) * 1000
    check_results(ours.results(batch_id), 1)
    return took_ms
