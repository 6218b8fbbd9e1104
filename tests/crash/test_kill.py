"""`kill -9` of the real server: nothing lost, nothing twice, little sent again."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.support.api import Api, requests
from tests.support.costs import charged
from tests.support.postgres import Cluster
from tests.support.process import Server, server, simulator
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
            await charged(api, batch_id)
        counted = await stats(backend)
    print(counted)
    assert batch["request_counts"] == {
        "processing": 0, "succeeded": REQUESTS, "errored": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert lines.keys() == {request["custom_id"] for request in requests(REQUESTS)}
    assert counted["distinct"] == REQUESTS
    assert counted["repeated"] <= KILLS * CONCURRENCY


def _half_sent(data: Path) -> bool:
    return bool(list(data.glob("objects/*/input.json.partial")))


def _visible(data: Path) -> bool:
    return bool(list(data.glob("objects/*/input.json")))


@pytest.mark.parametrize("point", [_half_sent, _visible], ids=["half sent", "object visible"])
async def test_a_kill_while_accepting_leaves_the_whole_batch_or_nothing(
    tmp_path: Path, point: Callable[[Path], bool]
) -> None:
    async with server(tmp_path / "data") as running:
        create = asyncio.create_task(_create_large(running))

        async def reached() -> bool:
            return create.done() or point(running.data)

        await until(reached, what="the point of the kill")
        running.kill()
        answered = await create
        await running.start()
        async with running.api() as api:
            found = (await api.list()).json["data"]
            assert len(found) <= 1
            assert found or not answered, "answered 200, and gone"
            for batch in found:
                ended = await api.ended(batch["id"], timeout_s=30)
                assert sum(ended["request_counts"].values()) == REQUESTS
                assert len(await api.lines(batch["id"])) == REQUESTS


async def _create_large(running: Server) -> bool:
    """Send a batch whose body comes in two pieces; tell whether it was answered."""
    body = msgspec.json.encode({"requests": requests(REQUESTS)})
    address = urlsplit(running.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST /v1/messages/batches HTTP/1.1\r\nhost: {address.netloc}\r\n"
        f"anthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        writer.write(head.encode() + body[: len(body) // 2])
        await writer.drain()
        writer.write(body[len(body) // 2 :])
        await writer.drain()
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    return False


async def test_another_worker_takes_over_at_once_what_a_killed_one_held(
    tmp_path: Path, postgres: Cluster
) -> None:
    with postgres.database() as url:
        # A lease that outlasts the test: only the death itself can free the shards.
        async with simulator(tmp_path, "[latency]\nbase_s = 0.02\n") as backend:
            chosen = [*options(backend, url), "--lease-s", "3600"]
            async with (
                server(tmp_path / "data", *chosen) as first,
                server(tmp_path / "data", *chosen) as second,
            ):
                async with first.api() as api:
                    batch_id = await api.created(requests(2_000))
                await called(backend, 200)
                first.kill()
                async with second.api() as api:
                    batch = await api.ended(batch_id, timeout_s=30)
                    assert len(await api.lines(batch_id)) == 2_000
            assert batch["request_counts"]["succeeded"] == 2_000
            assert (await stats(backend))["repeated"] <= CONCURRENCY


async def test_two_workers_share_a_batch_and_send_nothing_twice(
    tmp_path: Path, postgres: Cluster
) -> None:
    with postgres.database() as url:
        async with simulator(tmp_path, _SCRIPT) as backend:
            chosen = [*options(backend, url), "--shard-requests", "50"]
            async with (
                server(tmp_path / "data", *chosen) as first,
                server(tmp_path / "data", *chosen) as second,
                first.api() as one,
                second.api() as two,
            ):
                ids = [await one.created(requests(600)), await two.created(requests(600))]
                for batch_id in ids:
                    await one.ended(batch_id, timeout_s=30)
                    assert len(await two.lines(batch_id)) == 600
            # Both batches have the same bodies.
            assert await stats(backend) | {"peak_in_flight": 0} == {
                "calls": 1_200, "distinct": 600, "repeated": 600, "rate_limited": 0, "in_flight": 0,
                "peak_in_flight": 0,
            }  # fmt: skip


async def test_a_second_server_on_the_same_data_directory_is_refused(tmp_path: Path) -> None:
    async with server(tmp_path / "data") as first:
        second = Server(tmp_path / "data")
        process = second.launch()
        assert await process.ended() == 2
        error, hint = process.output.strip().split("\n\n")
        assert error.startswith("error: the data directory") and "in use by process" in error
        assert hint.startswith("hint: ")
        assert "Traceback" not in process.output
        async with first.api() as api:
            assert (await api.call("GET", "/healthz")).status == 200


async def test_a_terminated_server_keeps_every_answer_under_way(
    tmp_path: Path, database_url: str | None
) -> None:
    async with (
        simulator(tmp_path, "[latency]\nbase_s = 0.2\n") as backend,
        server(tmp_path / "data", *options(backend, database_url)) as running,
    ):
        async with running.api() as api:
            batch_id = await api.created(requests(200))
        await called(backend, 40)
        assert running.process is not None
        running.process.send(signal.SIGTERM)
        assert await running.process.ended() == 0
        assert "Traceback" not in running.process.output
        await running.start()
        async with running.api() as api:
            batch = await api.ended(batch_id, timeout_s=30)
        assert batch["request_counts"]["succeeded"] == 200
        assert (await stats(backend))["repeated"] == 0
