"""Questions about shards: who holds them, what is recorded, what is sealed."""

from array import array
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Connection,
    Integer,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from overnight.dispatch.fairness import Claimable
from overnight.model import Batch, BatchId, Lease, Shard, WorkerId
from overnight.store.batches import UsageByModel, decode_usage, planned
from overnight.store.schema import batches, journal, shards, to_us


class ShardKey(NamedTuple):
    batch_id: BatchId
    number: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a shard so far."""

    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0
    usage: UsageByModel = {}

    @property
    def recorded(self) -> int:
        return self.succeeded + self.errored + self.canceled + self.expired


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A shard that is ours until its lease expires, and all that is needed to work on it."""

    shard: Shard
    batch: Batch
    plan_key: str
    totals: Totals
    # Positions in the shard that have their outcome already.
    recorded_positions: frozenset[int]


class SealedPart(NamedTuple):
    """The results of one shard: an object, written once."""

    key: str
    size_bytes: int


# Statements that run often are built once: building costs more than running them.
_KEY = tuple_(shards.c.batch_id, shards.c.number)
_FREE = and_(
    shards.c.sealed_at.is_(None),
    shards.c.lease_expires_at <= bindparam("now"),
    _KEY.not_in(bindparam("held", expanding=True)),
)
_CLAIMABLE = (
    select(shards.c.batch_id, batches.c.workspace_id, func.count().label("shards"))
    .join(batches, batches.c.id == shards.c.batch_id)
    .where(_FREE)
    .group_by(shards.c.queued_at, shards.c.batch_id, batches.c.workspace_id)
    .order_by(shards.c.queued_at, shards.c.batch_id)
)
_CLAIM = (
    select(shards)
    .where(_FREE)
    .order_by(shards.c.queued_at, shards.c.batch_id, shards.c.number)
    .limit(bindparam("at_most", type_=Integer))
    .with_for_update(skip_locked=True)
)
_CLAIM_OF = _CLAIM.where(shards.c.batch_id.in_(bindparam("only", expanding=True)))
_LEASE = (
    update(shards)
    .where(_KEY.in_(bindparam("keys", expanding=True)))
    .values(
        owner=bindparam("owner"),
        fence=shards.c.fence + 1,
        lease_expires_at=bindparam("lease_expires_at"),
    )
)
_MINE = and_(
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.number == bindparam("of_shard"),
    shards.c.fence == bindparam("of_fence"),
    shards.c.sealed_at.is_(None),
)
_IS_MINE = select(shards.c.number).where(_MINE)
_SEAL = (
    update(shards)
    .where(_MINE)
    .values(
        sealed_at=bindparam("sealed_at"),
        results_key=bindparam("results_key"),
        results_bytes=bindparam("results_bytes"),
        owner=None,
        lease_expires_at=0,
    )
)
_CLEAR_JOURNAL = delete(journal).where(
    journal.c.batch_id == bindparam("of_batch"), journal.c.shard == bindparam("of_shard")
)


def pack_positions(positions: Sequence[int]) -> bytes:
    return array("H", positions).tobytes()


def create(connection: Connection, batch: Batch, extents: Sequence[tuple[int, int, int]]) -> None:
    """Store the shards of a plan; an extent is (offset, bytes, requests) in the plan object."""
    connection.execute(
        insert(shards),
        [
            {
                "batch_id": batch.id,
                "number": number,
                "queued_at": to_us(batch.created_at),
                "plan_offset": offset,
                "plan_bytes": length,
                "request_count": requests,
            }
            for number, (offset, length, requests) in enumerate(extents)
        ],
    )


def claimable(
    connection: Connection, *, now: datetime, held: Collection[ShardKey] = ()
) -> list[Claimable]:
    """Give the batches that have free shards, the oldest first; see `claim` for `held`."""
    rows = connection.execute(_CLAIMABLE, {"now": to_us(now), "held": list(held)})
    return [Claimable(row.batch_id, row.workspace_id, row.shards) for row in rows]


def claim(
    connection: Connection,
    owner: WorkerId,
    *,
    now: datetime,
    until: datetime,
    limit: int,
    held: Collection[ShardKey] = (),
    only: Sequence[BatchId] | None = None,
) -> list[Claim]:
    """Lease up to `limit` free shards, oldest batch first, each with a new fence.

    What the owner has in hand already, `held`, is not free to it, even when its lease has run
    out unnoticed. `only` restricts the choice to some batches. Not idempotent; what is claimed
    and then not worked on comes free when the lease expires.
    """
    asked: dict[str, Any] = {"now": to_us(now), "held": list(held), "at_most": limit}
    if only is None:
        rows = connection.execute(_CLAIM, asked).all()
    else:
        rows = connection.execute(_CLAIM_OF, {**asked, "only": only}).all()
    if not rows:
        return []
    keys = [(row.batch_id, row.number) for row in rows]
    connection.execute(_LEASE, {"keys": keys, "owner": owner, "lease_expires_at": to_us(until)})
    plans = planned(connection, {row.batch_id for row in rows})
    positions = _recorded_positions(
        connection, [key for key, row in zip(keys, rows, strict=True) if _recorded(row)]
    )
    return [
        Claim(
            shard=_shard(row, Lease(owner=owner, fence=row.fence + 1, expires_at=until)),
            batch=plans[row.batch_id].batch,
            plan_key=plans[row.batch_id].plan_key,
            totals=_totals(row),
            recorded_positions=positions.get((row.batch_id, row.number), frozenset()),
        )
        for row in rows
    ]


def renew(
    connection: Connection, owner: WorkerId, held: Collection[ShardKey], *, until: datetime
) -> None:
    """Prolong the leases of the shards that the worker has in hand and still owns.

    Those of a claim that it never learned of, or could not read, run out.
    """
    connection.execute(
        update(shards)
        .where(
            tuple_(shards.c.batch_id, shards.c.number).in_(held),
            shards.c.owner == owner,
            shards.c.sealed_at.is_(None),
            shards.c.lease_expires_at > 0,
        )
        .values(lease_expires_at=to_us(until))
    )


def release(connection: Connection, owners: Sequence[WorkerId]) -> int:
    """Give back every lease of these workers; the next claim takes a new fence."""
    changed = connection.execute(
        update(shards)
        .where(
            shards.c.sealed_at.is_(None),
            shards.c.lease_expires_at > 0,
            shards.c.owner.in_(owners),
        )
        .values(lease_expires_at=0, owner=None)
    )
    return changed.rowcount


def owners(connection: Connection) -> list[WorkerId]:
    """Give all who hold a lease, living or not."""
    rows = connection.execute(
        select(shards.c.owner)
        .where(shards.c.sealed_at.is_(None), shards.c.owner.is_not(None))
        .distinct()
    )
    return [WorkerId(owner) for owner in rows.scalars()]


def seal(
    connection: Connection, key: ShardKey, *, fence: int, part: SealedPart, now: datetime
) -> bool:
    """Replace the shard's journal by its results object; False when the lease is lost."""
    changed = connection.execute(
        _SEAL,
        {
            **_mine(key, fence),
            "sealed_at": to_us(now),
            "results_key": part.key,
            "results_bytes": part.size_bytes,
        },
    )
    if changed.rowcount == 0:
        return False
    connection.execute(_CLEAR_JOURNAL, {"of_batch": key.batch_id, "of_shard": key.number})
    return True


def results(connection: Connection, batch_id: BatchId) -> list[SealedPart]:
    """Give the results objects of a batch in the order of its shards."""
    rows = connection.execute(
        select(shards.c.results_key, shards.c.results_bytes)
        .where(shards.c.batch_id == batch_id, shards.c.results_key.is_not(None))
        .order_by(shards.c.number)
    )
    return [SealedPart(row.results_key, row.results_bytes) for row in rows]


def is_unsealed(connection: Connection, key: ShardKey, *, fence: int) -> bool:
    """Tell whether a shard is not sealed and its lease is that of this fence."""
    return connection.execute(_IS_MINE, _mine(key, fence)).first() is not None


def _mine(key: ShardKey, fence: int) -> dict[str, Any]:
    return {"of_batch": key.batch_id, "of_shard": key.number, "of_fence": fence}


def _recorded_positions(
    connection: Connection, keys: Sequence[tuple[BatchId, int]]
) -> dict[tuple[BatchId, int], frozenset[int]]:
    found: dict[tuple[BatchId, int], frozenset[int]] = {}
    if not keys:
        return found
    matches = or_(
        *(and_(journal.c.batch_id == batch, journal.c.shard == shard) for batch, shard in keys)
    )
    rows = connection.execute(
        select(journal.c.batch_id, journal.c.shard, journal.c.positions).where(matches)
    )
    for row in rows:
        key = (row.batch_id, row.shard)
        found[key] = found.get(key, frozenset()) | frozenset(_unpack_positions(row.positions))
    return found


def _unpack_positions(data: bytes) -> list[int]:
    positions = array("H")
    positions.frombytes(bytes(data))
    return positions.tolist()


def _recorded(row: Row[*tuple[Any, ...]]) -> int:
    return int(row.succeeded + row.errored + row.canceled + row.expired)


def _totals(row: Row[*tuple[Any, ...]]) -> Totals:
    return Totals(
        succeeded=row.succeeded,
        errored=row.errored,
        canceled=row.canceled,
        expired=row.expired,
        usage=decode_usage(row.usage),
    )


def _shard(row: Row[*tuple[Any, ...]], lease: Lease) -> Shard:
    return Shard(
        batch_id=row.batch_id,
        number=row.number,
        offset=row.plan_offset,
        length_bytes=row.plan_bytes,
        request_count=row.request_count,
        lease=lease,
    )
