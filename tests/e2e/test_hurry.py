"""Which batches are known to be at risk of their expiry."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.support.api import requests
from tests.support.service import serving, settings_for
from tests.support.waiting import until

from overnight.app import open_database
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency
from overnight.clock import MovableClock
from overnight.model import BatchId
from overnight.pipeline.progress import Meter

SECOND = timedelta(seconds=1)


async def test_a_batch_that_cannot_end_in_time_at_its_speed_is_hurried(
    tmp_path: Path, clock: MovableClock, database_url: str | None
) -> None:
    settings = settings_for(
        tmp_path / "data", concurrency=1, processing_window_s=3_600, database_url=database_url
    )
    database = open_database(settings)
    hurried: list[Sequence[BatchId]] = []
    meter = Meter(database=database, clock=clock, interval_s=60, hurry=hurried.append)
    # One answer in 5 s: within the hour 720, of which the small batch takes 10.
    backend = Simulator(SimulatorScript(latency=Latency(base_s=5)), clock=clock)
    async with serving(settings, clock=clock, backend=backend, database=database) as service:
        small = await service.api.created(requests(10))
        clock.advance(SECOND)
        large = await service.api.created(requests(1_000, prefix="large"))
        await meter.sample()
        assert hurried == [[]]

        async def some_answered() -> bool:
            service.advance(SECOND)
            return backend.calls > 10

        await until(some_answered, what="ten answers")
        await meter.sample()
        assert hurried[-1] == [large]
        assert small not in hurried[-1]
