"""What faults of disk and database cost: nothing but time, and only to whom they concern."""

import asyncio
from pathlib import Path

from msgspec.structs import replace
from tests.support.api import requests
from tests.support.failing import FailingDatabase
from tests.support.service import serving, settings_for
from tests.support.waiting import until

from overnight.app import open_database
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency


def slow() -> Simulator:
    return Simulator(SimulatorScript(latency=Latency(base_s=60)))


async def interrupted(data: Path, count: int = 6) -> str:
    """Leave a planned batch behind of which nothing is recorded."""
    settings = settings_for(data, concurrency=2, shard_requests=2, drain_timeout_s=0.0)
    backend = slow()
    async with serving(settings, backend=backend) as service:
        batch_id = await service.api.created(requests(count))

        async def sent() -> bool:
            return backend.calls == 2

        await until(sent, what="two calls")
    return batch_id


async def test_a_service_starts_where_a_batch_was_canceled_meanwhile(tmp_path: Path) -> None:
    batch_id = await interrupted(tmp_path)
    settings = settings_for(tmp_path)
    async with serving(replace(settings, worker=False)) as service:
        assert (await service.api.cancel(batch_id)).status == 200
    async with asyncio.timeout(10), serving(settings) as service:
        batch = await service.api.ended(batch_id)
    assert batch["request_counts"]["canceled"] == 6


async def test_results_survive_a_seal_whose_answer_was_lost(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    database = FailingDatabase(open_database(settings))
    database.lose_answer_of = {"Sealer.seal.<locals>.seal"}
    # Who leaves the service waits for the second try.
    async with serving(settings, database=database) as service:
        batch_id = await service.api.created(requests(3))
        await service.api.ended(batch_id)
    async with serving(settings) as service:
        assert len(await service.api.lines(batch_id)) == 3


async def test_a_claim_whose_answer_was_lost_is_made_again(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, lease_s=0.3)
    database = FailingDatabase(open_database(settings))
    database.lose_answer_of = {"Leaser._claim.<locals>.claim"}
    async with serving(settings, database=database) as service:
        batch_id = await service.api.created(requests(3))
        assert (await service.api.ended(batch_id))["request_counts"]["succeeded"] == 3


async def test_a_batch_whose_input_is_damaged_holds_up_no_other(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with serving(replace(settings, worker=False)) as service:
        damaged = await service.api.created(requests(2))
    (tmp_path / "objects" / damaged / "input.json").write_bytes(b"")
    async with serving(settings) as service:
        other = await service.api.created(requests(2))
        await service.api.ended(other)
        assert (await service.api.get(damaged)).json["processing_status"] == "in_progress"


async def test_a_plan_that_cannot_be_read_holds_up_no_other_and_is_tried_again(
    tmp_path: Path,
) -> None:
    batch_id = await interrupted(tmp_path)
    [plan] = (tmp_path / "objects" / batch_id).glob("plan-*.json")
    aside = plan.rename(tmp_path / "aside.json")
    async with serving(settings_for(tmp_path, lease_s=0.3)) as service:
        other = await service.api.created(requests(2))
        await service.api.ended(other)
        aside.rename(plan)
        assert (await service.api.ended(batch_id))["request_counts"]["succeeded"] == 6


async def test_a_key_used_again_for_another_body_leaves_nothing_behind(tmp_path: Path) -> None:
    key = {"idempotency-key": "night-7"}
    async with serving(settings_for(tmp_path, worker=False)) as service:
        first = (await service.api.create(requests(2), key)).json["id"]
        assert (await service.api.create(requests(3), key)).status == 400
        assert [path.name for path in (tmp_path / "objects").iterdir()] == [first]
