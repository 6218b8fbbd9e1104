"""Questions about webhook endpoints and the changes they go through.

Who changes an endpoint together with its deliveries locks the endpoint first: the one order in
which nobody waits for somebody who waits. No lock here keeps an event from being written.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from overnight.errors import InvalidRequest
from overnight.model import BatchEvent, Webhook, WebhookId, WorkspaceId
from overnight.store.listing import findable
from overnight.store.schema import from_optional_us, from_us, to_us, webhooks

MAX_WEBHOOKS = 32

# Built once: asked whenever something becomes true of a batch.
_SUBSCRIBERS = (
    select(webhooks.c.id, webhooks.c.events)
    .where(webhooks.c.workspace_id == bindparam("of_workspace"), webhooks.c.state == "enabled")
    .order_by(webhooks.c.id)
    .with_for_update(read=True, key_share=True)
)


def create(connection: Connection, webhook: Webhook) -> None:
    """Raises: InvalidRequest when the workspace has as many as it may."""
    mine = webhooks.c.workspace_id == webhook.workspace_id
    # Of two creates at once the second waits here, and counts what the first has added.
    listed = select(webhooks.c.id).where(mine).order_by(webhooks.c.id)
    connection.execute(listed.with_for_update(key_share=True)).all()
    count = connection.execute(select(func.count()).select_from(webhooks).where(mine)).scalar_one()
    if count >= MAX_WEBHOOKS:
        raise InvalidRequest(
            f"This workspace has {count} webhook endpoints, at most {MAX_WEBHOOKS}",
            hint="delete one that is no longer needed",
        )
    connection.execute(insert(webhooks).values(id=webhook.id, **_values(webhook)))


def find(
    connection: Connection, webhook_id: str, workspace_id: WorkspaceId, *, lock: bool = False
) -> Webhook | None:
    """Find an endpoint of a workspace, to be changed with `lock`; those of others do not exist."""
    question = select(webhooks).where(
        webhooks.c.id == findable(webhook_id),
        webhooks.c.workspace_id == workspace_id,
    )
    if lock:
        question = question.with_for_update(key_share=True)
    row = connection.execute(question).one_or_none()
    return None if row is None else _webhook(row)


def of_workspace(connection: Connection, workspace_id: WorkspaceId) -> list[Webhook]:
    """Give all endpoints of a workspace, the newest first."""
    rows = connection.execute(
        select(webhooks)
        .where(webhooks.c.workspace_id == workspace_id)
        .order_by(webhooks.c.created_at.desc(), webhooks.c.id.desc())
    )
    return [_webhook(row) for row in rows]


def subscribers(
    connection: Connection, workspace_id: WorkspaceId, event: BatchEvent
) -> list[WebhookId]:
    """Give the enabled endpoints of a workspace that want to be told of such an event.

    They are there until the transaction ends.
    """
    rows = connection.execute(_SUBSCRIBERS, {"of_workspace": workspace_id})
    return [row.id for row in rows if event in row.events.split(",")]


def held(connection: Connection, webhook_ids: Collection[WebhookId]) -> dict[WebhookId, Webhook]:
    """Give endpoints as they are, and keep them so until the transaction ends."""
    rows = connection.execute(
        select(webhooks)
        .where(webhooks.c.id.in_(webhook_ids))
        .order_by(webhooks.c.id)
        .with_for_update(read=True)
    )
    return {row.id: _webhook(row) for row in rows}


def change(connection: Connection, webhook: Webhook) -> None:
    """Store an endpoint that `find` gave, locked, and that was changed since."""
    connection.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(_values(webhook)))


def remove(connection: Connection, webhook_id: WebhookId) -> None:
    """Delete an endpoint with the log of its deliveries."""
    connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))


def note_success(connection: Connection, webhook_id: WebhookId) -> None:
    """Note that an attempt was acknowledged: it fails no longer, if it did."""
    connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.failing_since.is_not(None))
        .values(failing_since=None)
    )


def note_failure(connection: Connection, webhook: Webhook, *, now: datetime) -> datetime:
    """Note that an attempt failed; give since when all have, `now` if it was changed meanwhile."""
    unchanged = _unchanged(webhook)
    # Also when it has been failing: the lock comes before that of the delivery.
    connection.execute(
        update(webhooks)
        .where(*unchanged)
        .values(failing_since=func.coalesce(webhooks.c.failing_since, to_us(now)))
    )
    question = select(webhooks.c.failing_since).where(*unchanged)
    since = connection.execute(question).scalar_one_or_none()
    return now if since is None else from_us(since)


def disable(connection: Connection, webhook: Webhook, reason: str, *, now: datetime) -> bool:
    """Disable an endpoint for what its target did; False when it was changed meanwhile."""
    changed = connection.execute(
        update(webhooks)
        .where(*_unchanged(webhook), webhooks.c.state == "enabled")
        .values(state="disabled", disabled_reason=reason, updated_at=to_us(now))
    )
    return changed.rowcount == 1


def _unchanged(webhook: Webhook) -> tuple[ColumnElement[bool], ...]:
    return webhooks.c.id == webhook.id, webhooks.c.updated_at == to_us(webhook.updated_at)


def _values(webhook: Webhook) -> dict[str, Any]:
    return {
        "workspace_id": webhook.workspace_id,
        "url": webhook.url,
        "events": ",".join(webhook.events),
        "name": webhook.name,
        "description": webhook.description,
        "state": webhook.state,
        "disabled_reason": webhook.disabled_reason,
        "created_at": to_us(webhook.created_at),
        "updated_at": to_us(webhook.updated_at),
        "failing_since": None if webhook.failing_since is None else to_us(webhook.failing_since),
        "seed": webhook.seed,
        "previous_seed": webhook.previous_seed,
        "previous_until": (
            None if webhook.previous_until is None else to_us(webhook.previous_until)
        ),
    }


def _webhook(row: Row[*tuple[Any, ...]]) -> Webhook:
    return Webhook(
        id=row.id,
        workspace_id=row.workspace_id,
        url=row.url,
        events=tuple(row.events.split(",")),
        name=row.name,
        description=row.description,
        state=row.state,
        disabled_reason=row.disabled_reason,
        created_at=from_us(row.created_at),
        updated_at=from_us(row.updated_at),
        failing_since=from_optional_us(row.failing_since),
        seed=row.seed,
        previous_seed=row.previous_seed,
        previous_until=from_optional_us(row.previous_until),
    )
