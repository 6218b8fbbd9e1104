"""Events as webhooks carry them, and the log of their deliveries. Both are ours.

The envelope is that of the hosted service's other webhooks (protocol notes §14, read 2026-11).
"""

from datetime import UTC
from typing import Literal

import msgspec

from overnight.errors import NotFound
from overnight.model import Delivery, DeliveryState, Event, EventType
from overnight.wire.batches import moment, timestamp


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    # What became true.
    type: EventType
    # The batch; of a test the endpoint.
    id: str
    # The same for all workspaces of a service.
    organization_id: str
    # Whose batch it is.
    workspace_id: str


class EventEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook."""

    # Always `event`.
    type: Literal["event"] = "event"
    # Equal in every delivery of the event: receivers that saw it before can ignore it.
    id: str
    # When it became true.
    created_at: str
    # What it is about.
    data: EventData


class DeliveryObject(msgspec.Struct, frozen=True, kw_only=True):
    """How the delivery of one event to one endpoint stands."""

    # The header `webhook-id` of each attempt.
    event_id: str
    # The endpoint.
    webhook_id: str
    # What became true.
    event_type: EventType
    # The batch; of a test the endpoint.
    subject_id: str
    # When the event became true.
    created_at: str
    # `failed` once all attempts have failed.
    state: DeliveryState
    # Attempts so far, one under way included.
    attempts: int
    # An attempt is under way.
    under_way: bool
    # Null when none is due; of an attempt under way when it is taken for lost.
    next_attempt_at: str | None
    # When the last attempt began.
    last_attempt_at: str | None
    # HTTP status of the last answer; null without one.
    last_status: int | None
    # What was wrong with the last attempt.
    last_error: str | None
    # From the beginning of the last attempt to its end.
    last_duration_ms: int | None
    # When the receiver acknowledged it last.
    acknowledged_at: str | None


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[DeliveryObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


def event_body(event: Event, *, organization_id: str) -> bytes:
    """Write the body that is signed; the same at each attempt."""
    created_at = event.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    envelope = EventEnvelope(
        id=event.id,
        created_at=created_at.replace("+00:00", "Z"),
        data=EventData(
            type=event.type,
            id=event.subject_id,
            organization_id=organization_id,
            workspace_id=event.workspace_id,
        ),
    )
    return msgspec.json.encode(envelope)


def delivery_object(delivery: Delivery) -> DeliveryObject:
    return DeliveryObject(
        event_id=delivery.event.id,
        webhook_id=delivery.webhook_id,
        event_type=delivery.event.type,
        subject_id=delivery.event.subject_id,
        created_at=moment(delivery.event.created_at),
        state=delivery.state,
        attempts=delivery.attempts,
        under_way=delivery.under_way,
        next_attempt_at=timestamp(delivery.next_attempt_at),
        last_attempt_at=timestamp(delivery.last_attempt_at),
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        last_duration_ms=delivery.last_duration_ms,
        acknowledged_at=timestamp(delivery.acknowledged_at),
    )


def unknown_delivery(event_id: str) -> NotFound:
    return NotFound(f"Webhook event {event_id} was not sent to this endpoint.")
