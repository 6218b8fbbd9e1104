"""The treasury: holds the purses of this process, fills them, and says which budgets are used up.

A call pays out of memory. What it may pay is an advance in the database, so that no two processes
spend the same money; the advances of a dead process come free with its shards. See
docs/decisions/0043-budgets.md.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight import budget as rules
from overnight.budget import LEVELS, Budget, BudgetId, Estimated, Spend
from overnight.clock import Clock
from overnight.dispatch.purse import Purse
from overnight.errors import InvalidRequest, RateLimited, Unavailable
from overnight.logs import Logger
from overnight.model import Batch, BatchId, BudgetScope, Unsent, WorkerId, WorkspaceId
from overnight.pipeline.spending import Spending
from overnight.pipeline.wake import Wakes
from overnight.pricing.bounds import Bounds
from overnight.pricing.tariff import Tariff
from overnight.store import batches, budgets
from overnight.store.database import Database, reason

_RETRY_FIRST_S = 0.1
_RETRY_CAP_S = 5.0
# Batches whose purses are remembered; beyond that they are looked up again.
_MAX_REMEMBERED = 10_000
# An advance is at most half of what is left: of many calls at once some need another look.
_TRIES = 3
# Nobody knows when calls under way end; it is worth asking again soon.
_RESERVED_WAIT_S = 1.0

log = Logger("budgets")


class Payment:
    """What a call paid before it was sent."""

    __slots__ = ("_due", "_purses", "_usd")

    def __init__(self, purses: Sequence[Purse], usd: Decimal, due: asyncio.Event) -> None:
        self._purses = purses
        self._usd = usd
        # To be set when others may be paid for now.
        self._due = due

    def give_back(self) -> None:
        """Undo it: the call has brought nothing that costs."""
        for purse in self._purses:
            purse.give_back(self._usd)
            if purse.needed_usd:
                self._due.set()

    def settle(self) -> None:
        """Note that what the call has cost is recorded."""
        for purse in self._purses:
            purse.settle(self._usd)
            if purse.needed_usd:
                self._due.set()


# Where no budget holds.
NOTHING = Payment((), Decimal(0), asyncio.Event())


class _Told(NamedTuple):
    """What the database says of a budget."""

    budget: Budget
    held_usd: Decimal
    used_usd: Decimal
    others_usd: Decimal
    # A level that was reached for the first time in this period; 0 for none.
    warned_percent: int


class Treasury:
    """The purses of one process."""

    def __init__(
        self,
        *,
        owner: WorkerId,
        database: Database,
        clock: Clock,
        wakes: Wakes,
        tariff: Tariff,
        rest_as: Unsent,
        lease_s: float,
        interval_s: float,
    ) -> None:
        """`rest_as` is what requests end as that a used up budget keeps from being sent."""
        self._owner = owner
        self._database = database
        self._clock = clock
        self._wakes = wakes
        self._tariff = tariff
        self.spending = Spending(database=database, clock=clock, tariff=tariff)
        self._rest_as: Unsent = rest_as
        self._lease_s = lease_s
        self._interval_s = interval_s
        # All but those of batches, by whose they are.
        self._budgets: dict[tuple[BudgetScope, str], list[Budget]] = {}
        self._purses: dict[BudgetId, Purse] = {}
        self._of_batch: dict[BatchId, tuple[Purse, ...]] = {}
        # Batches to be stopped, by which budget; and budgets that did not pay for a call.
        self._stops: dict[BatchId, Budget] = {}
        self._used_up: dict[BudgetId, Budget] = {}
        # As last seen, in which period which level was told of.
        self._warned: dict[BudgetId, tuple[datetime, int]] = {}
        # A purse is empty, or a batch is to be stopped.
        self._due = asyncio.Event()
        self._all_due_at = 0.0
        self._looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Since the start.
        self.refusals = 0
        self.stops = 0
        self.warnings = dict.fromkeys(LEVELS, 0)

    async def start(self) -> None:
        """Take back what dead processes hold, and learn which budgets there are."""
        await self.look_around()

    async def run(self) -> None:
        """Fill purses until canceled."""
        pause_s = _RETRY_FIRST_S
        while True:
            timely = await self._wait()
            try:
                if timely:
                    await self.look_around()
                await self._look(all_of_them=timely)
                if timely:
                    # From now on: whoever was paid for must have the time to hear of it.
                    now_s = asyncio.get_running_loop().time()
                    self._all_due_at = now_s + self._interval_s
                pause_s = _RETRY_FIRST_S
            except DBAPIError as error:
                log.error("budgets cannot be looked at, to be tried again", because=reason(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_CAP_S)

    async def looked(self) -> None:
        """Return when the purses have been looked after that are empty now."""
        await asyncio.shield(self._looked)

    async def close(self) -> None:
        """Give back what this process holds."""
        try:
            await self._database.write(lambda c: budgets.release(c, [self._owner]))
        except DBAPIError as error:
            # It comes free by itself, when it is seen that this process is dead.
            log.error("advances cannot be given back", because=reason(error))

    def budgets_of(
        self, workspace_id: WorkspaceId, key_id: str | None, batch: Batch | None = None
    ) -> list[Budget]:
        """Give the budgets that a batch or a call counts against, the narrowest first."""
        found = [] if batch is None or batch.max_cost_usd is None else [_own(batch)]
        if self._budgets:
            found += self._budgets.get(("key", key_id), []) if key_id else []
            found += self._budgets.get(("workspace", workspace_id), [])
            found += self._budgets.get(("organization", ""), [])
        return found

    def of_batch(self, batch: Batch) -> tuple[Purse, ...]:
        """Give the purses that pay for the requests of a batch; none where no budget holds."""
        if not self._budgets and batch.max_cost_usd is None:
            return ()
        found = self._of_batch.get(batch.id)
        if found is None:
            if len(self._of_batch) >= _MAX_REMEMBERED:
                self._of_batch.clear()
            of = self.budgets_of(batch.workspace_id, batch.key_id, batch)
            found = self._of_batch[batch.id] = tuple(map(self._purse, of))
        return found

    def can_take(self, purses: Sequence[Purse], usd: Decimal, now_s: float) -> bool:
        """Tell whether a call can be paid; if not, budgets are looked at soon."""
        # Each of them must learn what is needed.
        if all([purse.pays(usd, now_s) for purse in purses]):
            return True
        if any(purse.needed_usd and not purse.fruitless for purse in purses):
            self._due.set()
        return False

    def take(self, purses: Sequence[Purse], usd: Decimal, now_s: float) -> Payment | None:
        """Pay for a call; None while one of the purses cannot. Then `looked` is worth a wait."""
        if not self.can_take(purses, usd, now_s):
            return None
        for purse in purses:
            purse.take(usd)
        return Payment(purses, usd, self._due)

    async def pay(
        self, workspace_id: WorkspaceId, key_id: str | None, bounds: Bounds | None, *, model: str
    ) -> Payment:
        """Pay for a call in real time; where no budget holds, nothing.

        `bounds` is None where the price is unknown. Raises: BudgetExceeded; RateLimited while
        calls under way may take what is left; Unavailable while the database is away.
        """
        of = self.budgets_of(workspace_id, key_id)
        if not of:
            return NOTHING
        if bounds is None:
            self.refuse_unpriced(of[0].title, [model])
            return NOTHING
        purses, usd = tuple(map(self._purse, of)), bounds.high_usd
        for _ in range(_TRIES):
            payment = self.take(purses, usd, self._clock.seconds())
            if payment is not None:
                return payment
            self._due.set()
            await self.looked()
        self.refusals += 1
        now_s = self._clock.seconds()
        if not all(purse.is_known(now_s) for purse in purses):
            raise Unavailable("The database does not tell what is left of a budget; try again soon")
        for purse in purses:
            if usd > purse.left_usd:
                self._used_up[purse.budget.id] = purse.budget
                spend = Spend(purse.used_usd)
                cost, now = Estimated(*bounds), self._clock.now()
                raise rules.refuse(purse.budget, spend, what="call", cost=cost, now=now)
        raise RateLimited(
            f"What is left of {purses[0].budget.title} is reserved for calls under way",
            retry_after_s=_RESERVED_WAIT_S,
        )

    def dry(self, purses: Sequence[Purse], usd: Decimal) -> Budget | None:
        """Give the budget that will not pay for a call, whatever comes of those under way."""
        now_s = self._clock.seconds()
        return next((purse.budget for purse in purses if purse.is_dry(usd, now_s)), None)

    def stop(self, batch_id: BatchId, budget: Budget) -> None:
        """Have nothing more sent of a batch."""
        self._stops[batch_id] = budget
        self._used_up[budget.id] = budget
        self._due.set()

    def refuse_unaffordable(
        self,
        connection: Connection,
        of: Collection[Budget],
        cost: Estimated | None,
        *,
        own: BatchId | None = None,
    ) -> None:
        """Refuse a batch that its budgets cannot pay, `cost` None before it is known.

        With `own`, in the transaction that adds this batch: budgets are locked, so that two
        creates do not both get the last of one.

        Raises: BudgetExceeded.
        """
        now = self._clock.now()
        # Always in the same order, or two creates could wait for each other.
        for budget in sorted(of, key=lambda one: one.id):
            found = budgets.current(connection, budget, locked=own is not None)
            if found is None:
                continue
            spend = self.spending.of(connection, found, without=own)
            left_usd = spend.left_usd(found.limit_usd)
            if left_usd == 0 or (cost is not None and cost.low_usd > left_usd):
                self.refusals += 1
                raise rules.refuse(found, spend, what="batch", cost=cost, now=now)

    def refuse_unpriced(self, budget: str, models: Collection[str]) -> None:
        """Refuse models whose price is unknown: a budget cannot be kept with them.

        Raises: InvalidRequest.
        """
        if models:
            self.refusals += 1
            book = self._tariff.book.name
            raise InvalidRequest(
                f"model: {', '.join(sorted(models)[:5])} has no price in the book {book}, so "
                f"{budget} cannot be kept",
                hint="give the service a --price-book that has one; for own hardware it may be 0",
            )

    async def _wait(self) -> bool:
        """Wait until something is due; tell whether all of it is to be looked at."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._all_due_at):
                await self._due.wait()
        return loop.time() >= self._all_due_at

    async def look_around(self) -> None:
        """Learn which budgets there are now, and take back what dead processes hold."""
        presence = self._database.presence
        await asyncio.to_thread(presence.announce, self._owner)
        found, owners = await self._database.read(
            lambda c: (budgets.recurring(c), budgets.owners(c))
        )
        self._know(found)
        others = [owner for owner in owners if owner != self._owner]
        dead = await asyncio.to_thread(presence.dead, others) if others else []
        if dead:
            await self._database.write(lambda c: budgets.release(c, dead))

    def _know(self, found: Sequence[Budget]) -> None:
        by_whose: dict[tuple[BudgetScope, str], list[Budget]] = {}
        for budget in found:
            by_whose.setdefault((budget.scope, budget.subject_id), []).append(budget)
            if budget.id in self._purses:
                self._purses[budget.id].budget = budget
        if by_whose != self._budgets:
            self._budgets = by_whose
            self._of_batch.clear()

    async def _look(self, *, all_of_them: bool) -> None:
        """Stop what is to be stopped and fill purses: those that are empty, or all in use."""
        looked, self._looked = self._looked, asyncio.get_running_loop().create_future()
        self._due.clear()
        try:
            await self._stop_batches()
            await self._warn_of_used_up()
            for purse in list(self._in_need(all_of_them=all_of_them)):
                await self._fill(purse)
        finally:
            looked.set_result(None)

    def _in_need(self, *, all_of_them: bool) -> Iterator[Purse]:
        for budget_id, purse in list(self._purses.items()):
            if purse.is_short() or (all_of_them and not purse.is_idle):
                yield purse
            elif all_of_them and budget_id not in self._known():
                self._forget(budget_id)

    def _known(self) -> set[BudgetId]:
        return {budget.id for found in self._budgets.values() for budget in found}

    def _forget(self, budget_id: BudgetId) -> None:
        """Drop a purse that nobody uses; whoever needs it again gets another."""
        self._purses.pop(budget_id, None)
        self.spending.forget(budget_id)
        self._warned.pop(budget_id, None)
        self._of_batch.clear()

    async def _stop_batches(self) -> None:
        for batch_id, budget in list(self._stops.items()):
            stop = partial(batches.stop, batch_id=batch_id, by=budget.scope, rest_as=self._rest_as)
            stopped = await self._database.write(stop)
            del self._stops[batch_id]
            if stopped:
                self.stops += 1
                log.warning(
                    "batch stopped by a budget",
                    batch=batch_id,
                    budget=budget.id,
                    scope=budget.scope,
                    rest=self._rest_as,
                )
                self._wakes.stopped.ring()

    async def _warn_of_used_up(self) -> None:
        """Tell of budgets of which no call is paid any more, whatever is left of them."""
        for budget in list(self._used_up.values()):
            since = rules.since(budget.period, self._clock.now())
            told = partial(budgets.warn, budget=budget, percent=LEVELS[-1], since=since)
            if await self._database.write(told):
                self._warn(budget, LEVELS[-1])
            del self._used_up[budget.id]

    async def _fill(self, purse: Purse) -> None:
        """Ask for what the purse needs. Raises: DBAPIError; then it holds what it held or less."""
        await self.spending.recall([purse.budget])
        now, until_s = self._clock.now(), self._clock.seconds() + self._lease_s
        since = rules.since(purse.budget.period, now)
        until = now + timedelta(seconds=self._lease_s)
        noted = self._warned.get(purse.budget.id)
        warned = noted[1] if noted is not None and noted[0] == since else 0
        asked = purse.begin()

        def ask(connection: Connection) -> _Told | None:
            budget = budgets.current(connection, purse.budget, locked=True)
            if budget is None:
                budgets.hold(connection, purse.budget.id, self._owner, Decimal(0), until=until)
                return None
            used_usd = self.spending.of(connection, budget).used_usd
            others_usd = budgets.held_by_others(connection, budget.id, self._owner, now=now)
            held_usd = rules.advance(
                limit_usd=budget.limit_usd,
                used_usd=used_usd,
                others_usd=others_usd,
                open_usd=asked.open_usd,
                needed_usd=asked.needed_usd,
                wanted_usd=asked.wanted_usd,
            )
            budgets.hold(connection, budget.id, self._owner, held_usd, until=until)
            percent = rules.level(used_usd, budget.limit_usd)
            first = percent > warned and budgets.warn(connection, budget, percent, since=since)
            return _Told(budget, held_usd, used_usd, others_usd, percent if first else 0)

        try:
            told = await self._database.write(ask)
        except BaseException:
            purse.needed_usd = purse.needed_usd or asked.needed_usd
            raise
        if told is None:
            # Removed, or its batch has ended: nothing is limited by it any more.
            self._forget(purse.budget.id)
            return
        purse.budget = told.budget
        asked.granted(
            purse,
            told.held_usd,
            used_usd=told.used_usd,
            others_usd=told.others_usd,
            valid_until_s=until_s,
        )
        self._warned[told.budget.id] = since, rules.level(told.used_usd, told.budget.limit_usd)
        if told.warned_percent:
            self._warn(told.budget, told.warned_percent)

    def _warn(self, budget: Budget, percent: int) -> None:
        self.warnings[percent] += 1
        log.warning(
            "budget used up" if percent == LEVELS[-1] else "budget used",
            budget=budget.id,
            scope=budget.scope,
            subject=budget.subject_id,
            period=budget.period,
            percent=percent,
            used_usd=str(self.spending.last_used_usd(budget.id)),
            limit_usd=f"{budget.limit_usd:f}",
        )

    def _purse(self, budget: Budget) -> Purse:
        found = self._purses.get(budget.id)
        if found is None:
            found = self._purses[budget.id] = Purse(budget)
        return found


def _own(batch: Batch) -> Budget:
    """Give the budget that a batch was created with."""
    assert batch.max_cost_usd is not None
    return Budget(
        id=BudgetId(batch.id),
        scope="batch",
        subject_id=batch.id,
        period="once",
        limit_usd=batch.max_cost_usd,
        created_at=batch.created_at,
        updated_at=batch.created_at,
    )
