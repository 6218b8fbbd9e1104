"""Plan: read the params, refuse bad ones, order the batch by prefix and cut it into shards.

Idempotent: planning again gives the same entries; the plan that is stored first counts.
"""

import asyncio
import logging
import mmap
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight import prompt
from overnight.clock import Clock
from overnight.dispatch.breakpoints import Mark
from overnight.dispatch.order import Order, Placed, cut
from overnight.model import Batch, Prefix
from overnight.pipeline.autocache import AutoCache, Choice
from overnight.pipeline.planned import Planned, PlannedRefusal, PlannedRequest, encode_shard
from overnight.pipeline.wake import Wakes
from overnight.prompt import TTL_S
from overnight.store import batches, shards
from overnight.store.database import Database, reason
from overnight.store.objects import ObjectDirectory
from overnight.wire.batches import EnvelopeRequest
from overnight.wire.envelope import read_envelope
from overnight.wire.params import Checked, Refusal, Rules, check_params
from overnight.wire.params.marking import marked

# A shard is in memory as a whole while it is worked on.
_MAX_SHARD_BYTES = 8 << 20
_UNPLANNED_AT_ONCE = 100

log = logging.getLogger(__name__)


class Extent(NamedTuple):
    """Where a shard lies in its plan object."""

    offset: int
    length_bytes: int
    request_count: int


class Written(NamedTuple):
    """What a plan object holds."""

    extents: list[Extent]
    # In how many requests breakpoints were set; None when none were to be.
    auto_cached: int | None


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
        auto_cache: AutoCache,
        shard_requests: int,
        sweep_interval_s: float,
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._rules_of = rules_of
        self._auto_cache = auto_cache
        self._shard_requests = shard_requests
        self._sweep_interval_s = sweep_interval_s

    async def run(self) -> None:
        """Plan until canceled. A batch that cannot be planned now is tried again."""
        while True:
            try:
                more = await self._plan_waiting()
            except DBAPIError as error:
                more = False
                log.error("batches cannot be planned, to be tried again: %s", reason(error))
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
        written = await asyncio.to_thread(self._write_plan, batch, plan_key)
        now = self._clock.now()

        def store(connection: Connection) -> bool:
            first = batches.mark_planned(
                connection, batch.id, plan_key=plan_key, auto_cached=written.auto_cached, now=now
            )
            if not first:
                return False
            shards.create(connection, batch, written.extents)
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

    def _write_plan(self, batch: Batch, plan_key: str) -> Written:
        rules = self._rules_of(batch)
        choice = self._auto_cache.choice(batch) if batch.auto_cache else None
        extents: list[Extent] = []
        with (
            open(self._objects.path(batch.input_key), "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body,
            self._objects.writer(plan_key) as plan,
        ):
            envelope = read_envelope(body, max_requests=batch.request_count)
            entries, order = _read(envelope.requests, rules, choice)
            marks = _set(choice, order)
            placed = order.walk()
            sizes_bytes = [_size_bytes(entries[place.position]) for place in placed]
            ends = cut(
                [place.depth for place in placed],
                sizes_bytes,
                max_requests=self._shard_requests,
                max_bytes=_MAX_SHARD_BYTES,
            )
            for start, end in pairwise([0, *ends]):
                data = encode_shard([_placed(entries, place, marks) for place in placed[start:end]])
                extents.append(Extent(plan.size_bytes, len(data), end - start))
                plan.write(data)
            # Their params are views, which keep the map from being closed.
            entries.clear()
            del envelope
            plan.commit()
        return Written(extents, len(marks) if batch.auto_cache else None)


def _read(
    requests: Sequence[EnvelopeRequest], rules: Rules, choice: Choice | None
) -> tuple[list[Planned], Order]:
    """Check each request and find what its prompt begins with, in the caller's order."""
    entries: list[Planned] = []
    order = Order()
    for request in requests:
        checked = check_params(request.params, rules)
        if isinstance(checked, Refusal):
            order.add(())
            entries.append(_refused(request, checked))
        else:
            entry = PlannedRequest(
                custom_id=request.custom_id,
                params=request.params,
                model=sys.intern(checked.model),
                input_tokens=checked.input_tokens,
                max_tokens=checked.max_tokens,
            )
            order.add(_prefixes(checked, entry, len(entries), choice))
            entries.append(entry)
    return entries, order


def _prefixes(
    checked: Checked, entry: PlannedRequest, position: int, choice: Choice | None
) -> list[Prefix]:
    """List the beginnings of a prompt that others may share; let breakpoints be chosen in them."""
    if choice is None or not choice.takes(entry):
        return _short(prompt.shareable(checked.params, checked.model))
    blocks = list(prompt.prefixes(checked.params, checked.model))
    found = _short(blocks)
    barred = [place for place, block in enumerate(blocks) if not block.markable]
    choice.add(position, entry, found, barred)
    return found


def _short(prefixes: Iterable[prompt.Prefix]) -> list[Prefix]:
    return [
        Prefix(int.from_bytes(prefix.key[:8]) >> 1, prefix.tokens, TTL_S.get(prefix.ttl, 0))
        for prefix in prefixes
    ]


def _set(choice: Choice | None, order: Order) -> Mapping[int, tuple[Mark, ...]]:
    """Choose breakpoints and let the order know them; give them by the request's position."""
    if choice is None:
        return {}
    marks = choice.marks()
    for position, chosen in marks.items():
        order.mark(position, [(mark.block, TTL_S[mark.ttl]) for mark in chosen])
    return marks


def _placed(
    entries: list[Planned], place: Placed, marks: Mapping[int, tuple[Mark, ...]]
) -> Planned:
    entry = entries[place.position]
    if isinstance(entry, PlannedRefusal) or not place.prefixes:
        return entry
    chosen = marks.get(place.position)
    if chosen is None:
        return replace(entry, prefixes=place.prefixes)
    # Only now, so that no second copy of a whole batch is in memory.
    params = marked(entry.params, chosen)
    return replace(entry, prefixes=place.prefixes, params=params, auto_cached=True)


def _size_bytes(entry: Planned) -> int:
    return 0 if isinstance(entry, PlannedRefusal) else len(memoryview(entry.params))


def _refused(request: EnvelopeRequest, refusal: Refusal) -> PlannedRefusal:
    return PlannedRefusal(
        custom_id=request.custom_id,
        error_type=refusal.error_type,
        message=refusal.message,
        details=refusal.details,
    )
