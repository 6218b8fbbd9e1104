"""The Message Batches objects, exactly as they travel: key order, nulls, timestamps.

Source: protocol notes §3 (recorded cassettes and SDK 2.12 types, read 2026-11).
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from overnight.model import Batch, BatchStatus, Counts
from overnight.wire.schema import rule

CUSTOM_ID_PATTERN = "^[a-zA-Z0-9_-]{1,64}$"


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The batch object; every key is always present."""

    id: str
    type: Literal["message_batch"]
    processing_status: BatchStatus
    request_counts: RequestCounts
    ended_at: str | None
    created_at: str
    expires_at: str
    archived_at: str | None
    cancel_initiated_at: str | None
    results_url: str | None


class MessageBatchPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedMessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


class EnvelopeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request of a create call; `params` stays the caller's bytes."""

    custom_id: Annotated[str, rule(pattern=CUSTOM_ID_PATTERN)]
    params: Annotated[msgspec.Raw, rule(type="object")]


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a create call."""

    requests: Annotated[list[EnvelopeRequest], rule(minItems=1)]


def timestamp(at: datetime | None) -> str | None:
    """Write a moment as the wire does: microseconds and `+00:00`."""
    return None if at is None else moment(at)


def moment(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def request_counts(counts: Counts) -> RequestCounts:
    return RequestCounts(
        processing=counts.processing,
        succeeded=counts.succeeded,
        errored=counts.errored,
        canceled=counts.canceled,
        expired=counts.expired,
    )


def message_batch(batch: Batch, *, base_url: str) -> MessageBatch:
    """Show a batch to its owner.

    `base_url` is where the client reached us, without a trailing slash: SDKs send their
    credential to `results_url`, so it must have the origin that the client trusts.
    """
    ended = batch.status == "ended"
    return MessageBatch(
        id=batch.id,
        type="message_batch",
        processing_status=batch.status,
        request_counts=request_counts(batch.counts),
        ended_at=timestamp(batch.ended_at),
        created_at=moment(batch.created_at),
        expires_at=moment(batch.expires_at),
        archived_at=timestamp(batch.archived_at),
        cancel_initiated_at=timestamp(batch.cancel_initiated_at),
        results_url=f"{base_url}/v1/messages/batches/{batch.id}/results" if ended else None,
    )
