"""What a worker has in memory: the shards it holds and the requests it is about to send."""

import asyncio
from collections import deque
from typing import Literal

import msgspec

from overnight.model import Batch
from overnight.store.shards import Claim, ShardKey, Totals

# Beside few large requests the number of requests is no bound for memory.
MAX_HELD_BYTES = 512 << 20


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

    __slots__ = ("attempts", "custom_id", "held", "params", "position")

    def __init__(self, held: HeldShard, position: int, custom_id: str, params: msgspec.Raw) -> None:
        self.held = held
        self.position = position
        self.custom_id = custom_id
        self.params = params
        # Charged ones; see dispatch.retry.
        self.attempts = 0


class Workload:
    """All that one worker holds. Mutable, touched by the event loop only."""

    def __init__(self, *, low_water: int) -> None:
        self.held: dict[ShardKey, HeldShard] = {}
        # Requests to be sent, in order.
        self.queue: deque[Work] = deque()
        # Below this many queued requests another shard is claimed.
        self.low_water = low_water
        # Set while the queue has work, or the worker drains.
        self.more = asyncio.Event()
        # Set when the queue has run low, or memory was freed.
        self.hungry = asyncio.Event()
        # The worker stops: nothing more is claimed or sent.
        self.draining = False

    @property
    def full(self) -> bool:
        """Tell whether there is enough to do, or no room for more."""
        if len(self.queue) >= self.low_water:
            return True
        return sum(held.size_bytes for held in self.held.values()) >= MAX_HELD_BYTES

    def take(self) -> Work:
        """Take the next request from a queue that is not empty."""
        work = self.queue.popleft()
        if len(self.queue) < self.low_water:
            self.hungry.set()
        return work

    def hold(self, held: HeldShard) -> HeldShard:
        """Note a shard that was just claimed."""
        self.held[held.key] = held
        return held

    def put(self, works: list[Work]) -> None:
        """Queue requests behind those that wait already."""
        self.queue.extend(works)
        self.more.set()

    def withdraw(self, held: HeldShard) -> list[Work]:
        """Take out the queued requests of a shard."""
        mine = [work for work in self.queue if work.held is held]
        if mine:
            self.queue = deque(work for work in self.queue if work.held is not held)
            self.hungry.set()
        return mine

    def drop(self, held: HeldShard) -> None:
        """Forget a shard that is sealed or lost."""
        if self.held.get(held.key) is held:
            del self.held[held.key]
            self.hungry.set()
        self.withdraw(held)

    def drain(self) -> None:
        """Stop: drop what was not sent and wake everyone who waits for work."""
        self.draining = True
        self.queue.clear()
        self.more.set()
        self.hungry.set()
