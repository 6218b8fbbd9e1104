"""What a worker has in memory: the shards it holds and the requests it is about to send."""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from overnight.dispatch.fairness import Fairness
from overnight.dispatch.queue import Queue, Taken
from overnight.dispatch.warmth import Warmth
from overnight.model import Batch, BatchId, Prefix
from overnight.pipeline.planned import PlannedRequest
from overnight.store.shards import Claim, ShardKey, Totals

# Beside few large requests the number of requests is no bound for memory.
MAX_HELD_BYTES = 512 << 20
# There is one backend, which takes every request.
_LANE = 0
_ROUTES = frozenset({0})


class HeldShard:
    """A leased shard under work. Mutable, touched by the event loop only."""

    __slots__ = (
        "batch",
        "fence",
        "key",
        "lost",
        "request_count",
        "sealing",
        "sending",
        "size_bytes",
        "stop",
        "stopped",
        "totals",
    )

    def __init__(self, claim: Claim) -> None:
        self.key = ShardKey(claim.shard.batch_id, claim.shard.number)
        self.fence = claim.shard.lease.fence
        self.batch: Batch = claim.batch
        self.request_count = claim.shard.request_count
        # In memory until the last request of the shard has its outcome.
        self.size_bytes = claim.shard.length_bytes
        # As of the last commit.
        self.totals: Totals = claim.totals
        # Another worker has it now: nothing of it may be sent or recorded any more.
        self.lost = False
        # All is recorded and being turned into the results object.
        self.sealing = False
        # Why nothing more is sent, once that is so.
        self.stop: Literal["canceled", "expired"] | None = None
        self.stopped = asyncio.Event()
        # The tasks that wait for the backend's answer to a request of this shard.
        self.sending: set[asyncio.Task[None]] = set()

    @property
    def recorded(self) -> bool:
        """Tell whether every request has its durable outcome."""
        return self.totals.recorded == self.request_count


class Work:
    """One request to be sent. Mutable only in its attempts."""

    __slots__ = (
        "attempts",
        "batch_id",
        "cost",
        "custom_id",
        "held",
        "params",
        "position",
        "prefixes",
        "route",
        "workspace_id",
    )

    def __init__(
        self, held: HeldShard, position: int, planned: PlannedRequest, prefixes: tuple[Prefix, ...]
    ) -> None:
        self.held = held
        self.batch_id = held.batch.id
        self.workspace_id = held.batch.workspace_id
        self.position = position
        self.custom_id = planned.custom_id
        self.params: msgspec.Raw = planned.params
        # Those for which a leader pays.
        self.prefixes = prefixes
        self.route = 0
        # Tokens: what a request takes of its workspace's share.
        self.cost: float = planned.input_tokens + planned.max_tokens
        # Charged ones; see dispatch.retry.
        self.attempts = 0


class Workload:
    """All that one worker holds. Mutable, touched by the event loop only."""

    def __init__(self, *, low_water: int) -> None:
        self.held: dict[ShardKey, HeldShard] = {}
        self._fairness = Fairness()
        self._queue: Queue[Work] = Queue(fairness=self._fairness, lanes=[Warmth()])
        # Batches that may not end in time, the earliest expiry first.
        self.urgent: Sequence[BatchId] = ()
        # Below this many requests that could go another shard is claimed.
        self.low_water = low_water
        # Set when there is little left to send, or memory was freed.
        self.hungry = asyncio.Event()
        # The worker stops: nothing more is claimed or sent.
        self.draining = False
        # Senders that have nothing to send.
        self._resting: deque[asyncio.Future[None]] = deque()

    @property
    def full(self) -> bool:
        """Tell whether there is enough to do, or no room for more."""
        return self._queue.sendable >= self.low_water or not self.has_room

    @property
    def has_room(self) -> bool:
        return sum(held.size_bytes for held in self.held.values()) < MAX_HELD_BYTES

    @property
    def batches(self) -> Collection[BatchId]:
        """Give the batches that have requests waiting here."""
        return self._queue.batches

    def __len__(self) -> int:
        return len(self._queue)

    def take(self, now_s: float) -> Taken[Work] | None:
        """Take the next request; None when there is none that may go now."""
        taken = self._queue.take(_LANE, now_s, _ROUTES)
        if self._queue.sendable < self.low_water:
            self.hungry.set()
        if taken is not None and self._resting:
            # There may be more: one wakes the next.
            self.wake()
        return taken

    def begin(self, leads: Sequence[Prefix], started_s: float) -> None:
        """Note that the answer to a leader has begun."""
        self._queue.begin(_LANE, leads, started_s)
        self.wake()

    def fail(self, leads: Sequence[Prefix]) -> None:
        """Note that a leader brought nothing."""
        self._queue.fail(_LANE, leads)
        self.wake()

    def look_after(self, now_s: float) -> None:
        """Let requests go that waited too long for their leader."""
        if self._queue.look_after(now_s):
            self.wake()

    def hurry(self, urgent: Sequence[BatchId]) -> None:
        """Note which batches are at risk of their expiry, the earliest first."""
        self.urgent = urgent
        self._fairness.hurry(urgent)

    def hold(self, held: HeldShard) -> HeldShard:
        """Note a shard that was just claimed."""
        self.held[held.key] = held
        return held

    def put(self, works: list[Work]) -> None:
        """Queue requests behind those of their batch that wait already."""
        self._queue.put(works)
        self.wake()

    def withdraw(self, held: HeldShard) -> list[Work]:
        """Take out the queued requests of a shard."""
        mine = self._queue.withdraw(lambda work: work.held is held)
        if mine:
            self.hungry.set()
            # Others may have waited for a leader among them.
            self.wake()
        return mine

    def drop(self, held: HeldShard) -> None:
        """Forget a shard that is sealed or lost."""
        if self.held.get(held.key) is held:
            del self.held[held.key]
            self.hungry.set()
        if not held.recorded:
            self.withdraw(held)

    def drain(self) -> None:
        """Stop: drop what was not sent and wake everyone who waits for work."""
        self.draining = True
        self._queue.clear()
        while self._resting:
            self.wake()
        self.hungry.set()

    async def rest(self) -> None:
        """Return when there may be something to send."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(future)
        await future

    def wake(self) -> None:
        """Let one sender look for work; it wakes the next when it finds some."""
        while self._resting:
            future = self._resting.popleft()
            if not future.done():
                future.set_result(None)
                return
