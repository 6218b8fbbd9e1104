"""Leases: claim shards, keep them, take over those of the dead, stop what must not go on."""

import asyncio
import logging
from datetime import timedelta
from typing import Literal

from sqlalchemy import Connection

from overnight import lifecycle
from overnight.clock import Clock
from overnight.model import BatchId, WorkerId
from overnight.pipeline.held import HeldShard, Work, Workload
from overnight.pipeline.journal import Journal
from overnight.pipeline.planned import Planned, PlannedRefusal, decode_shard
from overnight.pipeline.wake import Wakes
from overnight.store import batches, shards
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.store.shards import Claim
from overnight.wire.results import canceled_line, errored_line, expired_line

_STOPPED_AT_ONCE = 20

log = logging.getLogger(__name__)


class Leaser:
    """Brings shards into a workload and takes them out again."""

    def __init__(
        self,
        *,
        worker: WorkerId,
        workload: Workload,
        journal: Journal,
        database: Database,
        objects: ObjectDirectory,
        clock: Clock,
        wakes: Wakes,
        lease_s: float,
        claim_at_once: int,
        sweep_interval_s: float,
    ) -> None:
        self._worker = worker
        self._workload = workload
        self._journal = journal
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._lease = timedelta(seconds=lease_s)
        self._claim_at_once = claim_at_once
        self._sweep_interval_s = sweep_interval_s

    async def feed(self) -> None:
        """Claim what the queue has room for, or wait until there is something to claim."""
        workload = self._workload
        if len(workload.queue) >= workload.low_water:
            workload.hungry.clear()
            await workload.hungry.wait()
            return
        claims = await self._claim(self._claim_at_once)
        for claim in claims:
            await self._take(claim)
        if not claims:
            await self._wakes.planned.wait_for(self._sweep_interval_s)

    async def renew(self) -> None:
        """Prolong the leases, then pause: three times within a lease."""
        until = self._clock.now() + self._lease
        if self._workload.held:
            await self._database.write(lambda c: shards.renew(c, self._worker, until=until))
        await asyncio.sleep(self._lease.total_seconds() / 3)

    async def sweep(self) -> None:
        """Free the shards of dead workers and stop canceled and expired batches."""
        await self._free_the_dead()
        await self._stop_held()
        await self._stop_unheld()

    async def sweep_and_wait(self) -> None:
        await self.sweep()
        await self._wakes.stopped.wait_for(self._sweep_interval_s)

    async def release(self) -> None:
        """Give back every lease, so that another worker need not wait for them to expire."""
        await self._database.write(lambda c: shards.release(c, [self._worker]))

    async def _free_the_dead(self) -> None:
        presence = self._database.presence
        await asyncio.to_thread(presence.announce, self._worker)
        owners = await self._database.read(shards.owners)
        others = [owner for owner in owners if owner != self._worker]
        if not others:
            return
        dead = await asyncio.to_thread(presence.dead, others)
        if not dead:
            return
        freed = await self._database.write(lambda c: shards.release(c, dead))
        if freed:
            self._wakes.planned.ring()

    async def _stop_held(self) -> None:
        """Look up the batches under work and stop those that were canceled or have expired."""
        batch_ids = list({key.batch_id for key in self._workload.held})
        if not batch_ids:
            return
        standings = await self._database.read(lambda c: batches.standings(c, batch_ids))
        now = self._clock.now()
        for held in list(self._workload.held.values()):
            standing = standings.get(held.key.batch_id)
            if held.stop is None and standing is not None:
                fate = lifecycle.fate(standing.status, standing.expires_at, now=now)
                if fate != "send":
                    await self._stop(held, fate)

    async def _stop_unheld(self) -> None:
        """Give their outcome to the requests of stopped batches that nobody has claimed."""
        now = self._clock.now()
        stopped = await self._database.read(lambda c: batches.stopped(c, now=now))
        while stopped and not self._workload.draining:
            claims = await self._claim(_STOPPED_AT_ONCE, only=stopped)
            for claim in claims:
                await self._take(claim)
            if not claims:
                return

    async def _claim(self, limit: int, only: list[BatchId] | None = None) -> list[Claim]:
        now = self._clock.now()

        def claim(connection: Connection) -> list[Claim]:
            return shards.claim(
                connection, self._worker, now=now, until=now + self._lease, limit=limit, only=only
            )

        return await self._database.write(claim)

    async def _take(self, claim: Claim) -> None:
        """Bring a claimed shard into the workload, without what is recorded already."""
        held = HeldShard(claim)
        shard = claim.shard
        entries = await asyncio.to_thread(
            lambda: decode_shard(
                self._objects.read_range(claim.plan_key, shard.offset, shard.length_bytes)
            )
        )
        self._workload.held[held.key] = held
        works = self._works(held, entries, claim.recorded_positions)
        fate = lifecycle.fate(claim.batch.status, claim.batch.expires_at, now=self._clock.now())
        if fate == "send":
            self._workload.put(works)
        else:
            await self._stop(held, fate, works)
        if held.recorded:
            # A worker died between the last outcome and the seal.
            self._journal.settled(held)

    def _works(
        self, held: HeldShard, entries: list[Planned], recorded: frozenset[int]
    ) -> list[Work]:
        works = []
        for position, entry in enumerate(entries):
            if position in recorded:
                continue
            if isinstance(entry, PlannedRefusal):
                line = errored_line(entry.custom_id, entry.error_type, entry.message, entry.details)
                self._journal.add(held, position, line, "errored")
            else:
                works.append(Work(held, position, entry.custom_id, entry.params))
        return works

    async def _stop(
        self,
        held: HeldShard,
        fate: Literal["canceled", "expired"],
        works: list[Work] | None = None,
    ) -> None:
        """Send nothing more of a shard: what was not sent gets its outcome now."""
        held.stop = fate
        held.stopped.set()
        unsent = (works or []) + self._workload.withdraw(held)
        recorded = [settle_unsent(self._journal, work) for work in unsent]
        if fate == "expired":
            for task in held.sending:
                task.cancel()
        if recorded:
            await recorded[-1]


def settle_unsent(journal: Journal, work: Work) -> asyncio.Future[None]:
    """Record the outcome of a request that will not be sent, because its batch has stopped."""
    fate = work.held.stop
    assert fate is not None
    line = canceled_line(work.custom_id) if fate == "canceled" else expired_line(work.custom_id)
    return journal.add(work.held, work.position, line, fate)
