"""realtime: how long `POST /v1/messages` takes while a full batch waits behind the same gate.

The upstream works on so many calls at a time, and further calls wait there for their turn. First
the service may send just as many: a batch alone would keep all of the upstream busy. Then it may
send four times as many, as where nobody knows what an upstream can do: the surplus stands before
the real-time calls. These come at fixed times, whether or not the ones before are answered; each is
measured from the time when it was due.
"""

import asyncio
import time
from collections.abc import Iterator
from statistics import quantiles
from typing import NamedTuple

import uvloop
from bench.body import API_VERSION, create_body, params
from bench.figure import Figure, Pair, figure
from bench.process import BenchFailed
from bench.run import Run
from bench.service import Service, service
from pyreqwest.client import Client, ClientBuilder

_CALLS = 300
# Made before them, on connections that are new.
_WARM_CALLS = 20
_EVERY_S = 0.05
_LATENCY_S = 0.05
_PARALLEL = 16
_CONCURRENCIES = (_PARALLEL, 4 * _PARALLEL)
# More than the upstream can answer while the calls are made.
_REQUESTS = 10_000
_REQUEST_BYTES = 1_024
_LOOK_S = 0.002


class Waits(NamedTuple):
    """What callers waited, in milliseconds."""

    p50: float
    p99: float


class Loaded(NamedTuple):
    """What callers waited with a batch behind them, and what the batch got done meanwhile."""

    waits: Waits
    batch_per_s: float


def realtime(run: Run) -> Iterator[Figure]:
    """Call 20 times a second for 15 s, with nothing else to do and with a full batch behind."""
    for concurrency in _CONCURRENCIES:
        yield from _figures(run, concurrency)


def _figures(run: Run, concurrency: int) -> Iterator[Figure]:
    found: list[tuple[Loaded, Waits]] = []
    with (
        run.folder() as folder,
        run.upstream(folder, latency_ms=_LATENCY_S * 1000, parallel=_PARALLEL) as upstream,
    ):
        for number in range(run.pairs):
            flags = ("--concurrency", concurrency)
            with service(folder / str(number), *flags, backend=upstream.url) as ours:
                idle = uvloop.run(_call(ours.url))
                found.append((_loaded(ours), idle))
    how = (
        f"{_CALLS} calls, {1 / _EVERY_S:g}/s at fixed times; {upstream.describes}; "
        f"concurrency {concurrency}"
    )
    for name in Waits._fields:
        waits = [Pair(getattr(busy.waits, name), getattr(idle, name)) for busy, idle in found]
        yield figure(
            "realtime", f"{name} of POST /v1/messages, full batch behind", waits, unit="ms",
            floor="the same when idle", how=how,
        )  # fmt: skip
    free_per_s = _PARALLEL / _LATENCY_S - 1 / _EVERY_S
    batch = [Pair(busy.batch_per_s, free_per_s) for busy, _ in found]
    yield figure(
        "realtime", "the batch meanwhile", batch, unit="requests/s",
        floor="what the real-time calls leave", how=how,
    )  # fmt: skip


def _loaded(ours: Service) -> Loaded:
    """Measure with a batch that keeps the service busy all the time. Raises: BenchFailed."""
    batch_id = ours.create(create_body(params(_REQUESTS, _REQUEST_BYTES)))
    while not ours.recorded(batch_id):
        time.sleep(_LOOK_S)
    recorded, began = ours.recorded(batch_id), time.perf_counter()
    waits = uvloop.run(_call(ours.url))
    done, took_s = ours.recorded(batch_id) - recorded, time.perf_counter() - began
    if ours.has_ended(batch_id):
        raise BenchFailed(f"the batch of {_REQUESTS} requests ended before the last call")
    return Loaded(waits, done / took_s)


async def _call(url: str) -> Waits:
    """Call at fixed times; give how long it took."""
    headers = {"content-type": "application/json", "anthropic-version": API_VERSION}
    builder = ClientBuilder().no_proxy().error_for_status(True).default_headers(headers)
    bodies = params(_WARM_CALLS + _CALLS, _REQUEST_BYTES)
    async with builder.build() as client:
        began = time.perf_counter()
        calls: list[asyncio.Task[float]] = []
        for number, body in enumerate(bodies):
            due = began + number * _EVERY_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.append(asyncio.create_task(_call_ms(client, url, body, due)))
        waits = (await asyncio.gather(*calls))[_WARM_CALLS:]
    cuts = quantiles(waits, n=100, method="inclusive")
    return Waits(p50=cuts[49], p99=cuts[98])


async def _call_ms(client: Client, url: str, body: bytes, due: float) -> float:
    response = await client.post(f"{url}/v1/messages").body_bytes(body).build().send()
    await response.bytes()
    return (time.perf_counter() - due) * 1000
