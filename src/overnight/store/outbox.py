"""The outbox: events, written in the transaction that makes them true, and their deliveries."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from overnight.model import (
    Batch,
    BatchEvent,
    Delivery,
    DeliveryState,
    Event,
    EventId,
    EventType,
    Webhook,
    WebhookId,
    WorkerId,
    WorkspaceId,
    new_event_id,
)
from overnight.store.listing import findable
from overnight.store.schema import deliveries, events, from_optional_us, from_us, to_us
from overnight.store.webhooks import subscribers

_COLUMNS = (*deliveries.c, events.c.id, events.c.type, events.c.workspace_id, events.c.created_at)


class Key(NamedTuple):
    """Which delivery: one event to one webhook."""

    webhook_id: WebhookId
    event_number: int


class Line(NamedTuple):
    """The events of one subject on their way to one webhook: first sent one after the other."""

    webhook_id: WebhookId
    subject_id: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt came to."""

    at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None


def record(connection: Connection, batch: Batch, event: BatchEvent, *, at: datetime) -> None:
    """Write that something became true of a batch, if anyone is to be told.

    To be called in the transaction that makes it true, and only when it was not so before.
    """
    told = subscribers(connection, batch.workspace_id, event)
    if told:
        _write(connection, event, batch.id, batch.workspace_id, told, at)


def record_test(connection: Connection, webhook: Webhook, *, at: datetime) -> EventId:
    """Write an event that goes to one webhook, whatever it subscribes to."""
    return _write(
        connection, "webhook_endpoint.test", webhook.id, webhook.workspace_id, [webhook.id], at
    )


def due(
    connection: Connection,
    *,
    now: datetime,
    limit: int,
    without: Collection[WebhookId] = (),
) -> list[Delivery]:
    """Give deliveries whose next attempt is due, the longest due first, but those to some."""
    rows = connection.execute(
        _joined()
        .where(deliveries.c.next_attempt_at <= to_us(now), deliveries.c.webhook_id.not_in(without))
        .order_by(deliveries.c.next_attempt_at, deliveries.c.event_number)
        .limit(limit)
    )
    return [_delivery(row) for row in rows]


def backlog(connection: Connection, *, now: datetime) -> tuple[int, datetime | None]:
    """Give how many deliveries are due, and since when the first of them has been."""
    row = connection.execute(
        select(func.count(), func.min(deliveries.c.next_attempt_at)).where(
            deliveries.c.next_attempt_at <= to_us(now)
        )
    ).one()
    return row[0], from_optional_us(row[1])


def unsettled(connection: Connection, found: Sequence[Delivery]) -> dict[Line, int]:
    """Give the number of the first event, in each line, of which no attempt has ended yet."""
    rows = connection.execute(
        select(
            deliveries.c.webhook_id,
            deliveries.c.subject_id,
            func.min(deliveries.c.event_number).label("number"),
        )
        .where(
            deliveries.c.subject_id.in_({delivery.event.subject_id for delivery in found}),
            deliveries.c.state == "pending",
            deliveries.c.tries == 0,
        )
        .group_by(deliveries.c.webhook_id, deliveries.c.subject_id)
    )
    return {Line(row.webhook_id, row.subject_id): row.number for row in rows}


def claim(
    connection: Connection,
    owner: WorkerId,
    keys: Collection[Key],
    *,
    now: datetime,
    until: datetime,
) -> list[Delivery]:
    """Begin an attempt at each delivery that is still due; others may take it over after `until`.

    Not idempotent; an attempt whose outcome is never recorded is made again.
    """
    rows = connection.execute(
        _joined()
        .where(_among(keys), deliveries.c.next_attempt_at <= to_us(now))
        .order_by(deliveries.c.next_attempt_at, deliveries.c.event_number)
        .with_for_update(skip_locked=True, of=deliveries)
    ).all()
    if not rows:
        return []
    connection.execute(
        update(deliveries)
        .where(_among([Key(row.webhook_id, row.event_number) for row in rows]))
        .values(
            owner=owner,
            attempts=deliveries.c.attempts + 1,
            next_attempt_at=to_us(until),
            last_attempt_at=to_us(now),
        )
    )
    return [
        msgspec.structs.replace(
            _delivery(row), attempts=row.attempts + 1, under_way=True, last_attempt_at=now
        )
        for row in rows
    ]


def park(connection: Connection, keys: Collection[Key]) -> None:
    """Let deliveries rest until their webhook is enabled."""
    connection.execute(update(deliveries).where(_among(keys)).values(next_attempt_at=None))


def resume(connection: Connection, webhook_id: WebhookId, *, now: datetime) -> None:
    """Put all that is pending for a webhook on its way again, from the start of the back-off."""
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.webhook_id == webhook_id,
            deliveries.c.state == "pending",
            deliveries.c.owner.is_(None),
        )
        .values(next_attempt_at=to_us(now), tries=0)
    )


def acknowledge(connection: Connection, delivery: Delivery, report: Report) -> None:
    """Note that the receiver has the event, also if this attempt had been taken for lost."""
    connection.execute(
        update(deliveries)
        .where(_is(delivery), deliveries.c.state == "pending")
        .values(
            _reported(report)
            | {
                "state": "acknowledged",
                "owner": None,
                "next_attempt_at": None,
                "tries": delivery.tries + 1,
                "acknowledged_at": to_us(report.at),
            }
        )
    )


def note_failure(
    connection: Connection, delivery: Delivery, report: Report, *, retry_at: datetime | None
) -> None:
    """Note that an attempt failed, and when the next one is due; None gives up.

    Nothing changes when this attempt had been taken for lost: another one counts now.
    """
    state: DeliveryState = "failed" if retry_at is None else "pending"
    connection.execute(
        update(deliveries)
        .where(
            _is(delivery),
            deliveries.c.state == "pending",
            deliveries.c.attempts == delivery.attempts,
        )
        .values(
            _reported(report)
            | {
                "state": state,
                "owner": None,
                "next_attempt_at": None if retry_at is None else to_us(retry_at),
                "tries": delivery.tries + 1,
            }
        )
    )


def owners(connection: Connection) -> list[WorkerId]:
    """Give the workers with attempts under way."""
    question = select(deliveries.c.owner).where(deliveries.c.owner.is_not(None)).distinct()
    return list(connection.execute(question).scalars())


def release(connection: Connection, of: Collection[WorkerId], *, now: datetime) -> int:
    """Make attempts due again whose workers will not tell what they came to."""
    return connection.execute(
        update(deliveries)
        .where(deliveries.c.owner.in_(of))
        .values(owner=None, next_attempt_at=to_us(now))
    ).rowcount


def redeliver(connection: Connection, delivery: Delivery, *, now: datetime) -> None:
    """Put an event on its way again; one that is under way goes on."""
    connection.execute(
        update(deliveries)
        .where(_is(delivery), deliveries.c.owner.is_(None))
        .values(state="pending", tries=0, next_attempt_at=to_us(now))
    )


def find(connection: Connection, webhook_id: WebhookId, event_id: str) -> Delivery | None:
    row = connection.execute(
        _joined().where(
            events.c.id == findable(event_id),
            deliveries.c.webhook_id == webhook_id,
        )
    ).one_or_none()
    return None if row is None else _delivery(row)


def page(
    connection: Connection,
    webhook_id: WebhookId,
    *,
    limit: int,
    state: DeliveryState | None = None,
    after: int | None = None,
    before: int | None = None,
) -> tuple[list[Delivery], bool]:
    """List the deliveries to a webhook, the newest event first, beyond the number of one.

    Tells also whether more follow in that direction: `after` is the older side, `before` the
    newer.
    """
    question = _joined().where(deliveries.c.webhook_id == webhook_id)
    number = deliveries.c.event_number
    if state is not None:
        question = question.where(deliveries.c.state == state)
    if before is not None:
        question = question.where(number > before).order_by(number)
    elif after is not None:
        question = question.where(number < after).order_by(number.desc())
    else:
        question = question.order_by(number.desc())
    rows = connection.execute(question.limit(limit + 1)).all()
    found = [_delivery(row) for row in rows[:limit]]
    return (found[::-1] if before is not None else found), len(rows) > limit


def forget(connection: Connection, *, before: datetime, limit: int) -> int:
    """Remove the oldest events from before a moment with their deliveries; give how many."""
    old = (
        select(events.c.number)
        .where(events.c.created_at < to_us(before))
        .order_by(events.c.created_at)
        .limit(limit)
    )
    return connection.execute(delete(events).where(events.c.number.in_(old))).rowcount


def _write(
    connection: Connection,
    kind: EventType,
    subject_id: str,
    workspace_id: WorkspaceId,
    told: Sequence[WebhookId],
    at: datetime,
) -> EventId:
    event_id = new_event_id()
    number = connection.execute(
        insert(events)
        .values(
            id=event_id,
            type=kind,
            subject_id=subject_id,
            workspace_id=workspace_id,
            created_at=to_us(at),
        )
        .returning(events.c.number)
    ).scalar_one()
    connection.execute(
        insert(deliveries),
        [
            {
                "webhook_id": webhook_id,
                "event_number": number,
                "subject_id": subject_id,
                "state": "pending",
                "next_attempt_at": to_us(at),
            }
            for webhook_id in told
        ],
    )
    return event_id


def _joined() -> Select[*tuple[Any, ...]]:
    return select(*_COLUMNS).join(events, events.c.number == deliveries.c.event_number)


def _among(keys: Collection[Key]) -> ColumnElement[bool]:
    return tuple_(deliveries.c.webhook_id, deliveries.c.event_number).in_(keys)


def _is(delivery: Delivery) -> ColumnElement[bool]:
    return and_(
        deliveries.c.webhook_id == delivery.webhook_id,
        deliveries.c.event_number == delivery.event.number,
    )


def _reported(report: Report) -> dict[str, Any]:
    return {
        "last_status": report.status,
        "last_error": report.error,
        "last_duration_ms": report.duration_ms,
    }


def _delivery(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(
        webhook_id=row.webhook_id,
        event=Event(
            number=row.event_number,
            id=row.id,
            type=row.type,
            subject_id=row.subject_id,
            workspace_id=row.workspace_id,
            created_at=from_us(row.created_at),
        ),
        state=row.state,
        attempts=row.attempts,
        tries=row.tries,
        next_attempt_at=from_optional_us(row.next_attempt_at),
        under_way=row.owner is not None,
        last_attempt_at=from_optional_us(row.last_attempt_at),
        last_status=row.last_status,
        last_error=row.last_error,
        last_duration_ms=row.last_duration_ms,
        acknowledged_at=from_optional_us(row.acknowledged_at),
    )
