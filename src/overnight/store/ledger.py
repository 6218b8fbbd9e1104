"""The ledger: charges are added, with the end of a batch or call by call in real time.

Those of a batch never change. Those of real-time calls are sums over a minute, their tab, which
grow until it has passed: see docs/decisions/0036-real-time-first.md.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    Connection,
    Executable,
    Label,
    Row,
    Select,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from overnight.model import (
    LONG_CONTEXT_TOKENS,
    Batch,
    BatchId,
    Charge,
    Tab,
    TabId,
)
from overnight.store.listing import findable
from overnight.store.schema import charges, from_us, to_us

# What reports tell charges apart by, beside the day, hour or minute.
Dimension = Literal["workspace_id", "service_tier", "model", "context", "token_class", "rate_usd"]
# Prompts above LONG_CONTEXT_TOKENS are in the first class of the dimension `context`.
LONG, SHORT = "long", "short"

_context: Label[str] = case(
    (charges.c.over_tokens >= literal_column(str(LONG_CONTEXT_TOKENS)), literal_column("'long'")),
    else_=literal_column("'short'"),
).label("context")
_columns: Mapping[Dimension, Any] = {
    "workspace_id": charges.c.workspace_id,
    "service_tier": charges.c.service_tier,
    "model": charges.c.model,
    "context": _context,
    "token_class": charges.c.token_class,
    "rate_usd": charges.c.rate_usd,
}


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """So many of a token class in one bucket; dimensions that were not asked for are None."""

    starts_at: datetime
    count: int
    workspace_id: str | None = None
    service_tier: str | None = None
    model: str | None = None
    context: str | None = None
    token_class: str | None = None
    # None is an unknown price, too.
    rate_usd: Decimal | None = None


def charge(connection: Connection, batch: Batch, made: Sequence[Charge], *, at: datetime) -> None:
    """Add the charges of a batch. Raises: IntegrityError when it was charged before."""
    if made:
        connection.execute(
            insert(charges),
            [_row(line, batch, batch.id, at=at) for line in made],
        )


def tab(connection: Connection, tabs: Sequence[Tab]) -> None:
    """Write what tabs have come to: the lines given take the place of those written before.

    Lines that are not given stay as they are. Safe to repeat.
    """
    rows = [
        _row(line, grown, grown.id, at=grown.begun_at) for grown in tabs for line in grown.charges
    ]
    if rows:
        connection.execute(_growing(connection.dialect.name), rows)


def drop_tab(connection: Connection, tab_id: TabId) -> None:
    """Forget what a tab had come to. Safe to repeat."""
    connection.execute(delete(charges).where(charges.c.subject_id == tab_id))


def of_batch(connection: Connection, batch_id: BatchId) -> list[Charge]:
    """Give the charges of an ended batch in the order in which they were made."""
    rows = connection.execute(
        select(charges).where(charges.c.subject_id == batch_id).order_by(charges.c.id)
    )
    return [_charge(row) for row in rows]


def totals(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    width: timedelta,
    by: Collection[Dimension],
    only: Mapping[Dimension, Collection[str]],
) -> list[Total]:
    """Sum counts from `since` up to `until` in buckets of a width, by some dimensions.

    Amounts are not summed: they are exact texts. With dimensions `token_class` and `rate_usd` a
    count gives its exact amount. Ordered by bucket, then by the dimensions.
    """
    width_us = str(width // timedelta(microseconds=1))
    starts_us = (charges.c.charged_at - charges.c.charged_at % literal_column(width_us)).label(
        "starts_us"
    )
    names: list[Dimension] = [name for name in _columns if name in by]
    question: Select[*tuple[Any, ...]] = select(
        starts_us, func.sum(charges.c.units).label("sum"), *(_columns[name] for name in names)
    ).where(charges.c.charged_at >= to_us(since), charges.c.charged_at < to_us(until))
    for name, values in only.items():
        column = _columns[name]
        inner = column.element if isinstance(column, Label) else column
        question = question.where(inner.in_([findable(value) for value in values]))
    # By their names: PostgreSQL must see the same expression in both places.
    question = question.group_by("starts_us", *names).order_by("starts_us", *names)
    return [_total(row) for row in connection.execute(question)]


@cache
def _growing(dialect: str) -> Executable:
    """Give the statement that adds a line, or lets it grow where it is already."""
    into: postgresql.Insert | sqlite.Insert = (
        postgresql.insert(charges) if dialect == "postgresql" else sqlite.insert(charges)
    )
    return into.on_conflict_do_update(
        index_elements=("subject_id", "model", "over_tokens", "token_class"),
        set_={name: into.excluded[name] for name in ("units", "amount_usd", "standard_usd")},
    )


def _total(row: Row[Any]) -> Total:
    found = dict(row._mapping)
    rate = found.pop("rate_usd", None)
    return Total(
        starts_at=from_us(found.pop("starts_us")),
        count=int(found.pop("sum")),
        rate_usd=None if rate is None else Decimal(rate),
        **found,
    )


def _row(line: Charge, of: Batch | Tab, subject_id: str, *, at: datetime) -> dict[str, object]:
    return {
        "charged_at": to_us(at),
        "workspace_id": of.workspace_id,
        "key_id": of.key_id,
        "subject_id": subject_id,
        "service_tier": line.service_tier,
        "model": line.model,
        "over_tokens": line.over_tokens,
        "token_class": line.token_class,
        "units": line.count,
        "rate_usd": _text(line.rate_usd),
        "amount_usd": _text(line.usd),
        "standard_rate_usd": _text(line.standard_rate_usd),
        "standard_usd": _text(line.standard_usd),
        "uncached_rate_usd": _text(line.uncached_rate_usd),
        "book": line.book,
        "book_version": line.book_version,
    }


def _charge(row: Row[Any]) -> Charge:
    return Charge(
        model=row.model,
        over_tokens=row.over_tokens,
        token_class=row.token_class,
        count=row.units,
        service_tier=row.service_tier,
        rate_usd=_decimal(row.rate_usd),
        usd=_decimal(row.amount_usd),
        standard_rate_usd=_decimal(row.standard_rate_usd),
        standard_usd=_decimal(row.standard_usd),
        uncached_rate_usd=_decimal(row.uncached_rate_usd),
        book=row.book,
        book_version=row.book_version,
    )


def _text(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd:f}"


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
