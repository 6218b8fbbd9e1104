"""Plan: read the params, refuse bad ones, order the batch by prefix and cut it into shards.

Idempotent: planning again gives the same entries; the plan that is stored first counts.
"""

import asyncio
import logging
import mmap
import secrets
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight import prompt
from overnight.clock import Clock
from overnight.dispatch.order import Order, Placed, cut
from overnight.model import Batch, Prefix
from overnight.pipeline.planned import Planned, PlannedRefusal, PlannedRequest, encode_shard
from overnight.pipeline.wake import Wakes
from overnight.prompt import TTL_S
from overnight.store import batches, shards
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.wire.batches import EnvelopeRequest
from overnight.wire.envelope import read_envelope
from overnight.wire.params import Checked, Refusal, Rules, check_params

# A shard is in memory as a whole while it is worked on.
_MAX_SHARD_BYTES = 8 << 20
_UNPLANNED_AT_ONCE = 100

log = logging.getLogger(__name__)


class Extent(NamedTuple):
    """Where a shard lies in its plan object."""

    offset: int
    length_bytes: int
    request_count: int


class Planner:
    """Plans each accepted batch, oldest first."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectDirectory,
        clock: Clock,
        wakes: Wakes,
        rules_of: Callable[[Batch], Rules],
        shard_requests: int,
        sweep_interval_s: float,
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._rules_of = rules_of
        self._shard_requests = shard_requests
        self._sweep_interval_s = sweep_interval_s

    async def run(self) -> None:
        """Plan until canceled. A batch that cannot be planned now is tried again."""
        while True:
            try:
                more = await self._plan_waiting()
            except DBAPIError as error:
                more = False
                log.error("batches cannot be planned, to be tried again: %s", error.orig)
            if not more:
                await self._wakes.accepted.wait_for(self._sweep_interval_s)

    async def _plan_waiting(self) -> bool:
        """Plan the oldest that wait; tell whether to go on at once."""
        waiting = await self._database.read(
            lambda c: batches.unplanned(c, limit=_UNPLANNED_AT_ONCE)
        )
        failed = False
        for batch in waiting:
            try:
                await self.plan(batch)
            except DBAPIError:
                raise
            except Exception as error:
                # Whatever is wrong with one batch, an unreadable input or a defect of ours that
                # it meets, must not keep the others from being planned.
                failed = True
                reason = error if isinstance(error, OSError) else type(error).__name__
                log.error("batch %s cannot be planned: %s", batch.id, reason)
        return not failed and len(waiting) == _UNPLANNED_AT_ONCE

    async def plan(self, batch: Batch) -> bool:
        """Plan one batch; False when another process was faster."""
        # A name of its own: two planners at once must not write into one object.
        plan_key = f"{batch.id}/plan-{secrets.token_hex(4)}.json"
        extents = await asyncio.to_thread(self._write_plan, batch, plan_key)
        now = self._clock.now()

        def store(connection: Connection) -> bool:
            if not batches.mark_planned(connection, batch.id, plan_key=plan_key, now=now):
                return False
            shards.create(connection, batch, extents)
            return True

        try:
            planned = await self._database.write(store)
        except DBAPIError:
            # Each try writes another object: on a full disk they must not pile up.
            await self._drop_unless_stored(batch, plan_key)
            raise
        if planned:
            self._wakes.planned.ring()
        else:
            await asyncio.to_thread(self._objects.delete, plan_key)
        return planned

    async def _drop_unless_stored(self, batch: Batch, plan_key: str) -> None:
        """Delete a plan object, unless the commit happened whose answer was lost."""
        stored = await self._database.read(lambda c: batches.planned(c, [batch.id]))
        if batch.id not in stored or stored[batch.id].plan_key != plan_key:
            await asyncio.to_thread(self._objects.delete, plan_key)

    def _write_plan(self, batch: Batch, plan_key: str) -> list[Extent]:
        rules = self._rules_of(batch)
        extents: list[Extent] = []
        with (
            open(self._objects.path(batch.input_key), "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body,
            self._objects.writer(plan_key) as plan,
        ):
            envelope = read_envelope(body, max_requests=batch.request_count)
            entries, order = _read(envelope.requests, rules)
            placed = order.walk()
            sizes_bytes = [_size_bytes(entries[place.position]) for place in placed]
            ends = cut(
                [place.depth for place in placed],
                sizes_bytes,
                max_requests=self._shard_requests,
                max_bytes=_MAX_SHARD_BYTES,
            )
            for start, end in pairwise([0, *ends]):
                data = encode_shard([_placed(entries, place) for place in placed[start:end]])
                extents.append(Extent(plan.size_bytes, len(data), end - start))
                plan.write(data)
            # Their params are views, which keep the map from being closed.
            entries.clear()
            del envelope
            plan.commit()
        return extents


def _read(requests: Sequence[EnvelopeRequest], rules: Rules) -> tuple[list[Planned], Order]:
    """Check each request and find what its prompt begins with, in the caller's order."""
    entries: list[Planned] = []
    order = Order()
    for request in requests:
        checked = check_params(request.params, rules)
        if isinstance(checked, Refusal):
            order.add(())
            entries.append(_refused(request, checked))
        else:
            order.add(_prefixes(checked))
            entries.append(
                PlannedRequest(
                    custom_id=request.custom_id,
                    params=request.params,
                    model=sys.intern(checked.model),
                    input_tokens=checked.input_tokens,
                    max_tokens=checked.max_tokens,
                )
            )
    return entries, order


def _prefixes(checked: Checked) -> list[Prefix]:
    return [
        Prefix(int.from_bytes(prefix.key[:8]) >> 1, prefix.tokens, TTL_S.get(prefix.ttl, 0))
        for prefix in prompt.shareable(checked.params, checked.model)
    ]


def _placed(entries: list[Planned], place: Placed) -> Planned:
    entry = entries[place.position]
    if isinstance(entry, PlannedRefusal) or not place.prefixes:
        return entry
    return replace(entry, prefixes=place.prefixes)


def _size_bytes(entry: Planned) -> int:
    return 0 if isinstance(entry, PlannedRefusal) else len(memoryview(entry.params))


def _refused(request: EnvelopeRequest, refusal: Refusal) -> PlannedRefusal:
    return PlannedRefusal(
        custom_id=request.custom_id,
        error_type=refusal.error_type,
        message=refusal.message,
        details=refusal.details,
    )
