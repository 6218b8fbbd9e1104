"""Questions about batches and the changes they go through."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from overnight import lifecycle
from overnight.model import (
    Batch,
    BatchId,
    BatchStatus,
    BudgetScope,
    Counts,
    Unsent,
    Usage,
    WorkspaceId,
)
from overnight.store import listing, outbox
from overnight.store.listing import Place, findable
from overnight.store.schema import batches, from_optional_us, from_us, shards, to_us

# Under the text of a `model.UsageKey`.
UsageByModel = dict[str, Usage]

# Statements that run often are built once: building costs more than running them.
_FIND = select(batches).where(
    batches.c.id == bindparam("of_id"),
    batches.c.workspace_id == bindparam("of_workspace"),
    batches.c.deleted_at.is_(None),
)
_OF_IDS = select(batches).where(batches.c.id.in_(bindparam("ids", expanding=True)))
_LOCKED = select(batches).where(batches.c.id == bindparam("of_id")).with_for_update()
_OPEN_SHARD = (
    select(shards.c.number)
    .where(shards.c.batch_id == bindparam("of_id"), shards.c.sealed_at.is_(None))
    .limit(1)
)
_TOTALS = select(
    shards.c.succeeded, shards.c.errored, shards.c.canceled, shards.c.expired, shards.c.usage
).where(shards.c.batch_id == bindparam("of_id"))
_STANDINGS = select(
    batches.c.id,
    batches.c.status,
    batches.c.expires_at,
    batches.c.stopped_as,
    batches.c.deleted_at,
).where(batches.c.id.in_(bindparam("ids", expanding=True)))
_STOPPED = select(batches.c.id).where(
    batches.c.status != "ended",
    or_(
        batches.c.status == "canceling",
        batches.c.expires_at <= bindparam("now"),
        batches.c.stopped_as.is_not(None),
    ),
)
_RUNNING = select(batches.c.id, batches.c.request_count, batches.c.expires_at).where(
    batches.c.status != "ended"
)
_OUTCOMES = func.sum(shards.c.succeeded + shards.c.errored + shards.c.canceled + shards.c.expired)
_RECORDED = (
    select(shards.c.batch_id, _OUTCOMES.label("recorded"))
    .where(shards.c.batch_id.in_(bindparam("ids", expanding=True)))
    .group_by(shards.c.batch_id)
)

_usage_decoder = msgspec.json.Decoder(UsageByModel)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker must know of a batch it holds shards of."""

    status: BatchStatus
    expires_at: datetime
    stopped_as: Unsent | None
    deleted: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A planned batch and the object that holds its shards."""

    batch: Batch
    plan_key: str


class Run(NamedTuple):
    """What a forecast must know of a batch that has not ended."""

    batch_id: BatchId
    request_count: int
    expires_at: datetime


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch stands right now, unlike the wire's counts."""

    counts: Counts
    usage: UsageByModel

    @property
    def total_usage(self) -> Usage:
        return sum(self.usage.values(), start=Usage())


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has just ended, and what its succeeded requests used."""

    batch: Batch
    usage: UsageByModel


def encode_usage(usage: UsageByModel) -> str:
    return msgspec.json.encode(usage).decode()


def decode_usage(text: str) -> UsageByModel:
    return _usage_decoder.decode(text)


def add_usage(total: UsageByModel, more: UsageByModel) -> UsageByModel:
    merged = dict(total)
    for model, usage in more.items():
        merged[model] = merged.get(model, Usage()) + usage
    return merged


def create(connection: Connection, batch: Batch, *, idempotency_key: str | None) -> None:
    connection.execute(
        insert(batches).values(
            id=batch.id,
            workspace_id=batch.workspace_id,
            status=batch.status,
            created_at=to_us(batch.created_at),
            expires_at=to_us(batch.expires_at),
            retain_until=to_us(batch.retain_until),
            api_version=batch.api_version,
            betas=",".join(batch.betas),
            user_profile_id=batch.user_profile_id,
            estimate_id=batch.estimate_id,
            auto_cache=batch.auto_cache,
            key_id=batch.key_id,
            max_cost_usd=_text(batch.max_cost_usd),
            least_usd=_text(batch.least_usd),
            idempotency_key=idempotency_key,
            request_count=batch.request_count,
            input_key=batch.input_key,
            input_bytes=batch.input_bytes,
        )
    )


def find(connection: Connection, batch_id: str, workspace_id: WorkspaceId) -> Batch | None:
    """Find a batch of a workspace; deleted ones and those of others do not exist."""
    row = connection.execute(
        _FIND, {"of_id": findable(batch_id), "of_workspace": workspace_id}
    ).one_or_none()
    return None if row is None else _batch(row)


def find_by_idempotency_key(
    connection: Connection, key: str, workspace_id: WorkspaceId
) -> Batch | None:
    row = connection.execute(
        select(batches).where(
            batches.c.workspace_id == workspace_id, batches.c.idempotency_key == key
        )
    ).one_or_none()
    return None if row is None else _batch(row)


def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    *,
    limit: int,
    after: Place | None = None,
    before: Place | None = None,
) -> tuple[list[Batch], bool]:
    """List newest first, beyond a cursor; and tell whether more follow in that direction."""
    question = select(batches).where(
        batches.c.workspace_id == workspace_id, batches.c.deleted_at.is_(None)
    )
    rows, has_more = listing.page(
        connection, question, batches, limit=limit, after=after, before=before
    )
    return [_batch(row) for row in rows], has_more


def cursor(connection: Connection, batch_id: str, workspace_id: WorkspaceId) -> Place | None:
    """Place a batch in the list; a deleted one keeps its place until its objects are gone."""
    return listing.place(connection, batches, batch_id, batches.c.workspace_id == workspace_id)


def cancel(
    connection: Connection, batch_id: str, workspace_id: WorkspaceId, *, now: datetime
) -> Batch | None:
    """Begin canceling. Idempotent while canceling. Raises: InvalidRequest once ended."""
    row = connection.execute(
        select(batches).where(_mine(batch_id, workspace_id)).with_for_update()
    ).one_or_none()
    if row is None:
        return None
    canceled = lifecycle.cancel(_batch(row), now=now)
    assert canceled.cancel_initiated_at is not None
    if row.status == canceled.status:
        return canceled
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(status=canceled.status, cancel_initiated_at=to_us(canceled.cancel_initiated_at))
    )
    outbox.record(connection, canceled, "message_batch.canceling", at=now)
    return canceled


def stop(connection: Connection, batch_id: BatchId, *, by: BudgetScope, rest_as: Unsent) -> bool:
    """Send nothing more of a batch; False when it was stopped or canceled before, or has ended."""
    changed = connection.execute(
        update(batches)
        .where(
            batches.c.id == batch_id,
            batches.c.status == "in_progress",
            batches.c.stopped_as.is_(None),
        )
        .values(stopped_by=by, stopped_as=rest_as)
    )
    return changed.rowcount == 1


def mark_deleted(
    connection: Connection, batch_id: str, workspace_id: WorkspaceId, *, now: datetime
) -> bool:
    """Make a batch disappear. False when there is none. Raises: InvalidRequest before the end."""
    row = connection.execute(
        select(batches).where(_mine(batch_id, workspace_id)).with_for_update()
    ).one_or_none()
    if row is None:
        return False
    batch = _batch(row)
    lifecycle.refuse_delete(batch)
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(deleted_at=to_us(now), idempotency_key=None)
    )
    outbox.record(connection, batch, "message_batch.deleted", at=now)
    return True


def unplanned(connection: Connection, *, limit: int) -> list[Batch]:
    """Give the batches that wait for their plan, oldest first."""
    rows = connection.execute(
        select(batches)
        .where(batches.c.planned_at.is_(None))
        .order_by(batches.c.created_at)
        .limit(limit)
    ).all()
    return [_batch(row) for row in rows]


def mark_planned(
    connection: Connection,
    batch_id: BatchId,
    *,
    plan_key: str,
    now: datetime,
    auto_cached: int | None = None,
) -> bool:
    """Store the plan once; False when another planner was faster."""
    changed = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.planned_at.is_(None))
        .values(planned_at=to_us(now), plan_key=plan_key, auto_cached_requests=auto_cached)
    )
    return changed.rowcount == 1


def planned(connection: Connection, batch_ids: Collection[BatchId]) -> dict[BatchId, Plan]:
    rows = connection.execute(_OF_IDS, {"ids": list(batch_ids)})
    return {row.id: Plan(batch=_batch(row), plan_key=row.plan_key) for row in rows}


def standings(connection: Connection, batch_ids: Sequence[BatchId]) -> dict[BatchId, Standing]:
    rows = connection.execute(_STANDINGS, {"ids": batch_ids})
    return {
        row.id: Standing(
            status=row.status,
            expires_at=from_us(row.expires_at),
            stopped_as=row.stopped_as,
            deleted=row.deleted_at is not None,
        )
        for row in rows
    }


def stopped(connection: Connection, *, now: datetime) -> list[BatchId]:
    """Give the running batches of which nothing more may be sent."""
    return list(connection.execute(_STOPPED, {"now": to_us(now)}).scalars())


def running(connection: Connection) -> list[Run]:
    """Give all batches that have not ended."""
    rows = connection.execute(_RUNNING)
    return [Run(row.id, row.request_count, from_us(row.expires_at)) for row in rows]


def queued(connection: Connection, workspace_id: WorkspaceId, *, key_id: str | None = None) -> int:
    """Count the requests of a workspace that have no outcome yet, or only those of one key."""
    conditions = [batches.c.workspace_id == workspace_id, batches.c.status != "ended"]
    if key_id is not None:
        conditions.append(batches.c.key_id == key_id)
    accepted = select(func.coalesce(func.sum(batches.c.request_count), 0)).where(*conditions)
    recorded = (
        select(func.coalesce(_OUTCOMES, 0))
        .join_from(shards, batches, shards.c.batch_id == batches.c.id)
        .where(*conditions)
    )
    # In one statement: a batch that ends between two would be counted whole.
    difference = accepted.scalar_subquery() - recorded.scalar_subquery()
    return int(connection.execute(select(difference)).scalar_one())


def live(connection: Connection, batch: Batch) -> Live:
    """Sum the shards' totals; for an ended batch the same as its frozen counts."""
    rows = connection.execute(_TOTALS, {"of_id": batch.id}).all()
    counts, usage = _sum(rows, batch.request_count)
    return Live(counts=counts, usage=usage)


def used(connection: Connection, batch_id: BatchId) -> UsageByModel:
    """Give what the requests of an ended batch used; nothing before the end."""
    text = connection.execute(select(batches.c.usage).where(batches.c.id == batch_id)).scalar_one()
    return decode_usage(text)


def recorded(connection: Connection, batch_ids: Sequence[BatchId]) -> dict[BatchId, int]:
    """Count the outcomes of each batch so far."""
    rows = connection.execute(_RECORDED, {"ids": batch_ids})
    return {row.batch_id: int(row.recorded) for row in rows}


def end_if_sealed(connection: Connection, batch_id: BatchId, *, now: datetime) -> Ended | None:
    """End the batch when its last shard is sealed: status, time, counts, usage in one change.

    Gives the batch to the one caller that ended it, to be charged in the same transaction.

    Locks the batch's row first: two workers that seal the last two shards at once must not both
    believe that the other's is still open.
    """
    asked = {"of_id": batch_id}
    row = connection.execute(_LOCKED, asked).one_or_none()
    if row is None or row.status == "ended" or row.planned_at is None:
        return None
    if connection.execute(_OPEN_SHARD, asked).first() is not None:
        return None
    rows = connection.execute(_TOTALS, asked).all()
    counts, usage = _sum(rows, row.request_count)
    ended = lifecycle.end(_batch(row), now=now, counts=counts)
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(
            status=ended.status,
            ended_at=to_us(now),
            succeeded=counts.succeeded,
            errored=counts.errored,
            canceled=counts.canceled,
            expired=counts.expired,
            usage=encode_usage(usage),
        )
    )
    outbox.record(connection, ended, "message_batch.ended", at=now)
    return Ended(batch=ended, usage=usage)


def due_for_archive(connection: Connection, *, now: datetime, limit: int) -> list[BatchId]:
    rows = connection.execute(
        select(batches.c.id)
        .where(
            batches.c.archived_at.is_(None),
            batches.c.retain_until <= to_us(now),
            batches.c.status == "ended",
            batches.c.deleted_at.is_(None),
        )
        .limit(limit)
    )
    return list(rows.scalars())


def mark_archived(connection: Connection, batch_id: BatchId, *, now: datetime) -> bool:
    row = connection.execute(_LOCKED, {"of_id": batch_id}).one_or_none()
    if row is None or row.deleted_at is not None:
        return False
    if row.archived_at is not None:
        return True
    archived = lifecycle.archive(_batch(row), now=now)
    connection.execute(
        update(batches).where(batches.c.id == batch_id).values(archived_at=to_us(now))
    )
    outbox.record(connection, archived, "message_batch.archived", at=now)
    return True


def spent_plans(connection: Connection, *, limit: int) -> list[tuple[BatchId, str]]:
    """Give the plan objects of ended batches, which nobody will read again."""
    rows = connection.execute(
        select(batches.c.id, batches.c.plan_key)
        .where(batches.c.plan_key.is_not(None), batches.c.ended_at.is_not(None))
        .limit(limit)
    )
    return [(row.id, row.plan_key) for row in rows]


def forget_plan(connection: Connection, batch_id: BatchId) -> None:
    connection.execute(update(batches).where(batches.c.id == batch_id).values(plan_key=None))


def deleted(connection: Connection, *, limit: int) -> list[BatchId]:
    """Give the deleted batches whose objects and shards are still there."""
    rows = connection.execute(
        select(batches.c.id)
        .where(batches.c.deleted_at.is_not(None), batches.c.input_key != "")
        .limit(limit)
    )
    return list(rows.scalars())


def purge(connection: Connection, batch_id: BatchId) -> None:
    """Empty a deleted batch for good. Idempotent.

    Its row stays until its retention has passed: clients page through a list while they delete
    what it shows, with the last deleted batch as their cursor. Of an archived one it has passed.
    """
    connection.execute(delete(shards).where(shards.c.batch_id == batch_id))
    connection.execute(
        delete(batches).where(
            batches.c.id == batch_id,
            batches.c.deleted_at.is_not(None),
            batches.c.archived_at.is_not(None),
        )
    )
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.deleted_at.is_not(None))
        .values(input_key="", plan_key=None)
    )


def forget_purged(connection: Connection, *, now: datetime) -> None:
    """Remove the rows of emptied batches whose retention has passed."""
    connection.execute(
        delete(batches).where(
            batches.c.archived_at.is_(None),
            batches.c.retain_until <= to_us(now),
            batches.c.input_key == "",
        )
    )


def known(connection: Connection, batch_ids: Sequence[str]) -> set[str]:
    """Give those ids that have a row."""
    return set(
        connection.execute(select(batches.c.id).where(batches.c.id.in_(batch_ids))).scalars()
    )


def _mine(batch_id: str, workspace_id: WorkspaceId) -> ColumnElement[bool]:
    return and_(
        batches.c.id == findable(batch_id),
        batches.c.workspace_id == workspace_id,
        batches.c.deleted_at.is_(None),
    )


def _sum(rows: Sequence[Row[*tuple[Any, ...]]], request_count: int) -> tuple[Counts, UsageByModel]:
    succeeded = sum(row.succeeded for row in rows)
    errored = sum(row.errored for row in rows)
    canceled = sum(row.canceled for row in rows)
    expired = sum(row.expired for row in rows)
    usage: UsageByModel = {}
    for row in rows:
        usage = add_usage(usage, decode_usage(row.usage))
    counts = Counts(
        processing=request_count - succeeded - errored - canceled - expired,
        succeeded=succeeded,
        errored=errored,
        canceled=canceled,
        expired=expired,
    )
    return counts, usage


def _batch(row: Row[*tuple[Any, ...]]) -> Batch:
    recorded = row.succeeded + row.errored + row.canceled + row.expired
    return Batch(
        id=row.id,
        workspace_id=row.workspace_id,
        status=row.status,
        created_at=from_us(row.created_at),
        expires_at=from_us(row.expires_at),
        retain_until=from_us(row.retain_until),
        ended_at=from_optional_us(row.ended_at),
        cancel_initiated_at=from_optional_us(row.cancel_initiated_at),
        archived_at=from_optional_us(row.archived_at),
        planned_at=from_optional_us(row.planned_at),
        api_version=row.api_version,
        betas=tuple(row.betas.split(",")) if row.betas else (),
        user_profile_id=row.user_profile_id,
        estimate_id=row.estimate_id,
        auto_cache=row.auto_cache,
        auto_cached_requests=row.auto_cached_requests,
        key_id=row.key_id,
        max_cost_usd=_decimal(row.max_cost_usd),
        least_usd=_decimal(row.least_usd),
        stopped_by=row.stopped_by,
        stopped_as=row.stopped_as,
        request_count=row.request_count,
        input_key=row.input_key,
        input_bytes=row.input_bytes,
        counts=Counts(
            processing=row.request_count - recorded,
            succeeded=row.succeeded,
            errored=row.errored,
            canceled=row.canceled,
            expired=row.expired,
        ),
    )


def _text(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd:f}"


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
