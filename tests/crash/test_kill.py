"""`kill -9` of the real server: nothing lost, nothing twice, little sent again."""

import random
from pathlib import Path

import pytest
from tests.support.api import Api, requests
from tests.support.process import server, simulator
from tests.support.waiting import until

REQUESTS = 5_000
KILLS = 20
CONCURRENCY = 16
SEED = 20261122
_SCRIPT = "[latency]\nbase_s = 0.01\n"


def options(backend: str, database_url: str | None) -> list[str]:
    chosen = ["--backend", backend, "--concurrency", str(CONCURRENCY)]
    return [*chosen, "--database-url", database_url] if database_url else chosen


async def stats(backend: str) -> dict[str, int]:
    async with Api(backend) as api:
        counted: dict[str, int] = (await api.call("GET", "/stats")).json
        return counted


async def called(backend: str, calls: int) -> None:
    """Wait until the backend has had so many calls."""

    async def reached() -> bool:
        return (await stats(backend))["calls"] >= calls

    await until(reached, what=f"{calls} calls", timeout_s=60)


@pytest.mark.timeout(240)
async def test_twenty_kills_lose_nothing_and_repeat_only_what_was_in_flight(
    tmp_path: Path, database_url: str | None
) -> None:
    points = sorted(random.Random(SEED).sample(range(REQUESTS), KILLS))
    print(f"seed {SEED}: killed after these calls: {points}")
    async with (
        simulator(tmp_path, _SCRIPT) as backend,
        server(tmp_path / "data", *options(backend, database_url)) as running,
    ):
        async with running.api() as api:
            batch_id = await api.created(requests(REQUESTS))
        for point in points:
            await called(backend, point)
            running.kill()
            await running.start()
        async with running.api() as api:
            batch = await api.ended(batch_id, timeout_s=60)
            lines = await api.lines(batch_id)
        counted = await stats(backend)
    print(counted)
    assert batch["request_counts"] == {
        "processing": 0, "succeeded": REQUESTS, "errored": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert lines.keys() == {request["custom_id"] for request in requests(REQUESTS)}
    assert counted["distinct"] == REQUESTS
    assert counted["repeated"] <= KILLS * CONCURRENCY
