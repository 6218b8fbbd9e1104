"""Budgets on both databases: what is spent, who holds what, and many at once."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec
import pytest
from tests.conformance.test_queue_limits import OURS, an_acceptor, pieces, submission
from tests.conformance.test_store import a_batch, claim, planned, record, recording
from tests.support.money import TARIFF, a_treasury
from tests.support.service import START, settings_for

from overnight import budget as rules
from overnight.app import open_database
from overnight.budget import Budget, BudgetId, Spend, new_budget_id
from overnight.clock import MovableClock
from overnight.errors import BudgetExceeded, RateLimited
from overnight.model import Batch, BudgetScope, Usage, WorkerId, WorkspaceId
from overnight.pipeline.till import Spent, Till
from overnight.pipeline.treasury import Treasury
from overnight.pricing.bounds import Bounds
from overnight.store import budgets
from overnight.store.budgets import Past
from overnight.store.database import Database

HERE, THERE = WorkspaceId("wrkspc_01here"), WorkspaceId("wrkspc_01there")
MODEL = "claude-haiku-4-5"
ONE, TWO = WorkerId("worker_01one"), WorkerId("worker_01two")
# Of a call in real time: 4 USD for a million tokens of output.
CENT = Usage(output_tokens=2_500)


def a_budget(
    usd: str, *, scope: BudgetScope = "workspace", of: str = HERE, period: rules.Period = "daily"
) -> Budget:
    return Budget(
        id=new_budget_id(),
        scope=scope,
        subject_id=of,
        period=period,
        limit_usd=Decimal(usd),
        created_at=START,
        updated_at=START,
    )


async def made(database: Database, budget: Budget) -> Budget:
    return await database.write(lambda c: budgets.set_limit(c, budget))


async def spend(database: Database, budget: Budget, now: datetime = START) -> Spend:
    past = Past(rules.since(budget.period, now))
    return await database.read(lambda c: budgets.spend(c, budget, past=past, price=TARIFF.price))


@contextlib.asynccontextmanager
async def open_till(database: Database, clock: MovableClock) -> AsyncGenerator[Till]:
    till = Till(database=database, tariff=TARIFF, clock=clock)
    running = asyncio.create_task(till.run())
    try:
        yield till
        await till.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_treasury(
    database: Database, clock: MovableClock, owner: WorkerId = ONE
) -> AsyncGenerator[Treasury]:
    treasury = a_treasury(database, clock, owner=owner)
    await treasury.look_around()
    running = asyncio.create_task(treasury.run())
    try:
        yield treasury
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await treasury.close()


# What is spent.


async def test_calls_count_against_their_key_their_workspace_and_the_organization(
    database: Database, clock: MovableClock
) -> None:
    async with open_till(database, clock) as till:
        await till.charge(Spent(HERE, MODEL, CENT, "apikey_01a"))
        await till.charge(Spent(HERE, MODEL, CENT, "apikey_01b"))
        await till.charge(Spent(THERE, MODEL, CENT))
    spenders: list[tuple[BudgetScope, str, str]] = [
        ("key", "apikey_01a", "0.01"),
        ("key", "apikey_01c", "0"),
        ("workspace", HERE, "0.02"),
        ("organization", "", "0.03"),
    ]
    for scope, of, usd in spenders:
        assert await spend(database, a_budget("1", scope=scope, of=of)) == Spend(Decimal(usd))


async def test_a_period_begins_with_nothing_spent(database: Database, clock: MovableClock) -> None:
    async with open_till(database, clock) as till:
        await till.charge(Spent(HERE, MODEL, CENT))
    # START is a Sunday, the 22nd of November 2026.
    tomorrow = START + timedelta(days=1)
    found = {
        period: (await spend(database, a_budget("1", period=period), tomorrow)).used_usd
        for period in rules.RECURRING
    }
    assert found == {"daily": 0, "weekly": 0, "monthly": Decimal("0.01")}
    ends = [rules.until(period, START) for period in rules.RECURRING]
    assert [(end.month, end.day) for end in ends] == [(11, 23), (11, 23), (12, 1)]
    assert rules.until("monthly", datetime(2026, 12, 31, 23, 59, tzinfo=UTC)).year == 2027


async def test_what_was_spent_hours_ago_counts_as_well(
    database: Database, clock: MovableClock, treasuries: list[Treasury]
) -> None:
    await made(database, a_budget("0.03"))
    call = Bounds(Decimal(0), Decimal("0.01"))
    async with open_till(database, clock) as till:
        for _ in range(3):
            await treasuries[0].look_around()
            payment = await treasuries[0].pay(HERE, None, call, model=MODEL)
            await till.charge(Spent(HERE, MODEL, CENT))
            payment.settle()
            clock.advance(timedelta(hours=3))
    with pytest.raises(BudgetExceeded, match=r"\$0.03 is used or reserved and \$0.00 is left"):
        await treasuries[0].pay(HERE, None, call, model=MODEL)
    # START is 06:40; at midnight it begins anew.
    clock.advance(timedelta(hours=9))
    payment = await treasuries[0].pay(HERE, None, call, model=MODEL)
    payment.give_back()


async def test_a_batch_that_runs_counts_with_what_it_used_and_what_its_rest_costs_at_least(
    database: Database,
) -> None:
    batch = a_batch(key_id="apikey_01a", least_usd=Decimal("0.02"))
    whose = [a_budget("1"), a_budget("1", scope="key", of="apikey_01a")]
    whose.append(a_budget("1", scope="batch", of=batch.id, period="once"))
    await planned(database, batch)
    for budget in whose:
        assert await spend(database, budget) == Spend(Decimal(0), Decimal("0.02"))
    first, second = await claim(database)
    # 0.40 USD for a million tokens of input, 2 for output.
    await record(database, recording(first, 0, 1, model=MODEL, tokens=12_500))
    for budget in whose:
        assert await spend(database, budget) == Spend(Decimal("0.010004"), Decimal("0.01"))
    assert await spend(database, a_budget("1", of=THERE)) == Spend(Decimal(0))
    await record(database, recording(second, 0, 1, model=MODEL, tokens=12_500))
    assert await spend(database, whose[0]) == Spend(Decimal("0.020008"), Decimal(0))


# Who holds what.


async def test_what_a_process_holds_is_not_there_for_others_until_it_expires(
    database: Database,
) -> None:
    budget, until = await made(database, a_budget("1")), START + timedelta(seconds=15)

    async def others(owner: WorkerId, now: datetime = START) -> Decimal:
        return await database.read(lambda c: budgets.held_by_others(c, budget.id, owner, now=now))

    for usd in ("0.40", "0.30", "0.30"):
        await database.write(
            lambda c, usd=usd: budgets.hold(c, budget.id, ONE, Decimal(usd), until=until)  # type: ignore[misc]
        )
    assert (await others(ONE), await others(TWO)) == (Decimal(0), Decimal("0.30"))
    assert await others(TWO, until) == 0
    assert await database.read(budgets.owners) == [ONE]
    await database.write(lambda c: budgets.release(c, [ONE]))
    assert await others(TWO) == 0


async def test_a_level_is_told_of_once_in_a_period_whoever_notices(database: Database) -> None:
    budget = await made(database, a_budget("1"))
    today, tomorrow = START, START + timedelta(days=1)
    told = [
        await database.write(
            lambda c, percent=percent, since=since: budgets.warn(c, budget, percent, since=since)  # type: ignore[misc]
        )
        for percent, since in ((50, today), (50, today), (100, today), (80, today), (50, tomorrow))
    ]
    assert told == [True, False, True, False, True]


async def test_to_set_a_budget_again_changes_it_in_place(database: Database) -> None:
    first = await made(database, a_budget("1"))
    again = await made(database, a_budget("2"))
    other = await made(database, a_budget("3", period="weekly"))
    assert (again.id, again.limit_usd) == (first.id, Decimal(2)) and other.id != first.id
    assert {b.id for b in await database.read(budgets.recurring)} == {first.id, other.id}
    assert await database.write(lambda c: budgets.remove(c, first.id))
    assert not await database.write(lambda c: budgets.remove(c, BudgetId("spl_01\0")))


# Many at once.


@pytest.fixture
async def treasuries(
    database: Database, database_url: str | None, tmp_path: Path, clock: MovableClock
) -> AsyncGenerator[list[Treasury]]:
    """Give the treasuries of two processes; on SQLite there is only one."""
    async with contextlib.AsyncExitStack() as stack:
        found = [await stack.enter_async_context(open_treasury(database, clock, ONE))]
        if database_url is not None:
            other = open_database(settings_for(tmp_path / "other", database_url=database_url))
            stack.push_async_callback(other.close)
            found.append(await stack.enter_async_context(open_treasury(other, clock, TWO)))
        yield found


@pytest.mark.parametrize("seed", range(2))
async def test_processes_side_by_side_do_not_pass_a_budget_and_come_close_to_it(
    database: Database, clock: MovableClock, treasuries: list[Treasury], seed: int
) -> None:
    random = Random(seed)
    await made(database, a_budget("0.50"))
    await made(database, a_budget("5", scope="organization", of=""))
    for treasury in treasuries:
        await treasury.look_around()
    most = Bounds(Decimal(0), Decimal("0.01"))

    async def call(treasury: Treasury, till: Till) -> None:
        with contextlib.suppress(RateLimited):
            for _ in range(8):
                payment = await treasury.pay(HERE, None, most, model=MODEL)
                if random.random() < 0.2:
                    payment.give_back()
                    continue
                used = Usage(output_tokens=random.randrange(1_000, 2_501))
                await till.charge(Spent(HERE, MODEL, used))
                payment.settle()

    async with open_till(database, clock) as till:
        calls = [call(treasury, till) for treasury in treasuries for _ in range(10)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(found) for found in ended} <= {type(None), BudgetExceeded}
        # What the other process still holds is there again as soon as it has looked.
        with pytest.raises(BudgetExceeded, match="You will regain access on 2026-11-23 at 00:00"):
            while True:
                with contextlib.suppress(RateLimited):
                    payment = await treasuries[0].pay(HERE, None, most, model=MODEL)
                    await till.charge(Spent(HERE, MODEL, CENT))
                    payment.settle()
    assert Decimal("0.49") < (await spend(database, a_budget("0.50"))).used_usd <= Decimal("0.50")


async def test_what_a_dead_process_held_comes_free(
    database: Database, clock: MovableClock, treasuries: list[Treasury]
) -> None:
    budget = await made(database, a_budget("1"))
    dead, until = WorkerId("worker_01dead"), START + timedelta(hours=1)
    await database.write(lambda c: budgets.hold(c, budget.id, dead, Decimal(1), until=until))
    await treasuries[0].look_around()
    payment = await treasuries[0].pay(HERE, None, Bounds(Decimal(0), Decimal(1)), model=MODEL)
    assert await database.read(budgets.owners) == [ONE]
    payment.give_back()


async def test_creates_side_by_side_do_not_reserve_more_than_the_budget(
    database: Database,
    tmp_path: Path,
    clock: MovableClock,
    treasuries: list[Treasury],
) -> None:
    await made(database, a_budget("0.02", of=OURS))
    for treasury in treasuries:
        await treasury.look_around()
    made_of = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "x"}]}
    # At least 4 tokens of input and one of output, 400 times: more than 0.001 USD.
    rows = [{"custom_id": f"r-{number}", "params": made_of} for number in range(400)]
    content = msgspec.json.encode({"requests": rows})
    acceptors = [
        an_acceptor(database, tmp_path / str(number), clock, treasury, max_requests=400)
        for number, treasury in enumerate(treasuries)
    ]
    creates = [
        acceptors[number % len(acceptors)].accept(pieces(content), submission())
        for number in range(20)
    ]
    outcomes = await asyncio.gather(*creates, return_exceptions=True)
    accepted = [one for one in outcomes if isinstance(one, Batch)]
    refused = [one for one in outcomes if isinstance(one, BudgetExceeded)]
    assert len(accepted) + len(refused) == 20 and refused
    found = await spend(database, a_budget("0.02", of=OURS))
    assert found.reserved_usd == sum(one.least_usd or 0 for one in accepted)
    one = accepted[0].least_usd or Decimal(0)
    assert found.reserved_usd <= Decimal("0.02") < found.reserved_usd + one
    assert "reserved" in str(refused[0]) and refused[0].details
