"""A worker: leases, senders, journal and seals, run together and drained in order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.model import BatchId, WorkerId, WorkspaceId
from overnight.pipeline.dispatch import Dispatcher
from overnight.pipeline.end import Sealer
from overnight.pipeline.held import HeldShard, Workload
from overnight.pipeline.journal import Journal
from overnight.pipeline.lanes import Lanes
from overnight.pipeline.lease import Leaser
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.wake import Wakes
from overnight.pricing.bounds import Bounder
from overnight.pricing.tariff import Tariff
from overnight.store.database import Database, reason
from overnight.store.objects import ObjectDirectory

# Claiming earlier than the queue is empty hides the time that a claim takes.
_MIN_LOW_WATER = 256
_PAUSE_FIRST_S = 0.1
_PAUSE_CAP_S = 5.0
# What a commit gets at the end even when running requests get no time.
_MIN_FLUSH_S = 5.0

log = logging.getLogger(__name__)


class Worker:
    """Works on shards until it is drained."""

    def __init__(
        self,
        *,
        id: WorkerId,
        database: Database,
        objects: ObjectDirectory,
        lanes: Lanes,
        clock: Clock,
        wakes: Wakes,
        treasury: Treasury,
        bounder: Bounder,
        tariff: Tariff,
        random: Random,
        weights: Mapping[WorkspaceId, float],
        max_attempts: int,
        lease_s: float,
        shard_requests: int,
        sweep_interval_s: float,
    ) -> None:
        self.id = id
        self._lanes = lanes
        low_water = max(lanes.senders, _MIN_LOW_WATER)
        self._workload = Workload(lanes=lanes, low_water=low_water, weights=weights)
        self._journal = Journal(
            database=database,
            clock=clock,
            lease_s=lease_s,
            # Half of the senders wait for one commit while the other half is sending.
            full_group=max(1, lanes.senders // 2),
            recorded=self._recorded,
            lost=self._lost,
        )
        self._leaser = Leaser(
            worker=self.id,
            workload=self._workload,
            journal=self._journal,
            lanes=lanes,
            database=database,
            objects=objects,
            clock=clock,
            wakes=wakes,
            lease_s=lease_s,
            claim_at_once=-(-low_water // shard_requests),
            sweep_interval_s=sweep_interval_s,
        )
        self._dispatcher = Dispatcher(
            workload=self._workload,
            journal=self._journal,
            lanes=lanes,
            treasury=treasury,
            bounder=bounder,
            tariff=tariff,
            clock=clock,
            random=random,
            max_attempts=max_attempts,
        )
        self._sealer = Sealer(
            database=database, objects=objects, clock=clock, wakes=wakes, tariff=tariff
        )
        self._senders: list[asyncio.Task[None]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._seals: set[asyncio.Task[None]] = set()
        # Shards that another worker took over.
        self.lost = 0

    @property
    def workload(self) -> Workload:
        return self._workload

    @property
    def journal(self) -> Journal:
        return self._journal

    @property
    def leaser(self) -> Leaser:
        return self._leaser

    @property
    def retrying(self) -> int:
        """How many requests wait for their next attempt."""
        return self._dispatcher.retrying

    async def start(self) -> None:
        """Free what dead workers held, then begin to work."""
        await self._leaser.free_the_dead()
        self._loops = [
            asyncio.ensure_future(self._journal.run()),
            asyncio.ensure_future(_repeat("claiming shards", self._leaser.feed)),
            asyncio.ensure_future(_repeat("renewing leases", self._leaser.renew)),
            asyncio.ensure_future(_repeat("sweeping", self._leaser.sweep_and_wait)),
            asyncio.ensure_future(_repeat("cutting", self._dispatcher.cut_stragglers)),
            asyncio.ensure_future(_repeat("paying", self._dispatcher.let_pay)),
        ]
        self._senders = [
            asyncio.ensure_future(self._dispatcher.send_all(lane))
            for lane in self._lanes
            for _ in range(lane.senders)
        ]

    async def run(self) -> None:
        """Return only by raising what ended a part of the worker, or when drained."""
        await asyncio.gather(*self._loops, *self._senders)

    def hurry(self, urgent: Sequence[BatchId]) -> None:
        """Serve batches first that may not end in time, the earliest expiry before others."""
        self._workload.hurry(urgent)

    async def drain(self, timeout_s: float) -> None:
        """Stop sending, give running requests their time, record what came, release the rest."""
        self._workload.drain()
        self._dispatcher.drain()
        if self._senders:
            await asyncio.wait(self._senders, timeout=timeout_s)
            # Not those who wait for the journal: they all wait for one future, and the flush
            # needs it.
            for held in self._workload.held.values():
                for task in held.sending:
                    task.cancel()
        self._journal.stop()
        await self._flush(timeout_s)
        if self._seals:
            await asyncio.wait(self._seals, timeout=timeout_s)
        tasks = [*self._loops, *self._senders, *self._seals]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._leaser.release()
        except DBAPIError as error:
            # They come free by themselves, when it is seen that this worker is dead.
            log.error("leases cannot be given back: %s", _reason(error))

    async def _flush(self, timeout_s: float) -> None:
        """Record what came; a database that takes nothing must not keep the process alive."""
        try:
            async with asyncio.timeout(max(timeout_s, _MIN_FLUSH_S)):
                await self._journal.flush()
        except TimeoutError:
            log.error("the last outcomes could not be stored: their requests will be sent again")

    def _recorded(self, held: HeldShard) -> None:
        """Seal a shard when its last outcome is durable."""
        if held.recorded and not held.sealing:
            held.sealing = True
            task = asyncio.ensure_future(self._seal(held))
            self._seals.add(task)
            task.add_done_callback(self._seals.discard)

    async def _seal(self, held: HeldShard) -> None:
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await self._sealer.seal(held)
            except Exception as error:
                # Not only disks and databases: a defect must neither stop the others nor pass
                # in silence, for without its seal a batch never ends.
                log.error(
                    "results of shard %d of %s cannot be stored, to be tried again: %s",
                    held.key.number, held.key.batch_id, _reason(error),
                )  # fmt: skip
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_CAP_S)
            else:
                self._workload.drop(held)
                return

    def _lost(self, held: HeldShard) -> None:
        """Let go of a shard that another worker has taken over."""
        self.lost += not held.lost
        log.warning("lease lost: shard %d of %s", held.key.number, held.key.batch_id)
        held.lost = True
        held.stopped.set()
        self._workload.drop(held)
        for task in held.sending:
            task.cancel()


async def _repeat(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step for ever; a disk or database that is away for a while is waited for."""
    pause_s = _PAUSE_FIRST_S
    while True:
        try:
            await step()
            pause_s = _PAUSE_FIRST_S
        except (OSError, EOFError, DBAPIError) as error:
            log.error("%s failed, to be tried again: %s", what, _reason(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_CAP_S)


def _reason(error: Exception) -> str:
    """Say what happened without what may hold results."""
    if isinstance(error, DBAPIError):
        return reason(error)
    return str(error) if isinstance(error, (OSError, EOFError)) else type(error).__name__
