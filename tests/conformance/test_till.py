"""Charging real-time calls, on both databases: each call once, whatever the database does."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, text
from tests.support.failing import FailingDatabase
from tests.support.service import START
from tests.support.waiting import until

from overnight.clock import MovableClock
from overnight.errors import Unavailable
from overnight.model import Usage, WorkspaceId
from overnight.pipeline.till import PATIENCE_S, Spent, Till
from overnight.pricing import shelf
from overnight.pricing.tariff import Tariff
from overnight.store import ledger
from overnight.store.database import Database
from overnight.store.schema import charges

HERE, THERE = WorkspaceId("wrkspc_01here"), WorkspaceId("wrkspc_01there")
HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-7"
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
TARIFF = Tariff(shelf.open_book(shelf.DEFAULT))
# The function that stores a group.
WRITE = "Till._write.<locals>.write"
SOON_S = 0.1


def spent(
    number: int = 1, *, workspace: WorkspaceId = HERE, model: str = HAIKU, output: int = 10
) -> Spent:
    return Spent(workspace, model, Usage(input_tokens=number, output_tokens=output))


@contextlib.asynccontextmanager
async def open_till(
    database: Database, clock: MovableClock, *, patience_s: float = PATIENCE_S
) -> AsyncGenerator[Till]:
    till = Till(database=database, tariff=TARIFF, clock=clock, patience_s=patience_s)
    running = asyncio.create_task(till.run())
    try:
        yield till
        await till.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


Counts = dict[tuple[str, str, str], int]


async def kept(
    database: Database, since: datetime = START - DAY, until: datetime = START + DAY
) -> Counts:
    """Give what the ledger says: units by workspace, model and token class."""
    found = await database.read(
        lambda c: ledger.totals(
            c,
            since=since,
            until=until,
            width=10_000 * DAY,
            by={"workspace_id", "model", "token_class"},
            only={"service_tier": ["standard"]},
        )
    )
    return {(t.workspace_id or "", t.model or "", t.token_class or ""): t.count for t in found}


def counts_of(*calls: Spent) -> Counts:
    """Give what the ledger must say when these calls are charged."""
    found: Counts = {}
    for workspace, model, usage, _ in calls:
        for name, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count:
                key = (workspace, model, name)
                found[key] = found.get(key, 0) + count
    return found


async def rows(database: Database) -> int:
    return await database.read(
        lambda c: c.execute(select(func.count()).select_from(charges)).scalar_one()
    )


async def settled(database: Database, *calls: Spent) -> None:
    """Wait until the ledger says that these calls are charged, and nothing else."""

    async def holds() -> bool:
        return await kept(database) == counts_of(*calls)

    await until(holds, what=f"the charges of {len(calls)} calls")


async def test_a_call_is_charged_when_the_till_says_so(
    database: Database, clock: MovableClock
) -> None:
    async with open_till(database, clock) as till:
        for number in range(1, 4):
            await till.charge(spent(number))
            calls = [spent(n) for n in range(1, number + 1)]
            assert await kept(database) == counts_of(*calls)


async def test_rows_grow_by_the_minute_and_not_by_the_call(
    database: Database, clock: MovableClock
) -> None:
    async with open_till(database, clock) as till:
        for _ in range(20):
            await asyncio.gather(*(till.charge(spent()) for _ in range(5)))
        # Input and output.
        assert await rows(database) == 2
        clock.advance(MINUTE)
        await till.charge(spent(7))
    assert await rows(database) == 4
    assert await kept(database) == counts_of(*100 * [spent()], spent(7))
    assert await kept(database, since=START + MINUTE) == counts_of(spent(7))


async def test_workspaces_and_models_are_charged_apart(
    database: Database, clock: MovableClock
) -> None:
    calls = [
        spent(number, workspace=workspace, model=model)
        for number in (1, 20)
        for workspace in (HERE, THERE)
        for model in (HAIKU, OPUS, "nobody-knows-its-price")
    ]
    async with open_till(database, clock) as till:
        await asyncio.gather(*map(till.charge, calls))
    assert await kept(database) == counts_of(*calls)
    assert await rows(database) == 2 * 2 * 3


async def test_amounts_are_those_of_the_sums(database: Database, clock: MovableClock) -> None:
    async with open_till(database, clock) as till:
        for number in (1, 2, 4):
            await till.charge(spent(number))
    [found] = await database.read(
        lambda c: c.execute(select(charges).where(charges.c.token_class == "input")).all()
    )
    # 7 tokens at 0.80 USD a million.
    assert (found.service_tier, found.units, found.amount_usd) == ("standard", 7, "0.0000056")
    assert (found.standard_rate_usd, found.standard_usd) == ("0.80", "0.0000056")


async def test_a_backend_that_names_a_new_model_each_time_is_charged_all_the_same(
    database: Database, clock: MovableClock
) -> None:
    calls = [spent(model=f"model-{number}") for number in range(250)]
    async with open_till(database, clock) as till:
        for start in range(0, 250, 50):
            await asyncio.gather(*map(till.charge, calls[start : start + 50]))
    assert await kept(database) == counts_of(*calls)
    # A sum that grew without end would cost each commit more.
    question = select(func.count(charges.c.subject_id.distinct()))
    assert await database.read(lambda c: c.execute(question).scalar_one()) == 3


async def test_a_call_without_usage_is_not_written(database: Database, clock: MovableClock) -> None:
    async with open_till(database, clock) as till:
        await till.charge(Spent(HERE, HAIKU, Usage()))
    assert await rows(database) == 0


async def test_two_tills_of_one_database_add_up(database: Database, clock: MovableClock) -> None:
    async with open_till(database, clock) as one, open_till(database, clock) as other:
        await asyncio.gather(*(till.charge(spent()) for till in 20 * [one, other]))
    assert await kept(database) == counts_of(*40 * [spent()])


async def test_a_wait_that_is_cut_leaves_the_call_charged(
    database: Database, clock: MovableClock
) -> None:
    async with open_till(database, clock) as till:
        waits = [asyncio.create_task(till.charge(spent())) for _ in range(3)]
        await asyncio.sleep(0)
        waits[1].cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    assert await kept(database) == counts_of(*3 * [spent()])


async def test_what_was_given_already_is_charged_without_a_wait(
    database: Database, clock: MovableClock
) -> None:
    async with open_till(database, clock) as till:
        till.owe(spent())
    assert await kept(database) == counts_of(spent())


# When the database is away


async def test_a_group_whose_answer_was_lost_is_charged_once(
    database: Database, clock: MovableClock
) -> None:
    failing = FailingDatabase(database)
    async with open_till(failing, clock) as till:
        await till.charge(spent(1))
        failing.lose_answer_of = {WRITE}
        await asyncio.gather(till.charge(spent(2)), till.charge(spent(4)))
    assert await kept(database) == counts_of(spent(1), spent(2), spent(4))


@pytest.mark.parametrize("earlier", [[], [spent(1)]], ids=["first group", "second group"])
async def test_a_lost_answer_is_made_good_in_the_next_minute_too(
    database: Database, clock: MovableClock, earlier: list[Spent]
) -> None:
    failing = FailingDatabase(database)
    async with open_till(failing, clock) as till:
        for call in earlier:
            await till.charge(call)
        failing.lose_answer_of = {WRITE}
        charging = asyncio.create_task(till.charge(spent(2)))

        async def lost() -> bool:
            return not failing.lose_answer_of

        await until(lost, what="the answer is lost")
        clock.advance(MINUTE)
        await charging
    assert await kept(database) == counts_of(*earlier, spent(2))
    assert await kept(database, since=START + MINUTE) == counts_of(spent(2))


async def test_without_a_database_nothing_is_charged_and_nothing_more_may_be_spent(
    database: Database, clock: MovableClock
) -> None:
    failing = FailingDatabase(database)
    async with open_till(failing, clock, patience_s=SOON_S) as till:
        await till.charge(spent(1))
        till.require_open()
        failing.away = True
        with pytest.raises(Unavailable, match="neither given nor charged"):
            await till.charge(spent(2))
        with pytest.raises(Unavailable, match="was not sent"):
            till.require_open()
        till.owe(spent(4))
        failing.away = False
        await settled(database, spent(1), spent(4))
        till.require_open()
        await till.charge(spent(8))
    assert await kept(database) == counts_of(spent(1), spent(4), spent(8))


async def test_a_refused_statement_shuts_the_till_until_it_passes(
    database: Database, clock: MovableClock
) -> None:
    async with open_till(database, clock, patience_s=SOON_S) as till:
        await database.write(lambda c: c.execute(text("ALTER TABLE charges RENAME TO gone")))
        with pytest.raises(Unavailable):
            await till.charge(spent(1))
        await database.write(lambda c: c.execute(text("ALTER TABLE gone RENAME TO charges")))

        async def open_again() -> bool:
            with contextlib.suppress(Unavailable):
                till.require_open()
                return True
            return False

        await until(open_again, what="the till is open again")
        await till.charge(spent(2))
    assert await kept(database) == counts_of(spent(2))


async def test_who_gives_up_while_the_charge_is_being_stored_is_not_charged(
    database: Database, clock: MovableClock
) -> None:
    began, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: Connection) -> None:
        """Keep the till's statement waiting: behind a lock, or for the only writer."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE charges"))
        loop.call_soon_threadsafe(began.set)
        go_on.wait()

    async with open_till(database, clock, patience_s=SOON_S) as till:
        await till.charge(spent(1))
        holding = asyncio.create_task(database.write(hold))
        await began.wait()
        till.owe(spent(2))
        with pytest.raises(Unavailable):
            await till.charge(spent(4))
        go_on.set()
        await holding
        await settled(database, spent(1), spent(2))


Fault = Callable[[FailingDatabase], None]


def lose(failing: FailingDatabase) -> None:
    failing.lose_answer_of.add(WRITE)


def refuse(failing: FailingDatabase) -> None:
    failing.refuse.add(WRITE)


calls = st.builds(
    spent,
    st.integers(0, 1_000),
    workspace=st.sampled_from([HERE, THERE]),
    model=st.sampled_from([HAIKU, OPUS]),
    output=st.integers(0, 1_000),
)
steps = st.one_of(
    st.tuples(st.just("group"), st.lists(calls, max_size=4), st.sampled_from([None, lose, refuse])),
    st.just(("minute",)),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, max_size=6))
async def test_whatever_happens_the_ledger_says_what_the_calls_said(
    database: Database, steps: list[tuple[Any, ...]]
) -> None:
    await database.write(lambda c: c.execute(charges.delete()))
    clock, failing, made = MovableClock(START), FailingDatabase(database), list[Spent]()
    async with open_till(failing, clock) as till:
        for step in steps:
            if step[0] == "minute":
                clock.advance(MINUTE)
                continue
            _, group, fault = step
            if fault is not None:
                fault(failing)
            await asyncio.gather(*map(till.charge, group))
            made += group
    assert await kept(database) == counts_of(*made)
