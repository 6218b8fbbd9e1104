"""Questions about budgets: which there are, what is used of them, what processes hold."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from overnight.budget import Budget, BudgetId, Spend
from overnight.model import BatchId, WorkerId
from overnight.pricing.book import TokenClass
from overnight.pricing.cost import amount
from overnight.store import listing
from overnight.store.batches import UsageByModel, add_usage, decode_usage
from overnight.store.listing import Place, findable
from overnight.store.schema import advances, batches, budgets, charges, from_us, shards, to_us

# Gives the known cost of what batches of a day have used so far.
Price = Callable[[UsageByModel, date], Decimal]


class Past(NamedTuple):
    """What was charged since a period began up to a moment, after which it is asked for."""

    until: datetime
    usd: Decimal = Decimal(0)


def set_limit(connection: Connection, budget: Budget) -> Budget:
    """Add a budget, or change the limit of that for the same scope and period; gives what holds."""
    row = connection.execute(
        select(budgets)
        .where(
            budgets.c.scope == budget.scope,
            budgets.c.subject_id == budget.subject_id,
            budgets.c.period == budget.period,
        )
        .with_for_update()
    ).one_or_none()
    values = {"limit_usd": f"{budget.limit_usd:f}", "updated_at": to_us(budget.updated_at)}
    if row is None:
        connection.execute(
            insert(budgets).values(
                id=budget.id,
                scope=budget.scope,
                subject_id=budget.subject_id,
                period=budget.period,
                created_at=to_us(budget.created_at),
                **values,
            )
        )
        return budget
    # What was told of the old limit says nothing of the new one.
    connection.execute(
        update(budgets).where(budgets.c.id == row.id).values(**values, warned_percent=0)
    )
    found = find(connection, row.id)
    assert found is not None
    return found


def find(connection: Connection, budget_id: str) -> Budget | None:
    """Find the budget of an organization, a workspace or a key."""
    row = connection.execute(
        select(budgets).where(budgets.c.id == findable(budget_id))
    ).one_or_none()
    return None if row is None else _budget(row)


def remove(connection: Connection, budget_id: str) -> bool:
    """Remove a budget and what processes hold of it; False when there is none."""
    gone = connection.execute(delete(budgets).where(budgets.c.id == findable(budget_id)))
    connection.execute(delete(advances).where(advances.c.budget_id == findable(budget_id)))
    return gone.rowcount == 1


def page(
    connection: Connection,
    *,
    limit: int,
    after: Place | None = None,
    scopes: Collection[str] = (),
    periods: Collection[str] = (),
    workspace_id: str | None = None,
) -> tuple[list[Budget], bool]:
    """List newest first, beyond a cursor; and tell whether more follow."""
    question = select(budgets)
    if scopes:
        question = question.where(budgets.c.scope.in_(scopes))
    if periods:
        question = question.where(budgets.c.period.in_(periods))
    if workspace_id is not None:
        question = question.where(
            budgets.c.scope == "workspace", budgets.c.subject_id == findable(workspace_id)
        )
    rows, has_more = listing.page(connection, question, budgets, limit=limit, after=after)
    return [_budget(row) for row in rows], has_more


def cursor(connection: Connection, budget_id: str) -> Place | None:
    return listing.place(connection, budgets, budget_id)


def recurring(connection: Connection) -> list[Budget]:
    """Give all budgets but those of batches."""
    return [_budget(row) for row in connection.execute(select(budgets))]


def current(connection: Connection, budget: Budget, *, locked: bool = False) -> Budget | None:
    """Give a budget as it is now, kept so until the transaction ends when `locked`.

    None when it was removed, or its batch has ended.
    """
    if budget.scope != "batch":
        question = select(budgets).where(budgets.c.id == budget.id)
        row = connection.execute(question.with_for_update() if locked else question).one_or_none()
        return None if row is None else _budget(row)
    running = select(batches.c.id).where(batches.c.id == budget.id, batches.c.status != "ended")
    found = connection.execute(running.with_for_update() if locked else running).first()
    return None if found is None else budget


def spend(
    connection: Connection,
    budget: Budget,
    *,
    past: Past,
    price: Price,
    without: BatchId | None = None,
) -> Spend:
    """Tell what is spent of a budget in its present period, but for one batch.

    A batch that runs counts in the present period, with what it has used; when it ends, in that
    of its end, with what it is charged.
    """
    # In one statement: a batch that ends between two would be counted twice, or not at all.
    asked = union_all(_running(budget), _charged(budget, past.until))
    charged = past.usd
    runs: dict[BatchId | None, _Run] = {}
    for row in connection.execute(asked):
        if row.batch_id is None:
            charged += amount(int(row.number), Decimal(row.usd), TokenClass(row.text))
            continue
        run = runs.get(row.batch_id)
        if run is None:
            least = Decimal(row.usd) if row.usd is not None else Decimal(0)
            run = runs[row.batch_id] = _Run(from_us(row.at).date(), row.number, least)
        if row.text is not None:
            run.recorded += row.recorded
            run.usage = add_usage(run.usage, decode_usage(row.text))
    runs.pop(without, None)
    used = charged + sum((price(run.usage, run.on) for run in runs.values()), Decimal(0))
    return Spend(used, sum((run.reserved_usd for run in runs.values()), Decimal(0)))


def charged(connection: Connection, budget: Budget, *, since: datetime, until: datetime) -> Decimal:
    """Sum what was charged against a budget from a moment up to another."""
    rows = connection.execute(_charged(budget, since).where(charges.c.charged_at < to_us(until)))
    found = (amount(int(row.number), Decimal(row.usd), TokenClass(row.text)) for row in rows)
    return sum(found, Decimal(0))


def held_by_others(
    connection: Connection, budget_id: BudgetId, owner: WorkerId, *, now: datetime
) -> Decimal:
    """Sum what other processes may still spend of a budget."""
    rows = connection.execute(
        select(advances.c.usd).where(
            advances.c.budget_id == budget_id,
            advances.c.owner != owner,
            advances.c.expires_at > to_us(now),
        )
    )
    return sum((Decimal(usd) for usd in rows.scalars()), Decimal(0))


def hold(
    connection: Connection,
    budget_id: BudgetId,
    owner: WorkerId,
    usd: Decimal,
    *,
    until: datetime,
) -> None:
    """Note what a process may spend of a budget, in place of what it held. Safe to repeat."""
    mine = and_(advances.c.budget_id == budget_id, advances.c.owner == owner)
    if not usd:
        connection.execute(delete(advances).where(mine))
        return
    values = {"usd": f"{usd:f}", "expires_at": to_us(until)}
    if not connection.execute(update(advances).where(mine).values(values)).rowcount:
        connection.execute(insert(advances).values(budget_id=budget_id, owner=owner, **values))


def owners(connection: Connection) -> list[WorkerId]:
    """Give all who hold something of a budget, living or not."""
    rows = connection.execute(select(advances.c.owner).distinct())
    return [WorkerId(owner) for owner in rows.scalars()]


def release(connection: Connection, owners: Sequence[WorkerId]) -> None:
    """Give back what these processes hold."""
    connection.execute(delete(advances).where(advances.c.owner.in_(owners)))


def warn(connection: Connection, budget: Budget, percent: int, *, since: datetime) -> bool:
    """Note that a level was reached in a period; False when that was noted before."""
    if budget.scope == "batch":
        first = update(batches).where(batches.c.id == budget.id, batches.c.warned_percent < percent)
        return connection.execute(first.values(warned_percent=percent)).rowcount == 1
    earlier = or_(budgets.c.warned_since < to_us(since), budgets.c.warned_percent < percent)
    changed = connection.execute(
        update(budgets)
        .where(budgets.c.id == budget.id, earlier)
        .values(warned_since=to_us(since), warned_percent=percent)
    )
    return changed.rowcount == 1


class _Run:
    """A batch that runs, and what it has come to."""

    def __init__(self, on: date, requests: int, least_usd: Decimal) -> None:
        self.on = on
        self.requests = requests
        self.least_usd = least_usd
        self.recorded = 0
        self.usage: UsageByModel = {}

    @property
    def reserved_usd(self) -> Decimal:
        """Give the share of its least cost that falls to the requests without outcome."""
        return self.least_usd * (self.requests - self.recorded) / self.requests


class _Spender(NamedTuple):
    """Where the name of the one who spends stands in a table, by scope."""

    batches: Mapping[str, ColumnElement[Any]]
    charges: Mapping[str, ColumnElement[Any]]


_SPENDER = _Spender(
    batches={"workspace": batches.c.workspace_id, "key": batches.c.key_id, "batch": batches.c.id},
    charges={
        "workspace": charges.c.workspace_id,
        "key": charges.c.key_id,
        "batch": charges.c.subject_id,
    },
)


def _running(budget: Budget) -> Any:
    question = (
        select(
            batches.c.id.label("batch_id"),
            batches.c.created_at.label("at"),
            cast(batches.c.request_count, BigInteger).label("number"),
            batches.c.least_usd.label("usd"),
            shards.c.usage.label("text"),
            cast(
                shards.c.succeeded + shards.c.errored + shards.c.canceled + shards.c.expired,
                BigInteger,
            ).label("recorded"),
        )
        .join_from(batches, shards, shards.c.batch_id == batches.c.id, isouter=True)
        .where(batches.c.status != "ended")
    )
    column = _SPENDER.batches.get(budget.scope)
    return question if column is None else question.where(column == budget.subject_id)


def _charged(budget: Budget, since: datetime) -> Any:
    question = (
        select(
            cast(null(), Text),
            cast(null(), BigInteger),
            cast(func.sum(charges.c.units), BigInteger).label("number"),
            charges.c.rate_usd.label("usd"),
            charges.c.token_class.label("text"),
            cast(literal(0), BigInteger),
        )
        .where(charges.c.charged_at >= to_us(since), charges.c.rate_usd.is_not(None))
        .group_by(charges.c.rate_usd, charges.c.token_class)
    )
    column = _SPENDER.charges.get(budget.scope)
    return question if column is None else question.where(column == budget.subject_id)


def _budget(row: Row[*tuple[Any, ...]]) -> Budget:
    return Budget(
        id=row.id,
        scope=row.scope,
        subject_id=row.subject_id,
        period=row.period,
        limit_usd=Decimal(row.limit_usd),
        created_at=from_us(row.created_at),
        updated_at=from_us(row.updated_at),
    )
