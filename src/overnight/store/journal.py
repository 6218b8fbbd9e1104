"""Questions about the journal: what is recorded of shards that are not sealed yet."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from overnight.store.batches import encode_usage
from overnight.store.prepared import Prepared
from overnight.store.schema import journal, shards, to_us
from overnight.store.shards import ShardKey, Totals, is_unsealed


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """New outcomes of one shard, to be journaled together."""

    key: ShardKey
    fence: int
    before: Totals
    after: Totals
    positions: bytes
    lines: bytes


_recorded_total = shards.c.succeeded + shards.c.errored + shards.c.canceled + shards.c.expired

# Statements that run often are built once: building costs more than running them.
_RECORD = Prepared(
    update(shards)
    .where(
        shards.c.batch_id == bindparam("of_batch"),
        shards.c.number == bindparam("of_shard"),
        shards.c.fence == bindparam("of_fence"),
        _recorded_total == bindparam("of_recorded"),
    )
    .values(
        succeeded=bindparam("succeeded"),
        errored=bindparam("errored"),
        canceled=bindparam("canceled"),
        expired=bindparam("expired"),
        usage=bindparam("usage"),
        lease_expires_at=bindparam("lease_expires_at"),
    )
)
_JOURNAL = Prepared(
    insert(journal)
    .inline()
    .values(
        batch_id=bindparam("batch_id"),
        shard=bindparam("shard"),
        positions=bindparam("positions"),
        lines=bindparam("lines"),
    )
)
_LINES = (
    select(journal.c.lines)
    .where(journal.c.batch_id == bindparam("of_batch"), journal.c.shard == bindparam("of_shard"))
    .order_by(journal.c.id)
)


def record(
    connection: Connection, recordings: Sequence[Recording], *, until: datetime
) -> set[ShardKey]:
    """Journal outcomes, move the totals and renew the leases, all or nothing.

    Gives the shards whose lease is lost: nothing of them was written. Safe to repeat after a
    commit whose answer was lost: the totals tell that the recording is there already.
    """
    lost = set()
    lease_expires_at = to_us(until)
    for recording in recordings:
        key, before, after = recording.key, recording.before, recording.after
        moved = _RECORD.run(
            connection,
            {
                "of_batch": key.batch_id,
                "of_shard": key.number,
                "of_fence": recording.fence,
                "of_recorded": before.recorded,
                "succeeded": after.succeeded,
                "errored": after.errored,
                "canceled": after.canceled,
                "expired": after.expired,
                "usage": encode_usage(after.usage),
                "lease_expires_at": lease_expires_at,
            },
        )
        if moved:
            _JOURNAL.run(
                connection,
                {
                    "batch_id": key.batch_id,
                    "shard": key.number,
                    "positions": recording.positions,
                    "lines": recording.lines,
                },
            )
        elif not _is_recorded(connection, recording):
            lost.add(key)
    return lost


def lines(connection: Connection, key: ShardKey, *, fence: int) -> list[bytes] | None:
    """Give the journaled lines of a shard in the order in which they were recorded.

    None when the shard is sealed already or the lease is lost: the lines may be gone then.
    """
    rows = connection.execute(_LINES, {"of_batch": key.batch_id, "of_shard": key.number})
    parts = [bytes(part) for part in rows.scalars()]
    # Asked afterwards: what is unsealed now had all its lines a moment ago.
    return parts if is_unsealed(connection, key, fence=fence) else None


def _is_recorded(connection: Connection, recording: Recording) -> bool:
    found = connection.execute(
        select(shards.c.fence).where(
            shards.c.batch_id == recording.key.batch_id,
            shards.c.number == recording.key.number,
            shards.c.fence == recording.fence,
            _recorded_total == recording.after.recorded,
        )
    ).first()
    return found is not None
