"""What callers were quoted, kept so that a batch can be compared with it."""

from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Connection, insert, select

from overnight.model import WorkspaceId
from overnight.store.schema import estimates, to_us


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """A cost range before the fact; both ends are equal where it is one amount."""

    id: str
    low_usd: Decimal
    high_usd: Decimal


def create(
    connection: Connection, estimate: Estimated, *, workspace_id: WorkspaceId, now: datetime
) -> None:
    connection.execute(
        insert(estimates).values(
            id=estimate.id,
            workspace_id=workspace_id,
            created_at=to_us(now),
            low_usd=f"{estimate.low_usd:f}",
            high_usd=f"{estimate.high_usd:f}",
        )
    )


def find(connection: Connection, estimate_id: str, workspace_id: WorkspaceId) -> Estimated | None:
    """Find an estimate of a workspace; those of others do not exist."""
    row = connection.execute(
        select(estimates).where(
            estimates.c.id == estimate_id, estimates.c.workspace_id == workspace_id
        )
    ).one_or_none()
    if row is None:
        return None
    return Estimated(id=row.id, low_usd=Decimal(row.low_usd), high_usd=Decimal(row.high_usd))
