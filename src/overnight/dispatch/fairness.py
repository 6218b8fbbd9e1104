"""Whose turn it is: workspaces share a backend by weight, and a workspace's batches share alike.

Start-time fair queueing in two levels: who was served least, for its weight, is next. Who comes
new or returns begins where the others are, so that nobody can save up turns and nobody starves.
Batches that may not end in time go first, the earliest expiry before others, but for one turn in
`_TURNS`, which stays fair. Pure.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from overnight.model import BatchId, WorkspaceId

Key = TypeVar("Key", WorkspaceId, BatchId)

# One turn in so many is not given to the urgent.
_TURNS = 8
# A batch is at risk when it needs more than this share of the time it has left.
_RISKY_SHARE = 0.8
# Workspaces whose last turn is known; beyond that all begin anew.
_MAX_REMEMBERED = 10_000


class Account:
    """What a workspace was served so far, divided by its weight, or a batch within one."""

    __slots__ = ("served",)

    def __init__(self, served: float) -> None:
        self.served = served


class Workspace(Account):
    """A workspace and those of its batches that have requests waiting."""

    __slots__ = ("batches",)

    def __init__(self, served: float) -> None:
        super().__init__(served)
        self.batches: dict[BatchId, Account] = {}


class Fairness:
    """The accounts of all who have requests waiting."""

    def __init__(self, weights: Mapping[WorkspaceId, float] | None = None) -> None:
        """`weights` are read for each request, so they may change; whoever is not in it has 1."""
        self._weights = {} if weights is None else weights
        self._workspaces: dict[WorkspaceId, Workspace] = {}
        self._workspace_of: dict[BatchId, WorkspaceId] = {}
        self._urgent: dict[BatchId, None] = {}
        self._turn = 0
        # Requests taken since the start, and how many of them in a turn of the urgent.
        self.turns = 0
        self.urgent_turns = 0
        # Where the one who was served last began.
        self._reached = 0.0

    def join(self, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
        """Take a batch in that has requests waiting. Idempotent."""
        if batch_id in self._workspace_of:
            return
        self._workspace_of[batch_id] = workspace_id
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            workspace = self._workspaces[workspace_id] = Workspace(self._reached)
        least = min((account.served for account in workspace.batches.values()), default=0.0)
        workspace.batches[batch_id] = Account(least)

    def leave(self, batch_id: BatchId) -> None:
        """Forget a batch that has nothing more. Idempotent."""
        workspace_id = self._workspace_of.pop(batch_id, None)
        if workspace_id is None:
            return
        workspace = self._workspaces[workspace_id]
        del workspace.batches[batch_id]
        if not workspace.batches:
            del self._workspaces[workspace_id]

    def serve(self, batch_id: BatchId, cost: float) -> None:
        """Charge a batch and its workspace for a request that is sent.

        A turn that was given for urgency is not charged to the workspace: its other batches
        would starve as long as the hurry lasts.
        """
        workspace_id = self._workspace_of[batch_id]
        workspace = self._workspaces[workspace_id]
        hurried = self._hurries and batch_id in self._urgent
        if cost > 0:
            # What is put back was counted when it was taken.
            self.turns += 1
            self.urgent_turns += hurried
        if not hurried:
            self._reached = workspace.served
            workspace.served += cost / self._weights.get(workspace_id, 1.0)
        workspace.batches[batch_id].served += cost
        self._turn += 1

    def hurry(self, urgent: Sequence[BatchId]) -> None:
        """Say which batches are at risk, the earliest expiry first."""
        self._urgent = dict.fromkeys(urgent)

    @property
    def _hurries(self) -> bool:
        """Tell whether this turn belongs to the urgent."""
        return bool(self._urgent) and self._turn % _TURNS != 0

    def order(self) -> Iterator[BatchId]:
        """Give the batches in the order in which they should be served now."""
        if len(self._workspace_of) == 1:
            yield from self._workspace_of
            return
        hurried: Collection[BatchId] = ()
        if self._hurries:
            hurried = [batch_id for batch_id in self._urgent if batch_id in self._workspace_of]
            yield from hurried
        if not self._workspaces:
            return
        for workspace_id in _least_first(self._workspaces):
            for batch_id in _least_first(self._workspaces[workspace_id].batches):
                if batch_id not in hurried:
                    yield batch_id


def _least_first(accounts: Mapping[Key, Account]) -> Iterator[Key]:
    """Give the least served at once, and sort only for who asks on."""

    def served(key: Key) -> float:
        return accounts[key].served

    first = min(accounts, key=served)
    yield first
    for key in sorted(accounts, key=served):
        if key != first:
            yield key


class Claimable(NamedTuple):
    """A batch with shards that nobody works on."""

    batch_id: BatchId
    workspace_id: WorkspaceId
    shards: int


class Rota:
    """Whose shards are claimed: workspaces take turns, and in each of them its batches."""

    def __init__(self) -> None:
        self._turn = 0
        # When each had its last turn.
        self._workspaces: dict[WorkspaceId, int] = {}
        self._batches: dict[BatchId, int] = {}

    def choose(
        self, claimable: Sequence[Claimable], *, limit: int, urgent: Sequence[BatchId] = ()
    ) -> dict[BatchId, int]:
        """Say how many shards to claim of which batch; the older first where turns are equal.

        The urgent go first, but for one turn in `_TURNS`.
        """
        self._batches = {one.batch_id: self._batches.get(one.batch_id, 0) for one in claimable}
        if len(self._workspaces) > _MAX_REMEMBERED:
            self._workspaces.clear()
        left = {one.batch_id: one for one in claimable}
        chosen: dict[BatchId, int] = {}
        while left and limit > 0:
            self._turn += 1
            hurried = next((batch_id for batch_id in urgent if batch_id in left), None)
            if hurried is not None and self._turn % _TURNS:
                one = left[hurried]
            else:
                one = min(left.values(), key=self._last_turn)
                self._workspaces[one.workspace_id] = self._turn
            self._batches[one.batch_id] = self._turn
            count = chosen[one.batch_id] = chosen.get(one.batch_id, 0) + 1
            if count == one.shards:
                del left[one.batch_id]
            limit -= 1
        return chosen

    def _last_turn(self, one: Claimable) -> tuple[int, int]:
        return self._workspaces.get(one.workspace_id, 0), self._batches[one.batch_id]


class Backlog(NamedTuple):
    """What a batch has left to do, and the seconds until it expires."""

    batch_id: BatchId
    requests: int
    left_s: float


def at_risk(backlogs: Sequence[Backlog], *, rate_per_s: float) -> list[BatchId]:
    """List the batches that need hurry at this rate, the earliest expiry first.

    Each is judged as if it were served only after all that expire before it.
    """
    risky = []
    requests = 0
    for backlog in sorted(backlogs, key=lambda backlog: backlog.left_s):
        requests += backlog.requests
        if requests > rate_per_s * _RISKY_SHARE * backlog.left_s:
            risky.append(backlog.batch_id)
    return risky
