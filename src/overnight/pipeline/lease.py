"""Leases: claim shards, keep them, take over those of the dead, stop what must not go on."""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from overnight import lifecycle
from overnight.clock import Clock
from overnight.dispatch.fairness import Rota
from overnight.dispatch.routing import Route
from overnight.dispatch.warmth import worth_leading
from overnight.model import BatchId, Prefix, Unsent, WorkerId
from overnight.pipeline.held import HeldShard, Work, Workload
from overnight.pipeline.journal import Journal
from overnight.pipeline.lanes import Lanes
from overnight.pipeline.planned import Planned, PlannedRefusal, PlannedRequest, decode_shard
from overnight.pipeline.wake import Wakes
from overnight.store import batches, shards
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.store.shards import Claim, ShardKey
from overnight.wire.results import canceled_line, errored_line, expired_line

_STOPPED_AT_ONCE = 20
# Batches with requests waiting in one worker; more of them take turns.
_MAX_BATCHES = 32

log = logging.getLogger(__name__)


class Leaser:
    """Brings shards into a workload and takes them out again."""

    def __init__(
        self,
        *,
        worker: WorkerId,
        workload: Workload,
        journal: Journal,
        lanes: Lanes,
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
        self._lanes = lanes
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._lease = timedelta(seconds=lease_s)
        self._claim_at_once = claim_at_once
        self._sweep_interval_s = sweep_interval_s
        self._claiming = asyncio.Lock()
        self._rota = Rota()
        # Shards since the start: claimed for the first time, claimed after somebody else, and
        # taken from workers that are dead.
        self.claimed_first = 0
        self.claimed_again = 0
        self.freed = 0

    async def feed(self) -> None:
        """Claim what there is room for, or wait until there is something to claim.

        Also a worker with enough to do takes on batches that are new to it: who has few requests
        must not wait until the many of another one are sent.
        """
        workload = self._workload
        room = _MAX_BATCHES - len(workload.batches) if workload.has_room else 0
        if workload.draining or (workload.full and room <= 0):
            workload.hungry.clear()
            await workload.hungry.wait()
        elif workload.full:
            if not await self._claim_in_turn(room, newcomers=True):
                workload.hungry.clear()
                await self._wakes.planned.wait_for(self._sweep_interval_s, workload.hungry)
        elif not await self._claim_in_turn(self._claim_at_once, newcomers=False):
            await self._wakes.planned.wait_for(self._sweep_interval_s)

    async def renew(self) -> None:
        """Prolong the leases, then pause: three times within a lease."""
        held, until = list(self._workload.held), self._clock.now() + self._lease
        if held:
            await self._database.write(lambda c: shards.renew(c, self._worker, held, until=until))
        await asyncio.sleep(self._lease.total_seconds() / 3)

    async def sweep(self) -> None:
        """Stop the batches of which nothing more may be sent, free the shards of dead workers."""
        self._workload.look_after(self._clock.seconds())
        # First what is being sent: a cancel waits for this.
        await self._stop_held()
        await self.free_the_dead()
        await self._stop_unheld()

    async def sweep_and_wait(self) -> None:
        await self.sweep()
        await self._wakes.stopped.wait_for(self._sweep_interval_s)

    async def release(self) -> None:
        """Give back every lease, so that another worker need not wait for them to expire."""
        await self._database.write(lambda c: shards.release(c, [self._worker]))

    async def free_the_dead(self) -> None:
        """Say that this worker lives, and free the shards of those that do not."""
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
        self.freed += freed
        if freed:
            self._wakes.planned.ring()

    async def _stop_held(self) -> None:
        """Look up the batches under work and stop those of which nothing more may be sent."""
        batch_ids = list({key.batch_id for key in self._workload.held})
        if not batch_ids:
            return
        standings = await self._database.read(lambda c: batches.standings(c, batch_ids))
        now = self._clock.now()
        for held in list(self._workload.held.values()):
            standing = standings.get(held.key.batch_id)
            if standing is None:
                continue
            fate = lifecycle.fate(
                standing.status, standing.expires_at, standing.stopped_as, now=now
            )
            if now >= standing.expires_at:
                # What was under way when it was stopped may finish, but not beyond the expiry.
                fate = "expired"
                for task in held.sending:
                    task.cancel()
            if fate != "send" and fate != held.stop:
                await self._stop(held, fate)

    async def _stop_unheld(self) -> None:
        """Give their outcome to the requests of stopped batches that nobody has claimed."""
        now = self._clock.now()
        stopped = await self._database.read(lambda c: batches.stopped(c, now=now))
        while stopped and not self._workload.draining:
            if not await self._claim_stopped(stopped):
                return

    async def _claim_in_turn(self, limit: int, *, newcomers: bool) -> bool:
        """Claim shards of those whose turn it is; False when none is free."""

        def claim(connection: Connection, now: datetime, mine: Collection[ShardKey]) -> list[Claim]:
            free = shards.claimable(connection, now=now, held=mine)
            if newcomers:
                known = self._workload.batches
                free = [one._replace(shards=1) for one in free if one.batch_id not in known]
            claims: list[Claim] = []
            chosen = self._rota.choose(free, limit=limit, urgent=self._workload.urgent)
            for batch_id, count in chosen.items():
                claims += self._leased(connection, now, mine, limit=count, only=[batch_id])
            return claims

        return await self._claim(claim)

    async def _claim_stopped(self, stopped: list[BatchId]) -> bool:
        def claim(connection: Connection, now: datetime, mine: Collection[ShardKey]) -> list[Claim]:
            return self._leased(connection, now, mine, limit=_STOPPED_AT_ONCE, only=stopped)

        return await self._claim(claim)

    def _leased(
        self,
        connection: Connection,
        now: datetime,
        mine: Collection[ShardKey],
        *,
        limit: int,
        only: list[BatchId],
    ) -> list[Claim]:
        return shards.claim(
            connection,
            self._worker,
            now=now,
            until=now + self._lease,
            limit=limit,
            held=mine,
            only=only,
        )

    async def _claim(
        self, choose: Callable[[Connection, datetime, Collection[ShardKey]], list[Claim]]
    ) -> bool:
        """Claim shards and take them into the workload; False when none is free.

        One that cannot be read holds up no other: it is let go, and comes free with its lease.
        """
        # One at a time: what the one has claimed and not yet taken, the other must not claim.
        async with self._claiming:
            now, mine = self._clock.now(), list(self._workload.held)

            def claim(connection: Connection) -> list[Claim]:
                return choose(connection, now, mine)

            claims = await self._database.write(claim)
            taken = [(claim, self._workload.hold(HeldShard(claim))) for claim in claims]
        first = sum(claim.shard.lease.fence == 1 for claim in claims)
        self.claimed_first += first
        self.claimed_again += len(claims) - first
        for claimed, held in taken:
            try:
                await self._take(claimed, held)
            except (OSError, EOFError, msgspec.DecodeError) as error:
                self._workload.drop(held)
                log.error(
                    "shard %d of %s cannot be read, to be tried again: %s",
                    held.key.number, held.key.batch_id, error,
                )  # fmt: skip
        return bool(taken)

    async def _take(self, claim: Claim, held: HeldShard) -> None:
        """Queue the requests of a claimed shard, without what is recorded already."""
        shard = claim.shard
        entries = await asyncio.to_thread(
            lambda: decode_shard(
                self._objects.read_range(claim.plan_key, shard.offset, shard.length_bytes)
            )
        )
        if held.lost:
            return
        works = self._works(held, entries, claim.recorded_positions)
        batch = claim.batch
        fate = held.stop or lifecycle.fate(
            batch.status, batch.expires_at, batch.stopped_as, now=self._clock.now()
        )
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
            elif (route := self._lanes.find(entry.model)) is None:
                # The configuration has changed since the plan.
                line = errored_line(entry.custom_id, "not_found_error", f"model: {entry.model}")
                self._journal.add(held, position, line, "errored")
            else:
                prefixes = self._worth_leading(entry, route)
                works.append(Work(held, position, entry, prefixes=prefixes, route=route.id))
        return works

    def _worth_leading(self, request: PlannedRequest, route: Route) -> tuple[Prefix, ...]:
        if not request.prefixes:
            return ()
        return worth_leading(request.prefixes, self._lanes.caching(route, request.model))

    async def _stop(
        self,
        held: HeldShard,
        fate: Unsent,
        works: list[Work] | None = None,
    ) -> None:
        """Send nothing more of a shard: what was not sent gets its outcome now."""
        held.stop = fate
        held.stopped.set()
        unsent = (works or []) + self._workload.withdraw(held)
        recorded = [settle_unsent(self._journal, work) for work in unsent]
        if recorded:
            await recorded[-1]


def settle_unsent(journal: Journal, work: Work) -> asyncio.Future[None]:
    """Record the outcome of a request that will not be sent, because its batch has stopped."""
    fate = work.held.stop
    assert fate is not None
    line = canceled_line(work.custom_id) if fate == "canceled" else expired_line(work.custom_id)
    return journal.add(work.held, work.position, line, fate)
