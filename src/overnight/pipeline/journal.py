"""The journal: outcomes become durable in groups, and counts and usage with them.

A group is all that came while the previous one was being committed, so that a commit costs the
same for one outcome as for hundreds, and none waits longer than two commits.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from msgspec.structs import replace
from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.dispatch.tally import Histogram
from overnight.model import OutcomeType, Usage
from overnight.pipeline.held import HeldShard
from overnight.store import journal
from overnight.store.database import Database, reason
from overnight.store.journal import Recording
from overnight.store.shards import ShardKey, Totals, pack_positions

# How long the first outcome of a group waits for company; a full group does not wait.
_GATHER_S = 0.003
_RETRY_FIRST_S = 0.1
_RETRY_CAP_S = 5.0
# Bounds of the histograms.
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
_GROUP_SIZES = (1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0)

log = logging.getLogger(__name__)


class _Entries:
    """The outcomes of one shard within a group."""

    __slots__ = ("counts", "lines", "positions", "usage")

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.lines: list[bytes] = []
        self.counts: dict[OutcomeType, int] = {
            "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
        }  # fmt: skip
        self.usage: dict[str, Usage] = {}


class Journal:
    """Collects outcomes and commits them group by group."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        lease_s: float,
        full_group: int,
        recorded: Callable[[HeldShard], None],
        lost: Callable[[HeldShard], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._lease = timedelta(seconds=lease_s)
        # Called after each commit, for every shard in it.
        self._recorded = recorded
        self._lost = lost
        self._full_group = full_group
        self._group: dict[HeldShard, _Entries] = {}
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._committed: asyncio.Future[None] = self._loop.create_future()
        # The group is full, or has waited long enough.
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._committing = asyncio.Lock()
        self._stopping = False
        # Since the start: what is durable, in how many outcomes at a time, and what that took.
        self.outcomes: dict[OutcomeType, int] = {
            "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
        }  # fmt: skip
        self.group_sizes = Histogram(_GROUP_SIZES)
        self.commit_s = Histogram(_COMMIT_SECONDS)
        self.failures = 0

    def add(
        self,
        held: HeldShard,
        position: int,
        line: bytes,
        outcome: OutcomeType,
        *,
        usage_key: str | None = None,
        usage: Usage | None = None,
    ) -> asyncio.Future[None]:
        """Add an outcome; the future ends when it is durable, or its shard's lease is lost.

        `line` is a result line without its LF.
        """
        if not self._group:
            self._timer = self._loop.call_later(_GATHER_S, self._due.set)
        entries = self._group.get(held)
        if entries is None:
            entries = self._group[held] = _Entries()
        self._size += 1
        if self._size == self._full_group:
            self._due.set()
        entries.positions.append(position)
        entries.lines.append(line)
        entries.counts[outcome] += 1
        if usage is not None and usage_key is not None:
            so_far = entries.usage.get(usage_key)
            entries.usage[usage_key] = usage if so_far is None else so_far + usage
        return self._committed

    def settled(self, held: HeldShard) -> None:
        """Note a shard of which everything was recorded before it came to us."""
        self._recorded(held)

    async def run(self) -> None:
        """Commit groups until `stop`."""
        while not self._stopping:
            await self._due.wait()
            self._due.clear()
            await self._commit()

    def stop(self) -> None:
        """Let `run` return after the group it commits now."""
        self._stopping = True
        self._due.set()

    async def flush(self) -> None:
        """Return once all that was added so far is durable."""
        while self._group or self._committing.locked():
            await self._commit()

    async def _commit(self) -> None:
        async with self._committing:
            if self._group:
                await self._commit_group()

    async def _commit_group(self) -> None:
        group, committed = self._group, self._committed
        self._group, self._committed = {}, self._loop.create_future()
        self.group_sizes.note(self._size)
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
        recordings = [_recording(held, entries) for held, entries in group.items()]
        started_s = time.perf_counter()
        lost = await self._write(recordings)
        self.commit_s.note(time.perf_counter() - started_s)
        for held, recording in zip(group, recordings, strict=True):
            if recording.key in lost:
                self._lost(held)
            else:
                held.record(recording.after, recording.lines)
                for outcome, count in group[held].counts.items():
                    self.outcomes[outcome] += count
                self._recorded(held)
        committed.set_result(None)

    async def _write(self, recordings: list[Recording]) -> set[ShardKey]:
        """Commit, however long it takes: senders wait, so nothing piles up meanwhile."""
        delay_s = _RETRY_FIRST_S
        while True:
            record = partial(
                journal.record, recordings=recordings, until=self._clock.now() + self._lease
            )
            try:
                return await self._database.write(record)
            except DBAPIError as error:
                self.failures += 1
                log.error("outcomes cannot be stored, to be tried again: %s", reason(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _RETRY_CAP_S)


def _recording(held: HeldShard, entries: _Entries) -> Recording:
    before, counts = held.totals, entries.counts
    usage = dict(before.usage)
    for key, more in entries.usage.items():
        usage[key] = usage[key] + more if key in usage else more
    after: Totals = replace(
        before,
        succeeded=before.succeeded + counts["succeeded"],
        errored=before.errored + counts["errored"],
        canceled=before.canceled + counts["canceled"],
        expired=before.expired + counts["expired"],
        usage=usage,
    )
    # One LF behind each line, the last included: parts join to one stream.
    entries.lines.append(b"")
    return Recording(
        key=held.key,
        fence=held.fence,
        before=before,
        after=after,
        positions=pack_positions(entries.positions),
        lines=b"\n".join(entries.lines),
    )
