"""Lists that clients page through: newest first, by a cursor that names a row."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, or_, select

from overnight.store.schema import from_us, to_us


class Place(NamedTuple):
    """Where a row stands in a list; it need not exist any more."""

    created_at: datetime
    id: str


def page(
    connection: Connection,
    question: Select[*tuple[Any, ...]],
    table: Table,
    *,
    limit: int,
    after: Place | None = None,
    before: Place | None = None,
) -> tuple[list[Row[*tuple[Any, ...]]], bool]:
    """Give rows newest first, beyond a cursor; and tell whether more follow in that direction.

    `after` gives the rows next to the cursor on the older side, `before` those next to it on the
    newer side. The table has columns `created_at` and `id`.
    """
    created_at, row_id = table.c.created_at, table.c.id
    newest_first = (created_at.desc(), row_id.desc())
    if before is not None:
        at = to_us(before.created_at)
        newer = or_(created_at > at, and_(created_at == at, row_id > before.id))
        question = question.where(newer).order_by(created_at, row_id)
    elif after is not None:
        at = to_us(after.created_at)
        older = or_(created_at < at, and_(created_at == at, row_id < after.id))
        question = question.where(older).order_by(*newest_first)
    else:
        question = question.order_by(*newest_first)
    found = list(connection.execute(question.limit(limit + 1)))
    rows = found[:limit]
    return (rows[::-1] if before is not None else rows), len(found) > limit


def place(
    connection: Connection, table: Table, row_id: str, *conditions: ColumnElement[bool]
) -> Place | None:
    """Find a row's place; None when there is none that meets the conditions."""
    question = select(table.c.created_at, table.c.id).where(
        table.c.id == findable(row_id), *conditions
    )
    row = connection.execute(question).one_or_none()
    return None if row is None else Place(from_us(row.created_at), row.id)


def findable(text: str) -> str:
    """Write an id or name as both databases can look for it: PostgreSQL refuses NUL in any text."""
    return text.replace("\0", "\ufffd")
