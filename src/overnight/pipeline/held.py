"""What a worker has in memory: the shards it holds and the requests it is about to send."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from overnight.dispatch.fairness import Fairness
from overnight.dispatch.queue import May, Part, Queue, RouteId, Taken
from overnight.dispatch.warmth import Warmth
from overnight.model import Batch, BatchId, Need, Prefix, Unsent, WorkspaceId
from overnight.pipeline.lanes import Lane, Lanes
from overnight.pipeline.planned import PlannedRequest
from overnight.store.shards import Claim, ShardKey, Totals

# Beside few large requests the number of requests is no bound for memory.
MAX_HELD_BYTES = 512 << 20
# Result lines of a shard beyond this are read back from the journal for its seal.
MAX_LINES_BYTES = 2 << 20


class HeldShard:
    """A leased shard under work. Mutable, touched by the event loop only."""

    __slots__ = (
        "batch",
        "created_on",
        "fence",
        "key",
        "lines",
        "lines_bytes",
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
        # The day whose prices it is charged by.
        self.created_on = claim.batch.created_at.date()
        self.request_count = claim.shard.request_count
        # In memory until the last request of the shard has its outcome.
        self.size_bytes = claim.shard.length_bytes
        # As of the last commit.
        self.totals: Totals = claim.totals
        # What is journaled, for the seal; None when that is more than we have, or should keep.
        self.lines: list[bytes] | None = [] if not claim.totals.recorded else None
        self.lines_bytes = 0
        # Another worker has it now: nothing of it may be sent or recorded any more.
        self.lost = False
        # All is recorded and being turned into the results object.
        self.sealing = False
        # Why nothing more is sent, once that is so.
        self.stop: Unsent | None = None
        self.stopped = asyncio.Event()
        # The tasks that wait for the backend's answer to a request of this shard.
        self.sending: set[asyncio.Task[None]] = set()

    @property
    def recorded(self) -> bool:
        """Tell whether every request has its durable outcome."""
        return self.totals.recorded == self.request_count

    def record(self, totals: Totals, lines: bytes) -> None:
        """Note what has just become durable."""
        self.totals = totals
        self.lines_bytes += len(lines)
        if self.lines_bytes > MAX_LINES_BYTES:
            self.lines = None
        if self.lines is not None:
            self.lines.append(lines)


class Work:
    """One request to be sent. Mutable only in its attempts."""

    __slots__ = (
        "attempts",
        "auto_cached",
        "batch_id",
        "custom_id",
        "cuts",
        "held",
        "input_tokens",
        "max_tokens",
        "model",
        "params",
        "position",
        "prefixes",
        "route",
        "ttl_s",
        "workspace_id",
    )

    def __init__(
        self,
        held: HeldShard,
        position: int,
        planned: PlannedRequest,
        *,
        prefixes: tuple[Prefix, ...],
        route: RouteId,
    ) -> None:
        self.held = held
        self.batch_id = held.batch.id
        self.workspace_id = held.batch.workspace_id
        self.position = position
        self.custom_id = planned.custom_id
        self.model = planned.model
        self.params: msgspec.Raw = planned.params
        self.input_tokens = planned.input_tokens
        self.max_tokens = planned.max_tokens
        self.auto_cached = planned.auto_cached
        # The longest life that its breakpoints ask for.
        self.ttl_s = max((one.ttl_s for one in planned.prefixes), default=0)
        # Those for which a leader pays.
        self.prefixes = prefixes
        self.route = route
        # Charged ones; see dispatch.retry.
        self.attempts = 0
        # Times that it was given up as a straggler.
        self.cuts = 0

    @property
    def cost(self) -> float:
        """Give the tokens: what the request takes of its workspace's share."""
        return self.input_tokens + self.max_tokens

    def need(self, leads: Sequence[Prefix]) -> Need:
        """Say what the call will take of rate limits: what it reads from a cache is free."""
        if not self.prefixes:
            return Need(self.input_tokens, self.max_tokens)
        read = max((one.tokens for one in self.prefixes if one not in leads), default=0)
        return Need(max(0, self.input_tokens - read), self.max_tokens)


class Turns(NamedTuple):
    """How many requests were taken, and how many of them because their batch is urgent."""

    urgent: int
    all: int


class Workload:
    """All that one worker holds. Mutable, touched by the event loop only."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        low_water: int,
        weights: Mapping[WorkspaceId, float] | None = None,
    ) -> None:
        self.held: dict[ShardKey, HeldShard] = {}
        self._lanes = lanes
        self._fairness = Fairness(weights)
        self._queue: Queue[Work] = Queue(
            fairness=self._fairness, lanes=[Warmth() for _ in range(len(lanes))]
        )
        # Batches that may not end in time, the earliest expiry first.
        self.urgent: Sequence[BatchId] = ()
        # Batches whose next request a budget cannot pay now, and what that request may cost.
        self.unpaid: dict[BatchId, Decimal] = {}
        # Below this many requests that could go another shard is claimed.
        self.low_water = low_water
        # Set when there is little left to send, or memory was freed.
        self.hungry = asyncio.Event()
        # The worker stops: nothing more is claimed or sent.
        self.draining = False
        # Requests that went without the leader they had waited for.
        self.released = 0

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

    @property
    def sendable(self) -> int:
        """How many requests wait for nothing but their turn."""
        return self._queue.sendable

    @property
    def turns(self) -> Turns:
        return Turns(self._fairness.urgent_turns, self._fairness.turns)

    def __len__(self) -> int:
        return len(self._queue)

    def take(self, lane: Lane, now_s: float) -> Taken[Work] | None:
        """Take the next request; None when there is none that the lane may send now."""
        if not len(self._queue):
            self.hungry.set()
            return None
        taken = self._queue.take(lane.id, now_s, self._may(lane))
        if self._queue.sendable < self.low_water:
            self.hungry.set()
        return taken

    def _may(self, lane: Lane) -> May | None:
        if len(self._lanes) == 1 and not lane.pauses_any and not self.unpaid:
            return None

        def may(batch_id: BatchId, route: RouteId) -> Part:
            if lane.pauses(route) or batch_id in self.unpaid:
                return "nothing"
            urgent = batch_id in self.urgent
            return self._lanes.route(route).part(lane.id, self._lanes, urgent=urgent)

        return may

    def put_back(self, lane: Lane, taken: Taken[Work]) -> None:
        """Return a request that cannot be sent yet: it stays the next of its batch."""
        self._queue.put_back(lane.id, taken)

    def begin(self, lane: Lane, leads: Sequence[Prefix], started_s: float) -> None:
        """Note that the answer to a leader has begun."""
        self._queue.begin(lane.id, leads, started_s)
        lane.wake()

    def fail(self, lane: Lane, leads: Sequence[Prefix]) -> None:
        """Note that a leader brought nothing."""
        self._queue.fail(lane.id, leads)
        lane.wake()

    def abandon(self, lane: Lane) -> None:
        """Let other lanes have what waits for a backend that is away."""
        if len(self._lanes) > 1:
            self._queue.abandon(lane.id)
            self._lanes.wake()

    def wait_for_money(self, batch_id: BatchId, usd: Decimal) -> None:
        """Take nothing more of a batch until `paid`."""
        self.unpaid[batch_id] = usd

    def paid(self, batch_id: BatchId) -> None:
        """Let a batch go on."""
        del self.unpaid[batch_id]
        self._lanes.wake()

    def batch(self, batch_id: BatchId) -> Batch | None:
        """Give a batch of which there is a shard here."""
        return next((h.batch for h in self.held.values() if h.batch.id == batch_id), None)

    def look_after(self, now_s: float) -> None:
        """Let requests go that waited too long for their leader."""
        self.released += self._queue.look_after(now_s)
        self._lanes.wake()

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
        self._lanes.wake()

    def withdraw(self, held: HeldShard) -> list[Work]:
        """Take out the queued requests of a shard."""
        mine = self._queue.withdraw(lambda work: work.held is held)
        if mine:
            self.hungry.set()
            # Others may have waited for a leader among them.
            self._lanes.wake()
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
        for lane in self._lanes:
            lane.wake_all()
        self.hungry.set()
