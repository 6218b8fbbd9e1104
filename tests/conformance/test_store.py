"""What every database must do for the service, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from tests.support.postgres import Cluster
from tests.support.service import DAY, START, settings_for

from overnight.app import open_database
from overnight.errors import ConfigInvalid, InvalidRequest
from overnight.model import Batch, BatchId, Counts, Usage, WorkerId, WorkspaceId, new_worker_id
from overnight.store import batches, journal, ledger, migrate, shards
from overnight.store.database import Database
from overnight.store.journal import Recording
from overnight.store.schema import metadata
from overnight.store.shards import Claim, SealedPart, ShardKey, pack_positions

HERE = WorkspaceId("wrkspc_01here")
ELSEWHERE = WorkspaceId("wrkspc_01elsewhere")
ANNA, BERT = WorkerId("worker_01anna"), WorkerId("worker_01bert")
LEASE = timedelta(seconds=15)
SECOND = timedelta(seconds=1)


def a_batch(name: str = "a", **changes: Any) -> Batch:
    created_at = changes.pop("created_at", START)
    batch = Batch(
        id=BatchId(f"msgbatch_{name}"),
        workspace_id=HERE,
        status="in_progress",
        created_at=created_at,
        expires_at=created_at + DAY,
        retain_until=created_at + 29 * DAY,
        api_version="2023-06-01",
        request_count=4,
        input_key=f"msgbatch_{name}/input.json",
        input_bytes=100,
        counts=Counts(processing=changes.get("request_count", 4)),
    )
    return replace(batch, **changes)


async def stored(database: Database, *many: Batch) -> None:
    for batch in many:
        await database.write(partial(batches.create, batch=batch, idempotency_key=None))


async def planned(database: Database, batch: Batch, shard_count: int = 2) -> None:
    """Store a batch and its plan: shards of equal size."""
    each = batch.request_count // shard_count

    def plan(connection: Connection) -> None:
        batches.create(connection, batch, idempotency_key=None)
        assert batches.mark_planned(connection, batch.id, plan_key=f"{batch.id}/plan", now=START)
        shards.create(connection, batch, [(100 * n, 100, each) for n in range(shard_count)])

    await database.write(plan)


async def find(database: Database, batch_id: str, workspace: WorkspaceId = HERE) -> Batch | None:
    return await database.read(lambda c: batches.find(c, batch_id, workspace))


async def claim(
    database: Database,
    owner: WorkerId = ANNA,
    *,
    now: datetime = START,
    limit: int = 10,
    only: Sequence[BatchId] | None = None,
    held: Sequence[ShardKey] = (),
) -> list[Claim]:
    return await database.write(
        lambda c: shards.claim(
            c, owner, now=now, until=now + LEASE, limit=limit, only=only, held=held
        )
    )


def key_of(claim: Claim) -> ShardKey:
    return ShardKey(claim.shard.batch_id, claim.shard.number)


async def renew(database: Database, *claims: Claim, until: datetime) -> None:
    held = [key_of(claim) for claim in claims]
    await database.write(lambda c: shards.renew(c, ANNA, held, until=until))


async def journaled(database: Database, claim: Claim) -> list[bytes] | None:
    fence = claim.shard.lease.fence
    return await database.read(lambda c: journal.lines(c, key_of(claim), fence=fence))


def numbers(claims: Sequence[Claim]) -> list[tuple[str, int]]:
    return [(claim.shard.batch_id, claim.shard.number) for claim in claims]


def recording(claim: Claim, *positions: int, model: str = "m", tokens: int = 10) -> Recording:
    """Record an answer for each of these positions, after what the claim knew."""
    before = claim.totals
    more = Usage(input_tokens=tokens * len(positions), output_tokens=len(positions))
    usage = batches.add_usage(before.usage, {model: more})
    return Recording(
        key=ShardKey(claim.shard.batch_id, claim.shard.number),
        fence=claim.shard.lease.fence,
        before=before,
        after=replace(before, succeeded=before.succeeded + len(positions), usage=usage),
        positions=pack_positions(positions),
        lines=b"".join(b'{"custom_id":"%d"}\n' % position for position in positions),
    )


async def record(database: Database, *many: Recording) -> set[ShardKey]:
    return await database.write(lambda c: journal.record(c, many, until=START + LEASE))


async def seal(database: Database, claim: Claim) -> tuple[bool, bool]:
    """Seal a shard and end its batch if it was the last; as the pipeline does, at once."""
    key = ShardKey(claim.shard.batch_id, claim.shard.number)
    part = SealedPart(f"{key.batch_id}/results-{key.number}", 10)

    def change(connection: Connection) -> tuple[bool, bool]:
        fence = claim.shard.lease.fence
        sealed = shards.seal(connection, key, fence=fence, part=part, now=START + SECOND)
        now = START + SECOND
        ended = batches.end_if_sealed(connection, key.batch_id, now=now) if sealed else None
        return sealed, ended is not None

    return await database.write(change)


async def ended(database: Database, batch: Batch) -> None:
    """Store a batch that has ended."""
    await planned(database, batch, 1)
    [claimed] = await claim(database, only=[batch.id])
    await record(database, recording(claimed, *range(batch.request_count)))
    assert await seal(database, claimed) == (True, True)


# Batches: create, find, list.


async def test_a_batch_is_found_as_it_was_created(database: Database) -> None:
    batch = a_batch(betas=("one-2025-01-01", "two-2025-01-01"), user_profile_id="profile")
    await stored(database, batch)
    assert await find(database, batch.id) == batch


async def test_a_batch_does_not_exist_for_another_workspace(database: Database) -> None:
    await ended(database, a_batch())
    assert await find(database, "msgbatch_a", ELSEWHERE) is None
    page = await database.read(lambda c: batches.page(c, ELSEWHERE, limit=10))
    assert page == ([], False)
    assert not await database.write(
        lambda c: batches.mark_deleted(c, "msgbatch_a", ELSEWHERE, now=START)
    )
    assert (
        await database.write(lambda c: batches.cancel(c, "msgbatch_a", ELSEWHERE, now=START))
        is None
    )
    assert await database.read(lambda c: batches.cursor(c, "msgbatch_a", ELSEWHERE)) is None


async def test_an_idempotency_key_belongs_to_one_batch_of_a_workspace(database: Database) -> None:
    def create(connection: Connection, name: str, workspace: WorkspaceId) -> None:
        batch = a_batch(name, workspace_id=workspace)
        batches.create(connection, batch, idempotency_key="again")

    await database.write(partial(create, name="a", workspace=HERE))
    await database.write(partial(create, name="b", workspace=ELSEWHERE))
    with pytest.raises(IntegrityError):
        await database.write(partial(create, name="c", workspace=HERE))
    found = await database.read(lambda c: batches.find_by_idempotency_key(c, "again", HERE))
    assert found is not None and found.id == "msgbatch_a"


# Newest first; d and c were created at the same moment.
LISTED = ("e", "d", "c", "b", "a")


@pytest.fixture
async def listed(database: Database) -> Database:
    minutes = {"a": 0, "b": 1, "c": 2, "d": 2, "e": 3}
    for name, minute in minutes.items():
        await stored(database, a_batch(name, created_at=START + timedelta(minutes=minute)))
    return database


async def page(
    database: Database, *, limit: int, after: str | None = None, before: str | None = None
) -> tuple[list[str], bool]:
    def ask(connection: Connection) -> tuple[list[Batch], bool]:
        older = after and batches.cursor(connection, f"msgbatch_{after}", HERE)
        newer = before and batches.cursor(connection, f"msgbatch_{before}", HERE)
        return batches.page(
            connection, HERE, limit=limit, after=older or None, before=newer or None
        )

    found, has_more = await database.read(ask)
    return [batch.id.removeprefix("msgbatch_") for batch in found], has_more


@pytest.mark.parametrize(
    ("limit", "after", "before", "expected", "has_more"),
    [
        (5, None, None, [*LISTED], False),
        (2, None, None, ["e", "d"], True),
        (2, "d", None, ["c", "b"], True),
        (2, "c", None, ["b", "a"], False),
        (2, "a", None, [], False),
        (2, None, "b", ["d", "c"], True),
        (2, None, "c", ["e", "d"], False),
        (1, None, "c", ["d"], True),
        (2, None, "e", [], False),
    ],
)
async def test_a_page_lies_next_to_its_cursor_newest_first(
    listed: Database,
    limit: int,
    after: str | None,
    before: str | None,
    expected: list[str],
    has_more: bool,
) -> None:
    assert await page(listed, limit=limit, after=after, before=before) == (expected, has_more)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_paging_shows_every_batch_once(listed: Database, limit: int) -> None:
    shown: list[str] = []
    has_more = True
    while has_more:
        found, has_more = await page(listed, limit=limit, after=shown[-1] if shown else None)
        shown += found
    assert shown == [*LISTED]


async def test_a_deleted_batch_leaves_the_list_and_stays_a_cursor(database: Database) -> None:
    for minute, name in enumerate("abc"):
        await ended(database, a_batch(name, created_at=START + timedelta(minutes=minute)))
    assert await database.write(lambda c: batches.mark_deleted(c, "msgbatch_b", HERE, now=START))
    assert await page(database, limit=5) == (["c", "a"], False)
    assert await page(database, limit=5, after="b") == (["a"], False)
    await database.write(lambda c: batches.purge(c, BatchId("msgbatch_b")))
    assert await page(database, limit=5, before="b") == (["c"], False)


# Batches: cancel, delete.


async def test_the_first_cancel_sets_the_time_and_later_ones_keep_it(database: Database) -> None:
    await stored(database, a_batch())
    for now in (START, START + SECOND):
        canceled = await database.write(
            partial(batches.cancel, batch_id="msgbatch_a", workspace_id=HERE, now=now)
        )
        assert canceled is not None and canceled.status == "canceling"
        assert canceled.cancel_initiated_at == START
        assert await find(database, "msgbatch_a") == canceled


async def test_an_ended_batch_cannot_be_canceled(database: Database) -> None:
    await ended(database, a_batch())
    before = await find(database, "msgbatch_a")
    with pytest.raises(InvalidRequest):
        await database.write(lambda c: batches.cancel(c, "msgbatch_a", HERE, now=START))
    assert await find(database, "msgbatch_a") == before


async def test_only_an_ended_batch_can_be_deleted_and_only_once(database: Database) -> None:
    def delete(connection: Connection) -> bool:
        return batches.mark_deleted(connection, "msgbatch_a", HERE, now=START)

    assert not await database.write(delete)
    await stored(database, a_batch())
    with pytest.raises(InvalidRequest):
        await database.write(delete)
    await ended(database, a_batch("b"))
    assert await database.write(lambda c: batches.mark_deleted(c, "msgbatch_b", HERE, now=START))
    assert await find(database, "msgbatch_b") is None
    assert not await database.write(
        lambda c: batches.mark_deleted(c, "msgbatch_b", HERE, now=START)
    )


async def test_a_deleted_batch_frees_its_idempotency_key(database: Database) -> None:
    batch = a_batch(request_count=0, counts=Counts())

    def create(connection: Connection, batch: Batch) -> None:
        batches.create(connection, batch, idempotency_key="again")

    await database.write(partial(create, batch=batch))

    def end(connection: Connection) -> bool:
        batches.mark_planned(connection, batch.id, plan_key="p", now=START)
        return batches.end_if_sealed(connection, batch.id, now=START) is not None

    assert await database.write(end)
    await database.write(lambda c: batches.mark_deleted(c, batch.id, HERE, now=START))
    await database.write(partial(create, batch=a_batch("b")))


# Planning and claiming.


async def test_of_two_plans_the_first_counts(database: Database) -> None:
    await stored(database, a_batch())

    def plan(key: str) -> Callable[[Connection], bool]:
        return partial(
            batches.mark_planned, batch_id=BatchId("msgbatch_a"), plan_key=key, now=START
        )

    assert await asyncio.gather(*(database.write(plan(key)) for key in "12")) in (
        [True, False],
        [False, True],
    )
    assert await database.read(lambda c: batches.unplanned(c, limit=10)) == []


async def test_shards_are_claimed_oldest_batch_first_up_to_a_limit(database: Database) -> None:
    await planned(database, a_batch("young", created_at=START + SECOND))
    await planned(database, a_batch("old"))
    first = await claim(database, limit=3)
    assert numbers(first) == [("msgbatch_old", 0), ("msgbatch_old", 1), ("msgbatch_young", 0)]
    assert [claim.shard.offset for claim in first] == [0, 100, 0]
    assert {claim.plan_key for claim in first} == {"msgbatch_old/plan", "msgbatch_young/plan"}
    assert numbers(await claim(database, BERT)) == [("msgbatch_young", 1)]
    assert await claim(database, BERT) == []


async def test_a_claim_can_be_restricted_to_some_batches(database: Database) -> None:
    await planned(database, a_batch("a"))
    await planned(database, a_batch("b"))
    only = [BatchId("msgbatch_b")]
    assert numbers(await claim(database, only=only)) == [("msgbatch_b", 0), ("msgbatch_b", 1)]


async def test_workers_that_claim_at_once_get_different_shards(database: Database) -> None:
    await planned(database, a_batch(request_count=40), 40)
    owners = [new_worker_id() for _ in range(8)]
    claims = await asyncio.gather(*(claim(database, owner, limit=5) for owner in owners))
    claimed = [number for many in claims for number in numbers(many)]
    assert len(claimed) == len(set(claimed)) > 5
    # Whoever found all rows locked by others gets them at the next try.
    rest = await claim(database, limit=40)
    assert sorted(claimed + numbers(rest)) == [("msgbatch_a", number) for number in range(40)]


async def test_a_lapsed_lease_goes_to_another_worker_with_a_new_fence(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    assert await claim(database, BERT, now=START + LEASE - SECOND) == []
    # Its own shard is no news to the worker.
    assert await claim(database, now=START + LEASE, held=[key_of(mine)]) == []
    [taken] = await claim(database, BERT, now=START + LEASE)
    assert taken.shard.lease.fence > mine.shard.lease.fence


async def test_a_late_worker_cannot_write_after_its_lease_was_taken(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    [taken] = await claim(database, BERT, now=START + LEASE)
    assert await record(database, recording(mine, 0, 1)) == {key_of(mine)}
    assert await seal(database, mine) == (False, False)
    assert await record(database, recording(taken, 2)) == set()
    assert await journaled(database, taken) == [b'{"custom_id":"2"}\n']
    assert await journaled(database, mine) is None


async def test_a_renewed_lease_is_not_taken(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    await renew(database, mine, until=START + 2 * LEASE)
    assert await claim(database, BERT, now=START + LEASE) == []
    assert len(await claim(database, BERT, now=START + 2 * LEASE)) == 1


async def test_a_claim_that_its_worker_never_learned_of_comes_free_with_its_lease(
    database: Database,
) -> None:
    await planned(database, a_batch(), 2)
    [known, _] = await claim(database)
    await renew(database, known, until=START + 2 * LEASE)
    [again] = await claim(database, now=START + LEASE, held=[key_of(known)])
    assert again.shard.number == 1


async def test_recording_renews_the_lease(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    await database.write(lambda c: journal.record(c, [recording(mine, 0)], until=START + 2 * LEASE))
    assert await claim(database, BERT, now=START + LEASE) == []


async def test_a_released_shard_is_free_at_once_and_its_old_fence_is_refused(
    database: Database,
) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    assert await database.read(shards.owners) == [ANNA]
    assert await database.write(lambda c: shards.release(c, [ANNA])) == 1
    assert await database.write(lambda c: shards.release(c, [ANNA])) == 0
    assert await database.read(shards.owners) == []
    [again] = await claim(database, BERT)
    assert again.shard.lease.fence > mine.shard.lease.fence
    assert await record(database, recording(mine, 0)) != set()


async def test_a_released_shard_is_not_revived_by_a_late_renewal(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    await database.write(lambda c: shards.release(c, [ANNA]))
    await renew(database, mine, until=START + LEASE)
    assert len(await claim(database, BERT)) == 1


# The journal.


async def test_a_claim_knows_what_is_recorded_already(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    first = recording(mine, 3, 1)
    await record(database, first)
    [taken] = await claim(database, BERT, now=START + LEASE)
    assert taken.recorded_positions == {1, 3}
    assert taken.totals == first.after


async def test_a_recording_repeated_after_a_lost_answer_is_there_once(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    once = recording(mine, 0, 1)
    assert await record(database, once) == set()
    assert await record(database, once) == set()
    assert await journaled(database, mine) == [once.lines]
    live = await database.read(lambda c: batches.live(c, a_batch()))
    assert live.counts == Counts(processing=2, succeeded=2)


async def test_a_lost_shard_does_not_keep_others_from_being_recorded(database: Database) -> None:
    await planned(database, a_batch(), 2)
    [_, one] = await claim(database)
    await database.write(lambda c: shards.release(c, [ANNA]))
    [taken, _] = await claim(database, ANNA)
    late, good = recording(one, 0), recording(taken, 0)
    assert await record(database, late, good) == {ShardKey(BatchId("msgbatch_a"), 1)}
    live = await database.read(lambda c: batches.live(c, a_batch()))
    assert live.counts.succeeded == 1


async def test_lines_come_back_in_the_order_in_which_they_were_recorded(
    database: Database,
) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    first = recording(mine, 2)
    await record(database, first)
    second = recording(replace(mine, totals=first.after), 0, 1)
    await record(database, second)
    assert await journaled(database, mine) == [first.lines, second.lines]


# The end.


async def test_the_last_seal_ends_the_batch_with_counts_usage_and_results(
    database: Database,
) -> None:
    await planned(database, a_batch(), 2)
    zero, one = await claim(database)
    await record(database, recording(zero, 0, 1, model="m", tokens=10))
    assert await seal(database, zero) == (True, False)
    await record(database, recording(one, 0, 1, model="n", tokens=100))
    assert await seal(database, one) == (True, True)
    found = await find(database, "msgbatch_a")
    assert found is not None
    assert (found.status, found.ended_at) == ("ended", START + SECOND)
    assert found.counts == Counts(succeeded=4)
    live = await database.read(lambda c: batches.live(c, found))
    assert live.counts == found.counts
    assert live.usage == {
        "m": Usage(input_tokens=20, output_tokens=2), "n": Usage(input_tokens=200, output_tokens=2),
    }  # fmt: skip
    assert live.total_usage == Usage(input_tokens=220, output_tokens=4)
    parts = await database.read(lambda c: shards.results(c, found.id))
    assert parts == [("msgbatch_a/results-0", 10), ("msgbatch_a/results-1", 10)]
    assert await database.read(lambda c: c.execute(text("SELECT * FROM journal")).all()) == []
    # A seal whose answer was lost is tried again: there are no lines to make the object of.
    assert await journaled(database, zero) is None


async def test_counts_stay_in_processing_until_the_end(database: Database) -> None:
    await planned(database, a_batch(), 2)
    zero, _ = await claim(database)
    await record(database, recording(zero, 0, 1))
    await seal(database, zero)
    found = await find(database, "msgbatch_a")
    assert found is not None and found.counts == Counts(processing=4)
    recorded = await database.read(lambda c: batches.recorded(c, [found.id]))
    assert recorded == {found.id: 2}


@pytest.mark.parametrize("attempt", range(5))
async def test_two_who_seal_the_last_two_shards_at_once_end_the_batch_once(
    database: Database, attempt: int
) -> None:
    await planned(database, a_batch(f"race-{attempt}"), 2)
    [zero] = await claim(database, ANNA, limit=1)
    [one] = await claim(database, BERT, limit=1)
    await record(database, recording(zero, 0, 1))
    await record(database, recording(one, 0, 1))
    outcomes = await asyncio.gather(seal(database, zero), seal(database, one))
    assert sorted(outcomes) == [(True, False), (True, True)]


async def test_a_shard_is_sealed_once(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    await record(database, recording(mine, 0, 1, 2, 3))
    outcomes = await asyncio.gather(seal(database, mine), seal(database, mine))
    assert sorted(outcomes) == [(False, False), (True, True)]


async def test_a_batch_does_not_end_while_a_request_has_no_outcome(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    await record(database, recording(mine, 0))
    with pytest.raises(AssertionError):
        await seal(database, mine)
    found = await find(database, "msgbatch_a")
    assert found is not None and found.status == "in_progress"


# Due work.


async def test_canceled_and_expired_batches_are_due_to_be_stopped(database: Database) -> None:
    await stored(database, a_batch("goes-on"), a_batch("canceled"))
    await stored(database, a_batch("late", expires_at=START + SECOND))
    await ended(database, a_batch("ended", expires_at=START))
    await database.write(lambda c: batches.cancel(c, "msgbatch_canceled", HERE, now=START))
    due = await database.read(lambda c: batches.stopped(c, now=START + SECOND))
    assert sorted(due) == ["msgbatch_canceled", "msgbatch_late"]
    assert await database.read(lambda c: batches.stopped(c, now=START)) == ["msgbatch_canceled"]
    running = await database.read(batches.running)
    assert sorted(run.batch_id for run in running) == [
        "msgbatch_canceled",
        "msgbatch_goes-on",
        "msgbatch_late",
    ]


async def test_unplanned_batches_are_due_oldest_first(database: Database) -> None:
    await stored(database, a_batch("young", created_at=START + SECOND), a_batch("old"))
    await planned(database, a_batch("planned"))
    due = await database.read(lambda c: batches.unplanned(c, limit=10))
    assert [batch.id for batch in due] == ["msgbatch_old", "msgbatch_young"]
    assert len(await database.read(lambda c: batches.unplanned(c, limit=1))) == 1


async def test_ended_batches_are_archived_when_their_retention_is_over(database: Database) -> None:
    await ended(database, a_batch())
    await stored(database, a_batch("running"))
    over = START + 29 * DAY

    async def due(now: datetime) -> list[BatchId]:
        return await database.read(lambda c: batches.due_for_archive(c, now=now, limit=10))

    assert await due(over - SECOND) == []
    assert await due(over) == ["msgbatch_a"]
    for now in (over, over + SECOND):
        await database.write(
            partial(batches.mark_archived, batch_id=BatchId("msgbatch_a"), now=now)
        )
    found = await find(database, "msgbatch_a")
    assert found is not None and found.archived_at == over
    assert await due(over) == []


async def test_deleted_batches_are_due_until_purged_and_forgotten_after_retention(
    database: Database,
) -> None:
    await ended(database, a_batch())
    await database.write(lambda c: batches.mark_deleted(c, "msgbatch_a", HERE, now=START))
    batch_id = BatchId("msgbatch_a")
    assert await database.read(lambda c: batches.deleted(c, limit=10)) == [batch_id]
    for _ in range(2):
        await database.write(lambda c: batches.purge(c, batch_id))
    assert await database.read(lambda c: batches.deleted(c, limit=10)) == []
    assert await database.read(lambda c: shards.results(c, batch_id)) == []
    await database.write(lambda c: batches.forget_purged(c, now=START + 28 * DAY))
    assert await database.read(lambda c: batches.known(c, [batch_id, "other"])) == {batch_id}
    await database.write(lambda c: batches.forget_purged(c, now=START + 29 * DAY))
    assert await database.read(lambda c: batches.known(c, [batch_id])) == set()


async def test_the_plan_of_an_ended_batch_is_spent_until_forgotten(database: Database) -> None:
    await planned(database, a_batch("running"))
    await ended(database, a_batch())
    spent = await database.read(lambda c: batches.spent_plans(c, limit=10))
    assert spent == [("msgbatch_a", "msgbatch_a/plan")]
    await database.write(lambda c: batches.forget_plan(c, BatchId("msgbatch_a")))
    assert await database.read(lambda c: batches.spent_plans(c, limit=10)) == []


# Transactions, presence, schema.


async def test_a_change_that_raises_changes_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        batches.create(connection, a_batch(), idempotency_key=None)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(half)
    assert await find(database, "msgbatch_a") is None


async def test_an_error_does_not_show_what_was_to_be_written(database: Database) -> None:
    await planned(database, a_batch(), 1)
    [mine] = await claim(database)
    secret = replace(recording(mine, 0), lines=b"sunflower", positions=None)
    with pytest.raises(IntegrityError) as raised:
        await record(database, secret)
    assert "sunflower" not in str(raised.value)


async def test_the_dead_are_seen_and_the_living_never(
    database: Database, database_url: str | None, tmp_path: Path
) -> None:
    gone, living = new_worker_id(), new_worker_id()
    other = database
    if database_url is not None:
        other = open_database(settings_for(tmp_path, database_url=database_url))
        other.presence.announce(living)
    me = new_worker_id()
    database.presence.announce(me)
    database.presence.announce(me)
    asked = [gone, me] if other is database else [gone, living, me]
    assert other.presence.dead(asked) == [gone]
    if other is not database:
        await other.close()
        assert database.presence.dead(asked) == [gone, living]


async def test_a_worker_whose_old_session_lingers_goes_on_and_lives(
    postgres: Cluster, tmp_path: Path
) -> None:
    me = new_worker_id()
    with postgres.database() as url:
        settings = settings_for(tmp_path, database_url=url)
        before, after, watcher = (open_database(settings) for _ in range(3))
        before.presence.announce(me)
        async with asyncio.timeout(10):
            await asyncio.to_thread(after.presence.announce, me)
        assert watcher.presence.dead([me]) == []
        await before.close()
        after.presence.announce(me)
        assert watcher.presence.dead([me]) == []
        await after.close()
        assert watcher.presence.dead([me]) == [me]
        await watcher.close()


async def test_automatic_caching_is_remembered_and_what_became_of_it(database: Database) -> None:
    await stored(database, a_batch("on", auto_cache=True), a_batch("off"))
    for name, marked in (("on", 3), ("off", None)):
        batch_id = BatchId(f"msgbatch_{name}")
        before = await find(database, batch_id)
        assert before
        assert (before.auto_cache, before.auto_cached_requests) == (name == "on", None)
        plan = partial(
            batches.mark_planned, batch_id=batch_id, plan_key="p", auto_cached=marked, now=START
        )
        assert await database.write(plan)
        after = await find(database, batch_id)
        assert after
        assert after.auto_cached_requests == marked


async def test_a_migrated_database_has_the_tables_of_this_version(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    assert await database.read(differences) == []


async def test_a_database_is_migrated_from_nothing(postgres: Cluster, tmp_path: Path) -> None:
    with postgres.database(migrated=False) as url:
        for _ in range(2):
            opened = open_database(settings_for(tmp_path, database_url=url))
            await stored(opened, a_batch(new_worker_id()))
            await opened.close()


async def test_servers_that_start_at_once_migrate_once(postgres: Cluster, tmp_path: Path) -> None:
    with postgres.database(migrated=False) as url:
        settings = settings_for(tmp_path, database_url=url)
        opened = await asyncio.gather(
            *(asyncio.to_thread(open_database, settings) for _ in range(4))
        )
        for database in opened:
            await database.close()


async def test_a_schema_newer_than_the_code_is_refused(
    database_url: str | None, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, database_url=database_url)
    change = text("UPDATE alembic_version SET version_num = '9999'")
    database = open_database(settings)
    await database.write(lambda c: c.execute(change).rowcount)
    await database.close()
    with pytest.raises(ConfigInvalid, match="schema 9999, newer than this version knows") as caught:
        open_database(settings)
    assert caught.value.hint is not None


async def test_the_code_and_its_newest_migration_agree_on_the_head(database: Database) -> None:
    found = text("SELECT version_num FROM alembic_version")
    assert await database.read(lambda c: c.execute(found).scalar_one()) == migrate.HEAD


async def test_an_id_with_nul_is_an_unknown_one(database: Database) -> None:
    assert await database.read(lambda c: batches.find(c, "msg\0batch", ELSEWHERE)) is None
    assert await database.read(lambda c: batches.cursor(c, "msg\0batch", ELSEWHERE)) is None
    assert not await database.write(
        lambda c: batches.mark_deleted(c, "msg\0batch", ELSEWHERE, now=START)
    )


async def test_a_report_about_a_model_with_nul_has_nothing(database: Database) -> None:
    found = await database.read(
        lambda c: ledger.totals(
            c, since=START - DAY, until=START, width=DAY, by={"model"}, only={"model": ["m\0"]}
        )
    )
    assert found == []
