"""Retention: archive what has passed its time, and clear away what nobody can read any more.

Everything due is a query; a crash between an object and its row leaves work for the next sweep.
"""

import asyncio
import logging
import time
from functools import partial

from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.pipeline.wake import Wakes
from overnight.store import batches
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory

_AT_ONCE = 100
# An object group without a row is a create that died. A create that takes longer than this has
# been given up by every client.
_ORPHAN_AGE_S = 3_600
_ORPHAN_INTERVAL_S = 600

log = logging.getLogger(__name__)


class Keeper:
    """Sweeps away archived results, deleted batches, spent plans and orphans."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectDirectory,
        clock: Clock,
        wakes: Wakes,
        sweep_interval_s: float,
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._sweep_interval_s = sweep_interval_s
        self._orphans_seen_at = -float(_ORPHAN_INTERVAL_S)

    async def run(self) -> None:
        """Sweep until canceled."""
        while True:
            try:
                await self.sweep()
            except (OSError, DBAPIError) as error:
                reason = error.orig if isinstance(error, DBAPIError) else error
                log.error("clearing away failed, to be tried again: %s", reason)
            await self._wakes.cleared.wait_for(self._sweep_interval_s)

    async def sweep(self) -> None:
        """Do all that is due now."""
        await self._archive()
        await self._drop_spent_plans()
        await self._purge_deleted()
        if time.monotonic() - self._orphans_seen_at >= _ORPHAN_INTERVAL_S:
            self._orphans_seen_at = time.monotonic()
            await self._drop_orphans()

    async def _archive(self) -> None:
        now = self._clock.now()
        due = await self._database.read(
            lambda c: batches.due_for_archive(c, now=now, limit=_AT_ONCE)
        )
        for batch_id in due:
            # Unreadable first, gone second: a crash between the two leaves only bytes behind,
            # which go when the batch is deleted.
            await self._database.write(partial(batches.mark_archived, batch_id=batch_id, now=now))
            self._wakes.events.ring()
            await asyncio.to_thread(self._objects.delete_group, batch_id)

    async def _drop_spent_plans(self) -> None:
        spent = await self._database.read(lambda c: batches.spent_plans(c, limit=_AT_ONCE))
        for batch_id, plan_key in spent:
            await asyncio.to_thread(self._objects.delete, plan_key)
            await self._database.write(partial(batches.forget_plan, batch_id=batch_id))

    async def _purge_deleted(self) -> None:
        now = self._clock.now()
        for batch_id in await self._database.read(lambda c: batches.deleted(c, limit=_AT_ONCE)):
            await asyncio.to_thread(self._objects.delete_group, batch_id)
            await self._database.write(partial(batches.purge, batch_id=batch_id))
        await self._database.write(lambda c: batches.forget_purged(c, now=now))

    async def _drop_orphans(self) -> None:
        groups = await asyncio.to_thread(self._objects.groups)
        old = [name for name, changed_at in groups if time.time() - changed_at > _ORPHAN_AGE_S]
        for start in range(0, len(old), _AT_ONCE):
            some = old[start : start + _AT_ONCE]
            known = await self._database.read(partial(batches.known, batch_ids=some))
            for name in set(some) - known:
                await asyncio.to_thread(self._objects.delete_group, name)
