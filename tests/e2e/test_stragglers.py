"""A call that hangs does not hold up its batch, where a repeat costs nothing."""

from datetime import timedelta
from pathlib import Path

from tests.support.api import requests
from tests.support.service import serving, settings_for
from tests.support.waiting import until

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Rule, Slow
from overnight.clock import MovableClock

SECOND = timedelta(seconds=1)
# The 400th call stalls for an hour.
HANGING = SimulatorScript(rules=(Rule(fault=Slow(seconds=3_600), from_call=400, until_call=400),))


async def test_a_call_that_hangs_is_given_up_and_sent_again(
    tmp_path: Path, clock: MovableClock
) -> None:
    settings = settings_for(tmp_path / "data", concurrency=8, max_attempts=1)
    backend = Simulator(HANGING, clock=clock)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(500))

        async def only_one_is_left() -> bool:
            return bool((await service.api.progress(batch_id))["recorded"] == 499)

        await until(only_one_is_left, what="all but the one that hangs")

        async def has_ended() -> bool:
            service.advance(SECOND)
            batch = (await service.api.get(batch_id)).json
            return bool(batch["processing_status"] == "ended")

        await until(has_ended, what="the end of the batch")
        lines = await service.api.lines(batch_id)
        moved = clock.seconds()
    assert {line["type"] for line in lines.values()} == {"succeeded"}
    assert backend.calls == 501
    assert moved < 120


async def test_nothing_is_given_up_where_that_is_switched_off(
    tmp_path: Path, clock: MovableClock
) -> None:
    settings = settings_for(tmp_path / "data", concurrency=8, cut_stragglers="off")
    backend = Simulator(HANGING, clock=clock)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(500))

        async def only_one_is_left() -> bool:
            return bool((await service.api.progress(batch_id))["recorded"] == 499)

        await until(only_one_is_left, what="all but the one that hangs")
        for _ in range(60):
            service.advance(5 * SECOND)
            assert (await service.api.get(batch_id)).json["processing_status"] == "in_progress"
        service.advance(timedelta(hours=1))
        await service.api.ended(batch_id)
    assert backend.calls == 500
