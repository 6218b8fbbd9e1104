"""The benchmarks by id, in the order of the table."""

from collections.abc import Callable, Iterator

from bench.figure import Figure
from bench.figures import (
    accept,
    cache,
    cache_real,
    commands,
    dispatch,
    estimate,
    makespan,
    poll,
    realtime,
    recover,
    results,
    scale,
    small,
)
from bench.run import Run

Benchmark = Callable[[Run], Iterator[Figure]]

BENCHMARKS: dict[str, Benchmark] = {
    "accept-10k": accept.accept_10k,
    "accept-100k": accept.accept_100k,
    "dispatch": dispatch.dispatch,
    "latency-bound": dispatch.latency_bound,
    "poll": poll.poll,
    "realtime": realtime.realtime,
    "results": results.results,
    "small": small.small,
    "cache": cache.cache,
    "cache-real": cache_real.cache_real,
    "makespan": makespan.makespan,
    "scale": scale.scale,
    "recover": recover.recover,
    "cli": commands.commands,
    "estimate": estimate.estimate,
}
