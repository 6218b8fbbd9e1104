"""The audit log: acts, written in the transaction of what was done, and never changed."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select

from overnight.audit import Act, Actor, Outcome
from overnight.store import listing
from overnight.store.listing import Place, findable
from overnight.store.schema import acts, from_us, to_us


def record(connection: Connection, act: Act) -> None:
    """Write an act. To be called in the transaction that it is about."""
    actor = act.actor
    connection.execute(
        insert(acts).values(
            id=act.id,
            created_at=to_us(act.created_at),
            action=act.action,
            outcome=act.outcome,
            status=act.status,
            actor=actor.kind,
            key_id=actor.key_id,
            actor_name=actor.name,
            address=actor.address,
            forwarded_for=actor.forwarded_for,
            workspace_id=act.workspace_id,
            subject_id=act.subject_id,
            request_id=act.request_id,
            details=msgspec.json.encode(act.details).decode(),
        )
    )


def page(
    connection: Connection,
    *,
    limit: int,
    after: Place | None = None,
    before: Place | None = None,
    action: str | None = None,
    outcome: Outcome | None = None,
    key_id: str | None = None,
    subject_id: str | None = None,
) -> tuple[list[Act], bool]:
    """List newest first, beyond a cursor; and tell whether more follow in that direction."""
    question = select(acts)
    for column, wanted in (
        (acts.c.action, action),
        (acts.c.outcome, outcome),
        (acts.c.key_id, key_id),
        (acts.c.subject_id, subject_id),
    ):
        if wanted is not None:
            question = question.where(column == findable(wanted))
    rows, has_more = listing.page(
        connection, question, acts, limit=limit, after=after, before=before
    )
    return [_act(row) for row in rows], has_more


def cursor(connection: Connection, act_id: str) -> Place | None:
    return listing.place(connection, acts, act_id)


def forget(connection: Connection, *, before: datetime, limit: int) -> int:
    """Remove the oldest acts from before a moment; give how many."""
    old = (
        select(acts.c.id)
        .where(acts.c.created_at < to_us(before))
        .order_by(acts.c.created_at)
        .limit(limit)
    )
    return connection.execute(delete(acts).where(acts.c.id.in_(old))).rowcount


def _act(row: Row[*tuple[Any, ...]]) -> Act:
    return Act(
        id=row.id,
        created_at=from_us(row.created_at),
        action=row.action,
        outcome=row.outcome,
        status=row.status,
        actor=Actor(
            kind=row.actor,
            key_id=row.key_id,
            name=row.actor_name,
            address=row.address,
            forwarded_for=row.forwarded_for,
        ),
        workspace_id=row.workspace_id,
        subject_id=row.subject_id,
        request_id=row.request_id,
        details=msgspec.json.decode(row.details),
    )
