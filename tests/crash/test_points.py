"""A service dies at each named point of its work; the next one ends the batch without a trace."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.api import requests
from tests.support.costs import charged
from tests.support.power import Point, Power, PowerCut, PoweredDatabase, PoweredSimulator
from tests.support.service import serving, settings_for

from overnight.app import open_database

REQUESTS = 12
SHARD = 4
CONCURRENCY = 2
_TIMES = {"plan": 1, "claim": 2, "send": 3, "record": 3, "read journal": 2, "seal": 3}
POINTS = [
    Point(when, nth, step)  # type: ignore[arg-type]  # the loops run over the literals
    for step, times in _TIMES.items()
    for nth in range(1, times + 1)
    for when in ("before", "after")
]


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_nothing_is_lost_or_doubled_when_the_power_is_cut(
    tmp_path: Path, database_url: str | None, point: Point
) -> None:
    settings = settings_for(
        tmp_path, database_url=database_url, concurrency=CONCURRENCY, shard_requests=SHARD
    )
    async with serving(replace(settings, worker=False)) as service:
        batch_id = await service.api.created(requests(REQUESTS))
    backend = PoweredSimulator()
    # Whoever is dead has no time to drain.
    hasty = replace(settings, drain_timeout_s=0.0)
    backend.power = power = Power(point)
    database = PoweredDatabase(open_database(settings), power)
    with contextlib.suppress(PowerCut):
        async with serving(hasty, backend=backend, database=database):
            await asyncio.wait_for(power.gone.wait(), 10)
    backend.power = None
    async with serving(settings, backend=backend) as service:
        batch = await service.api.ended(batch_id)
        lines = await service.api.lines(batch_id)
        await charged(service.api, batch_id)
    assert batch["request_counts"]["succeeded"] == REQUESTS
    assert lines.keys() == {request["custom_id"] for request in requests(REQUESTS)}
    assert backend.calls <= REQUESTS + CONCURRENCY
