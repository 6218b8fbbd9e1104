"""Retention: archive what has passed its time, and clear away what nobody can read any more.

Everything due is a query; a crash between an object and its row leaves work for the next sweep.
"""

import asyncio
import logging
import time
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.pipeline.wake import Wakes
from overnight.store import audit, batches
from overnight.store.database import Database, reason
from overnight.store.objects import ObjectDirectory

_AT_ONCE = 100
# An object group without a row is a create that died. A create that takes longer than this has
# been given up by every client.
_ORPHAN_AGE_S = 3_600
# How often what grows slowly is looked at.
_SELDOM_S = 600
_ACTS_AT_ONCE = 1_000

log = logging.getLogger(__name__)


class Keeper:
    """Sweeps away archived results, deleted batches, spent plans, orphans and old acts."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectDirectory,
        clock: Clock,
        wakes: Wakes,
        sweep_interval_s: float,
        audit_log_s: float,
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._sweep_interval_s = sweep_interval_s
        self._audit_log = timedelta(seconds=audit_log_s)
        self._seldom_at = -float(_SELDOM_S)

    async def run(self) -> None:
        """Sweep until canceled."""
        while True:
            try:
                await self.sweep()
            except (OSError, DBAPIError) as error:
                because = reason(error) if isinstance(error, DBAPIError) else error
                log.error("clearing away failed, to be tried again: %s", because)
            await self._wakes.cleared.wait_for(self._sweep_interval_s)

    async def sweep(self) -> None:
        """Do all that is due now."""
        await self._archive()
        await self._drop_spent_plans()
        await self._purge_deleted()
        if time.monotonic() - self._seldom_at >= _SELDOM_S:
            self._seldom_at = time.monotonic()
            await self._drop_orphans()
            await self._forget_acts()

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

    async def _forget_acts(self) -> None:
        before = self._clock.now() - self._audit_log
        forget = partial(audit.forget, before=before, limit=_ACTS_AT_ONCE)
        while await self._database.write(forget) == _ACTS_AT_ONCE:
            pass
