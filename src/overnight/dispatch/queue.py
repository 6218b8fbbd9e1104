"""The requests that wait to be sent, and which of them is next. Pure.

Requests come in the order of the plan, equal prefixes side by side: a run of them is a group.
Whose turn it is says `fairness`; within a batch groups go in order. The leader of a cold prefix
goes alone and its group, and all others that begin so, wait aside until the answer has begun:
meanwhile others go. Several lanes, each a backend with a prompt cache of its own, may take from
one queue: a group stays with the lane that was first to take from it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from overnight.dispatch.fairness import Fairness
from overnight.dispatch.warmth import Waits, Warmth
from overnight.model import BatchId, Prefix, WorkspaceId

# A lane without work takes over half of a group that has more than this.
_STOLEN_FROM = 16

LaneId = int
RouteId = int
# What a lane may take now of a batch on a route: nothing, of the groups that it has begun, or any.
Part = Literal["nothing", "begun", "any"]
May = Callable[[BatchId, RouteId], Part]


class Waiting(Protocol):
    """What the queue must know of a request."""

    @property
    def workspace_id(self) -> WorkspaceId: ...

    @property
    def batch_id(self) -> BatchId: ...

    @property
    def route(self) -> RouteId:
        """Which lanes may take it."""
        ...

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Those for which a leader pays, the shortest first."""
        ...

    @property
    def cost(self) -> float:
        """What the request takes of its workspace's share."""
        ...


Item = TypeVar("Item", bound=Waiting)


class Taken(NamedTuple, Generic[Item]):
    """A request that may be sent now, by the lane that took it."""

    item: Item
    # The prefixes that it leads: to be told to `begin` or `fail`.
    leads: tuple[Prefix, ...]


class _Group(Generic[Item]):
    """Requests of one batch with the same prefixes."""

    __slots__ = ("items", "prefixes")

    def __init__(self, items: Iterable[Item], prefixes: tuple[Prefix, ...]) -> None:
        self.items = deque(items)
        self.prefixes = prefixes


class _Place(NamedTuple):
    """What one line holds: the requests of a batch that take the same route."""

    batch_id: BatchId
    route: RouteId


class _Line(Generic[Item]):
    """The groups of requests of one place."""

    __slots__ = ("free", "homed", "parked", "place", "size")

    def __init__(self, place: _Place) -> None:
        self.place = place
        # Nobody's yet.
        self.free: deque[_Group[Item]] = deque()
        # Those that a lane has begun.
        self.homed: dict[LaneId, deque[_Group[Item]]] = {}
        # Those that wait for a prefix to become warm in a lane.
        self.parked: dict[tuple[LaneId, int], list[_Group[Item]]] = {}
        # Requests in all of them.
        self.size = 0

    def next(self, lane: LaneId, part: Part) -> _Group[Item] | None:
        """Take out the group from which the lane should go on."""
        mine = self.homed.get(lane)
        if mine:
            return mine.popleft()
        if part == "begun":
            return None
        if self.free:
            return self.free.popleft()
        if not any(where == lane for where, _ in self.parked):
            # What it took over before must not wait for its leader meanwhile.
            for other in self.homed.values():
                if other and len(other[-1].items) > _STOLEN_FROM:
                    return _split(other[-1])
        return None

    def give_back(self, lane: LaneId, group: _Group[Item]) -> None:
        """Let the lane go on with a group before all others."""
        if group.prefixes:
            self.homed.setdefault(lane, deque()).appendleft(group)
        else:
            self.free.appendleft(group)

    def groups(self) -> Iterator[_Group[Item]]:
        yield from self.free
        for groups in (*self.homed.values(), *self.parked.values()):
            yield from groups


class Queue(Generic[Item]):
    """All that waits, by batch; mutable, used by one event loop."""

    def __init__(self, *, fairness: Fairness, lanes: Sequence[Warmth]) -> None:
        self._fairness = fairness
        # A lane's id is its place here.
        self._lanes = lanes
        self._lines: dict[BatchId, dict[RouteId, _Line[Item]]] = {}
        # Whose groups wait for a prefix in a lane.
        self._parked: dict[tuple[LaneId, int], set[_Place]] = {}
        self._size = 0
        self._held_back = 0

    def __len__(self) -> int:
        return self._size

    @property
    def sendable(self) -> int:
        """How many requests wait for nothing but their turn, as far as was looked at."""
        return self._size - self._held_back

    @property
    def batches(self) -> Collection[BatchId]:
        return self._lines.keys()

    def put(self, items: Sequence[Item]) -> None:
        """Add requests behind those of their batch, in the order of the plan."""
        for (_, prefixes), run in groupby(items, key=_company):
            self._add(_Group(run, prefixes))

    def take(self, lane: LaneId, now_s: float, may: May | None = None) -> Taken[Item] | None:
        """Take the next request that the lane may take; None when all wait, or none may.

        Without `may` the lane may take all.
        """
        for batch_id in self._fairness.order():
            for route, line in self._lines[batch_id].items():
                part: Part = "any" if may is None else may(batch_id, route)
                if part == "nothing":
                    continue
                taken = self._take_from(line, lane, now_s, part)
                if taken is not None:
                    self._fairness.serve(batch_id, taken.item.cost)
                    self._drop_if_empty(line)
                    return taken
        return None

    def put_back(self, lane: LaneId, taken: Taken[Item]) -> None:
        """Return a request that was not sent after all to the head of its batch."""
        self.fail(lane, taken.leads)
        item = taken.item
        self._fairness.join(item.workspace_id, item.batch_id)
        self._fairness.serve(item.batch_id, -item.cost)
        line = self._line(item)
        line.size += 1
        self._size += 1
        line.give_back(lane, _Group([item], item.prefixes))

    def begin(self, lane: LaneId, leads: Sequence[Prefix], started_s: float) -> None:
        """Note that a leader's answer has begun: who waited for it may go."""
        self._lanes[lane].begin(leads, started_s)
        for prefix in leads:
            self._release(lane, prefix.key)

    def fail(self, lane: LaneId, leads: Sequence[Prefix]) -> None:
        """Note that a leader brought nothing: one of those who wait will lead."""
        self._lanes[lane].fail(leads)
        for prefix in leads:
            self._release(lane, prefix.key)

    def look_after(self, now_s: float) -> int:
        """Release who waited too long for a leader; tell how many requests those are."""
        before = self._held_back
        for lane, warmth in enumerate(self._lanes):
            for key in warmth.overdue(now_s):
                self._release(lane, key)
        return before - self._held_back

    def abandon(self, lane: LaneId) -> None:
        """Let other lanes have the groups of one that does not answer."""
        for at, key in [place for place in self._parked if place[0] == lane]:
            self._release(at, key)
        for line in self._all():
            line.free.extendleft(reversed(line.homed.pop(lane, deque())))

    def withdraw(self, unwanted: Callable[[Item], bool]) -> list[Item]:
        """Take out requests that are not to be sent."""
        taken: list[Item] = []
        for line in list(self._all()):
            for group in list(line.groups()):
                gone = [item for item in group.items if unwanted(item)]
                if gone:
                    group.items = deque(item for item in group.items if not unwanted(item))
                    taken += gone
                    line.size -= len(gone)
                    self._size -= len(gone)
            self._sweep(line)
            self._drop_if_empty(line)
        return taken

    def clear(self) -> None:
        self.withdraw(lambda item: True)

    def _add(self, group: _Group[Item]) -> None:
        first = group.items[0]
        line = self._line(first)
        self._fairness.join(first.workspace_id, first.batch_id)
        line.free.append(group)
        line.size += len(group.items)
        self._size += len(group.items)

    def _take_from(
        self, line: _Line[Item], lane: LaneId, now_s: float, part: Part
    ) -> Taken[Item] | None:
        warmth = self._lanes[lane]
        while (group := line.next(lane, part)) is not None:
            answer = warmth.ask(group.prefixes, now_s)
            if isinstance(answer, Waits):
                self._park(line, lane, answer.key, group)
                continue
            item = group.items.popleft()
            line.size -= 1
            self._size -= 1
            if group.prefixes:
                warmth.start(group.prefixes, answer.leads, now_s)
            if group.items:
                line.give_back(lane, group)
            return Taken(item, answer.leads)
        return None

    def _park(self, line: _Line[Item], lane: LaneId, key: int, group: _Group[Item]) -> None:
        line.parked.setdefault((lane, key), []).append(group)
        self._parked.setdefault((lane, key), set()).add(line.place)
        self._held_back += len(group.items)

    def _release(self, lane: LaneId, key: int) -> None:
        """Let the groups that waited for a prefix go on, the first one first."""
        for place in self._parked.pop((lane, key), ()):
            line = self._lines[place.batch_id][place.route]
            groups = line.parked.pop((lane, key))
            self._held_back -= sum(len(group.items) for group in groups)
            line.homed.setdefault(lane, deque()).extendleft(reversed(groups))

    def _all(self) -> Iterator[_Line[Item]]:
        for lines in self._lines.values():
            yield from lines.values()

    def _line(self, item: Item) -> _Line[Item]:
        lines = self._lines.setdefault(item.batch_id, {})
        line = lines.get(item.route)
        if line is None:
            line = lines[item.route] = _Line(_Place(item.batch_id, item.route))
        return line

    def _sweep(self, line: _Line[Item]) -> None:
        """Drop the groups that have become empty."""
        line.free = deque(group for group in line.free if group.items)
        for lane, groups in line.homed.items():
            line.homed[lane] = deque(group for group in groups if group.items)
        for place, parked in list(line.parked.items()):
            line.parked[place] = [group for group in parked if group.items]
            if not line.parked[place]:
                del line.parked[place]
                self._parked[place].discard(line.place)
        self._held_back = sum(
            len(group.items)
            for one in self._all()
            for groups in one.parked.values()
            for group in groups
        )

    def _drop_if_empty(self, line: _Line[Item]) -> None:
        if line.size:
            return
        batch_id, route = line.place
        del self._lines[batch_id][route]
        if not self._lines[batch_id]:
            del self._lines[batch_id]
            self._fairness.leave(batch_id)


def _company(item: Waiting) -> tuple[_Place, tuple[Prefix, ...]]:
    """Give what requests of a group have in common."""
    return _Place(item.batch_id, item.route), item.prefixes


def _split(group: _Group[Item]) -> _Group[Item]:
    """Cut the second half off a group."""
    half = [group.items.pop() for _ in range(len(group.items) // 2)]
    return _Group(reversed(half), group.prefixes)
