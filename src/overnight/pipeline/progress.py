"""Live progress: counts from the shards' totals, speed from samples of them."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.dispatch.fairness import Backlog, at_risk
from overnight.dispatch.forecast import Forecast, Sample, forecast
from overnight.model import Batch, BatchId
from overnight.store import batches
from overnight.store.batches import Run
from overnight.store.database import Database, reason
from overnight.wire.progress import Progress, progress

# With the interval of one second: the last ten minutes.
_SAMPLES = 600
# Over so much time the speed of all batches together is taken; after less nothing is at risk.
_PACE_S = 10.0
_MAX_PACE_SAMPLES = 120

log = logging.getLogger(__name__)


class Meter:
    """Samples the running batches and tells where each stands.

    Samples are in memory: after a restart a batch is measured anew, and says so.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        interval_s: float,
        hurry: Callable[[Sequence[BatchId]], None] | None = None,
    ) -> None:
        """`hurry` is told after each sample which batches may not end in time."""
        self._database = database
        self._clock = clock
        self._interval_s = interval_s
        self._hurry = hurry
        self._samples: dict[BatchId, deque[Sample]] = {}
        # Outcomes of all batches since the start.
        self._pace: deque[Sample] = deque(maxlen=_MAX_PACE_SAMPLES)
        # As of the latest sample: batches that have not ended, and their requests without outcome.
        self.running = 0
        self.open_requests = 0

    async def run(self) -> None:
        """Sample until canceled."""
        while True:
            try:
                await self.sample()
            except DBAPIError as error:
                log.error("progress cannot be sampled: %s", reason(error))
            await asyncio.sleep(self._interval_s)

    async def sample(self) -> None:
        """Take a sample of every running batch and forget the others."""
        runs = await self._database.read(batches.running)
        running = [run.batch_id for run in runs]
        recorded = await self._database.read(lambda c: batches.recorded(c, running))
        now = self._clock.now()
        kept = {}
        outcomes = self._pace[-1].recorded if self._pace else 0
        for batch_id in running:
            samples = self._samples.get(batch_id) or deque(maxlen=_SAMPLES)
            samples.append(Sample(now, recorded.get(batch_id, 0)))
            if len(samples) > 1:
                outcomes += samples[-1].recorded - samples[-2].recorded
            kept[batch_id] = samples
        self._samples = kept
        self.running = len(runs)
        self.open_requests = sum(run.request_count for run in runs) - sum(recorded.values())
        self._pace.append(Sample(now, outcomes))
        if self._hurry is not None:
            self._hurry(self._at_risk(runs))

    @property
    def pace_per_s(self) -> float | None:
        """How many outcomes a second brought lately, of all batches; None while it is unknown."""
        if not self._pace:
            return None
        first, last = self._pace[0], self._pace[-1]
        passed_s = (last.at - first.at).total_seconds()
        return (last.recorded - first.recorded) / passed_s if passed_s >= _PACE_S else None

    def _at_risk(self, runs: Sequence[Run]) -> list[BatchId]:
        pace_per_s = self.pace_per_s
        if pace_per_s is None:
            return []
        backlogs = [
            Backlog(
                run.batch_id,
                run.request_count - self._samples[run.batch_id][-1].recorded,
                (run.expires_at - self._pace[-1].at).total_seconds(),
            )
            for run in runs
        ]
        return at_risk(backlogs, rate_per_s=pace_per_s)

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
