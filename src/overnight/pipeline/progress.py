"""Live progress: counts from the shards' totals, speed from samples of them."""

import asyncio
import logging
from collections import deque

from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.dispatch.forecast import Forecast, Sample, forecast
from overnight.model import Batch, BatchId
from overnight.store import batches
from overnight.store.database import Database
from overnight.wire.progress import Progress, progress

# With the interval of one second: the last ten minutes.
_SAMPLES = 600

log = logging.getLogger(__name__)


class Meter:
    """Samples the running batches and tells where each stands.

    Samples are in memory: after a restart a batch is measured anew, and says so.
    """

    def __init__(self, *, database: Database, clock: Clock, interval_s: float) -> None:
        self._database = database
        self._clock = clock
        self._interval_s = interval_s
        self._samples: dict[BatchId, deque[Sample]] = {}

    async def run(self) -> None:
        """Sample until canceled."""
        while True:
            try:
                await self.sample()
            except DBAPIError as error:
                log.error("progress cannot be sampled: %s", error.orig)
            await asyncio.sleep(self._interval_s)

    async def sample(self) -> None:
        """Take a sample of every running batch and forget the others."""
        running = await self._database.read(batches.running)
        recorded = await self._database.read(lambda c: batches.recorded(c, running))
        now = self._clock.now()
        kept = {}
        for batch_id in running:
            samples = self._samples.get(batch_id) or deque(maxlen=_SAMPLES)
            samples.append(Sample(now, recorded.get(batch_id, 0)))
            kept[batch_id] = samples
        self._samples = kept

    async def progress(self, batch: Batch) -> Progress:
        """Say where a batch stands now."""
        live = await self._database.read(lambda c: batches.live(c, batch))
        if batch.status == "ended":
            ended = Forecast(None, None, None, "ended")
            return progress(batch, batch.counts, live.total_usage, ended)
        now = self._clock.now()
        samples = [
            sample
            for sample in self._samples.get(batch.id, ())
            if sample.recorded <= live.counts.recorded
        ]
        samples.append(Sample(now, live.counts.recorded))
        outlook = forecast(samples, total=batch.request_count, now=now, expires_at=batch.expires_at)
        return progress(batch, live.counts, live.total_usage, outlook)
