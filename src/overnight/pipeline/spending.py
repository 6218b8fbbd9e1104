"""Spending: what is used of budgets, with the sum of what is long final kept in memory."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from overnight import budget as rules
from overnight.budget import Budget, BudgetId, Spend
from overnight.clock import Clock
from overnight.model import BatchId
from overnight.pricing.tariff import Tariff
from overnight.store import budgets
from overnight.store.budgets import Past
from overnight.store.database import Database


class Spending:
    """Sums up what is spent of budgets in their present period."""

    def __init__(self, *, database: Database, clock: Clock, tariff: Tariff) -> None:
        self._database = database
        self._clock = clock
        self._tariff = tariff
        self._recalled: dict[BudgetId, _Recalled] = {}
        # As last seen.
        self._used: dict[BudgetId, Decimal] = {}

    async def recall(self, of: Iterable[Budget]) -> None:
        """Sum up what was charged in earlier hours, so that `of` need not do it each time."""
        now = self._clock.now()
        for budget in of:
            since, until = rules.since(budget.period, now), _final(now)
            known = self._recalled.get(budget.id)
            if budget.scope == "batch" or until <= since:
                continue
            if known is None or (known.since, known.past.until) != (since, until):
                charged = partial(budgets.charged, budget=budget, since=since, until=until)
                past = Past(until, await self._database.read(charged))
                self._recalled[budget.id] = _Recalled(since, past)

    def of(
        self, connection: Connection, budget: Budget, *, without: BatchId | None = None
    ) -> Spend:
        """Tell what is spent of a budget, but for one batch; for a transaction."""
        since = rules.since(budget.period, self._clock.now())
        known = self._recalled.get(budget.id)
        past = known.past if known is not None and known.since == since else Past(since)
        spend = budgets.spend(
            connection, budget, past=past, price=self._tariff.price, without=without
        )
        self._used[budget.id] = spend.used_usd
        return spend

    def last_used_usd(self, budget_id: BudgetId) -> Decimal | None:
        """Give what was used when that was last asked; None when it never was."""
        return self._used.get(budget_id)

    def forget(self, budget_id: BudgetId) -> None:
        self._recalled.pop(budget_id, None)
        self._used.pop(budget_id, None)

    def told(self, of: Sequence[Budget]) -> str | None:
        """Say what is used of the budget that is used most, from the first level on.

        What the organization has spent is not told to its workspaces.
        """
        shares = [
            (used_usd / one.limit_usd, used_usd, one)
            for one in of
            if one.limit_usd and one.scope != "organization"
            if (used_usd := self._used.get(one.id)) is not None
        ]
        if not shares:
            return None
        _, used_usd, most = max(shares, key=lambda share: share[0])
        return rules.told(most, used_usd)


class _Recalled(NamedTuple):
    """What was charged in a period, up to a moment."""

    since: datetime
    past: Past


def _final(now: datetime) -> datetime:
    """Say up to when all charges are there: none comes more than an hour late.

    But for calls of an outage as long; they are found within the next hour.
    """
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
