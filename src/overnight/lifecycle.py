"""How a batch may change: one table, and a verb for each row of it. Pure."""

from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from overnight.errors import InvalidRequest
from overnight.model import Batch, BatchStatus, Counts, Unsent

# (from, verb) → to. `docs/concepts/how-it-works.md` shows this table.
TRANSITIONS: dict[tuple[BatchStatus, str], BatchStatus] = {
    ("in_progress", "cancel"): "canceling",
    ("canceling", "cancel"): "canceling",
    ("in_progress", "end"): "ended",
    ("canceling", "end"): "ended",
    ("ended", "archive"): "ended",
}


def cancel(batch: Batch, *, now: datetime) -> Batch:
    """Ask a batch to stop: idempotent while canceling, refused once ended."""
    if batch.status == "ended":
        raise InvalidRequest(
            f"Message Batch {batch.id} has ended and cannot be canceled.",
            hint="its results can be read until they are archived",
        )
    if batch.status == "canceling":
        return batch
    return replace(batch, status="canceling", cancel_initiated_at=now)


def end(batch: Batch, *, now: datetime, counts: Counts) -> Batch:
    """End a batch with its final counts; every request must have its outcome."""
    assert batch.status != "ended", f"{batch.id} ended twice"
    assert counts.processing == 0 and counts.total == batch.request_count, f"{batch.id}: {counts}"
    return replace(batch, status="ended", ended_at=now, counts=counts)


def archive(batch: Batch, *, now: datetime) -> Batch:
    """Close the results of an ended batch whose retention has passed; idempotent."""
    assert batch.status == "ended" and now >= batch.retain_until
    return batch if batch.archived_at else replace(batch, archived_at=now)


def refuse_delete(batch: Batch) -> None:
    """Raise unless the batch may be deleted now."""
    if batch.status != "ended":
        raise InvalidRequest(
            "In progress batches cannot be deleted. Consider canceling the batch instead."
        )


def fate(
    status: BatchStatus, expires_at: datetime, stopped_as: Unsent | None = None, *, now: datetime
) -> Unsent | Literal["send"]:
    """Say what happens to a request, not sent yet, of a batch in this state.

    `stopped_as` is set where a budget is used up.
    """
    if status == "canceling":
        return "canceled"
    if now >= expires_at:
        return "expired"
    return stopped_as or "send"
