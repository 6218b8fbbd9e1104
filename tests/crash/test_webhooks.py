"""Webhooks and `kill -9`: a receiver that verifies with the official SDK misses nothing."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.raw_server import RawServer, answer
from tests.support.api import Api, requests
from tests.support.postgres import Cluster
from tests.support.power import Point, Power, PowerCut, PoweredDatabase
from tests.support.process import Process, Server, server, simulator
from tests.support.receiver import command
from tests.support.service import serving, settings_for
from tests.support.waiting import until

from overnight.app import open_database
from overnight.wire.webhooks import BETA

LIST = "/v1/organizations/webhooks"
EVENTS = ["message_batch.canceling", "message_batch.ended"]
BATCHES = 40
KILLS = 4
_SCRIPT = "[latency]\nbase_s = 0.3\n"
_TIMES = {"seal": 1, "claim delivery": 1, "record delivery": 2}
POINTS = [
    Point(when, nth, step)  # type: ignore[arg-type]  # the loops run over the literals
    for step, times in _TIMES.items()
    for nth in range(1, times + 1)
    for when in ("before", "after")
]


class Receiver:
    """The receiver's process, seen through its folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._folder = folder

    def trust(self, secret: str) -> None:
        partial = self._folder / "secret.partial"
        partial.write_text(secret, encoding="ascii")
        partial.rename(self._folder / "secret")

    def hang(self) -> None:
        (self._folder / "hang").touch()

    def go_on(self) -> None:
        (self._folder / "hang").unlink()

    async def asked(self) -> None:
        """Wait until a request has come since the last time."""

        async def has_come() -> bool:
            return (self._folder / "asked").exists()

        await until(has_come, what="a request to the receiver")
        (self._folder / "asked").unlink()

    @property
    def events(self) -> list[dict[str, str]]:
        file = self._folder / "events"
        lines = file.read_bytes().splitlines() if file.exists() else []
        return [msgspec.json.decode(line) for line in lines]


@contextlib.asynccontextmanager
async def receiver(folder: Path) -> AsyncIterator[Receiver]:
    folder.mkdir()
    process = Process(command(folder), folder / "log")
    try:
        yield Receiver(folder, await process.address())
    finally:
        process.kill()
    assert "not verified" not in process.output and "Traceback" not in process.output


def options(backend: str, database_url: str | None) -> list[str]:
    chosen = ["--backend", backend, "--webhooks-allow", "127.0.0.0/8"]
    return [*chosen, "--database-url", database_url] if database_url else chosen


async def subscribed(api: Api, url: str) -> dict[str, Any]:
    body = msgspec.json.encode({"url": url, "enabled_events": EVENTS})
    answered = await api.call("POST", LIST, body, {"anthropic-beta": BETA})
    assert answered.status == 200, answered
    endpoint: dict[str, Any] = answered.json
    return endpoint


async def all_acknowledged(running: Server, webhook_id: str, count: int) -> None:
    async def are() -> bool:
        async with running.api() as api:
            path = f"/overnight/v1/webhooks/{webhook_id}/deliveries?limit=100"
            log = (await api.call("GET", path)).json["data"]
        return len(log) == count and all(entry["state"] == "acknowledged" for entry in log)

    await until(are, what=f"{count} acknowledged deliveries", timeout_s=60)


async def test_an_event_whose_delivery_a_kill_cut_off_arrives_after_the_restart(
    tmp_path: Path, database_url: str | None
) -> None:
    async with (
        receiver(tmp_path / "receiver") as receiving,
        simulator(tmp_path, "[latency]\nbase_s = 0.01\n") as backend,
        server(tmp_path / "data", *options(backend, database_url)) as running,
    ):
        receiving.hang()
        async with running.api() as api:
            endpoint = await subscribed(api, receiving.url)
            receiving.trust(endpoint["signing_secret"])
            batch_id = await api.created(requests(1))
        await receiving.asked()
        running.kill()
        assert receiving.events == []
        receiving.go_on()
        await running.start()
        await all_acknowledged(running, endpoint["id"], 1)
        assert {(e["type"], e["batch"]) for e in receiving.events} == {
            ("message_batch.ended", batch_id)
        }
        assert endpoint["signing_secret"] not in running.output


@pytest.mark.timeout(180)
async def test_a_receiver_gets_every_event_in_order_while_the_server_is_killed_again_and_again(
    tmp_path: Path, database_url: str | None
) -> None:
    async with (
        receiver(tmp_path / "receiver") as receiving,
        simulator(tmp_path, _SCRIPT) as backend,
        server(tmp_path / "data", *options(backend, database_url)) as running,
    ):
        async with running.api() as api:
            endpoint = await subscribed(api, receiving.url)
        receiving.trust(endpoint["signing_secret"])
        told: dict[str, list[str]] = {}
        for round_number in range(KILLS):
            async with running.api() as api:
                for _ in range(BATCHES // KILLS):
                    batch_id = await api.created(requests(1))
                    told[batch_id] = EVENTS[1:]
                    if len(told) % 2 and (await api.cancel(batch_id)).status == 200:
                        told[batch_id] = EVENTS
            enough = sum(map(len, told.values())) - BATCHES // KILLS // 2

            async def come(enough: int = enough) -> bool:
                return len(receiving.events) >= enough

            await until(come, what=f"{enough} events in round {round_number}", timeout_s=60)
            running.kill()
            await running.start()
        await all_acknowledged(running, endpoint["id"], sum(map(len, told.values())))
        seen = receiving.events
    firsts = {event["id"]: event for event in reversed(seen)}
    by_batch: dict[str, list[str]] = {}
    for event in sorted(firsts.values(), key=seen.index):
        by_batch.setdefault(event["batch"], []).append(event["type"])
    assert by_batch == told
    # At most what was under way at a kill came twice.
    assert len(seen) - len(firsts) <= KILLS * 4


async def test_a_terminated_server_waits_for_the_answer_to_what_it_has_sent(
    tmp_path: Path,
) -> None:
    async with (
        receiver(tmp_path / "receiver") as receiving,
        simulator(tmp_path, "[latency]\nbase_s = 0.01\n") as backend,
        server(tmp_path / "data", *options(backend, None)) as running,
    ):
        receiving.hang()
        async with running.api() as api:
            endpoint = await subscribed(api, receiving.url)
            receiving.trust(endpoint["signing_secret"])
            await api.created(requests(1))
        await receiving.asked()
        assert running.process is not None
        running.process.send(signal.SIGTERM)
        receiving.go_on()
        assert await running.process.ended() == 0
        assert "Traceback" not in running.output
        await running.start()
        await all_acknowledged(running, endpoint["id"], 1)
        assert len(receiving.events) == 1


async def test_two_servers_share_deliveries_and_one_takes_over_from_the_other(
    tmp_path: Path, postgres: Cluster
) -> None:
    with postgres.database() as url:
        async with (
            receiver(tmp_path / "receiver") as receiving,
            simulator(tmp_path, "[latency]\nbase_s = 0.01\n") as backend,
            server(tmp_path / "data", *options(backend, url)) as first,
            server(tmp_path / "data", *options(backend, url)) as second,
        ):
            async with first.api() as api:
                endpoint = await subscribed(api, receiving.url)
                receiving.trust(endpoint["signing_secret"])
                for _ in range(20):
                    await api.created(requests(1))
            await all_acknowledged(second, endpoint["id"], 20)
            assert len(receiving.events) == 20
            receiving.hang()
            async with second.api() as api:
                for _ in range(4):
                    await api.created(requests(1))
            await receiving.asked()
            first.kill()
            receiving.go_on()
            await all_acknowledged(second, endpoint["id"], 24)
            assert len({event["id"] for event in receiving.events}) == 24


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_an_event_is_delivered_wherever_the_power_is_cut(
    tmp_path: Path, database_url: str | None, point: Point
) -> None:
    settings = settings_for(
        tmp_path, database_url=database_url, webhooks_allow=("127.0.0.0/8",), drain_timeout_s=0.0
    )
    async with RawServer([answer(b"")]) as receiving:
        async with serving(replace(settings, worker=False)) as service:
            endpoints = [await subscribed(service.api, receiving.url) for _ in range(2)]
            batch_id = await service.api.created(requests(1))
        power = Power(point)
        database = PoweredDatabase(open_database(settings), power)
        with contextlib.suppress(PowerCut):
            async with serving(settings, database=database):
                await asyncio.wait_for(power.gone.wait(), 10)
        async with serving(settings) as service:
            await service.api.ended(batch_id)
            for endpoint in endpoints:
                path = f"/overnight/v1/webhooks/{endpoint['id']}/deliveries"

                async def acknowledged(path: str = path) -> bool:
                    log = (await service.api.call("GET", path)).json["data"]
                    return [entry["state"] for entry in log] == ["acknowledged"]

                await until(acknowledged, what="the delivery acknowledged")
        # One for each endpoint, and again what was under way.
        assert 2 <= len(receiving.requests) <= 4
        assert len({request.headers["webhook-id"] for request in receiving.requests}) == 1
