"""How many requests may be queued: counted in the database, and never more, whoever creates."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.conformance.test_store import HERE, a_batch, claim, ended, planned, record, recording
from tests.conformance.test_store import stored as stored_batches
from tests.support.money import TARIFF, a_treasury
from tests.support.service import START, settings_for

from overnight.access.keys import workspace_id
from overnight.app import open_database
from overnight.clock import MovableClock
from overnight.errors import QueueFull, RateLimited
from overnight.model import Batch, WorkspaceId
from overnight.pipeline.accept import Acceptor, Submission, queue_full
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.wake import Wakes
from overnight.pricing.bounds import Bounder
from overnight.store import batches, workspaces
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.tenancy import Limit, Workspace

ELSEWHERE = WorkspaceId("wrkspc_01elsewhere")
OURS = workspace_id("ours")


async def queued(
    database: Database, workspace: WorkspaceId = HERE, key_id: str | None = None
) -> int:
    ask = partial(batches.queued, workspace_id=workspace, key_id=key_id)
    return await database.read(ask)


async def test_nothing_is_queued_in_an_empty_workspace(database: Database) -> None:
    assert await queued(database) == 0


async def test_requests_are_queued_until_each_has_its_outcome(database: Database) -> None:
    await stored_batches(database, a_batch("waiting", request_count=7))
    await planned(database, a_batch("running", request_count=4))
    await ended(database, a_batch("ended"))
    assert await queued(database) == 11
    [first, second] = await claim(database)
    await record(database, recording(first, 0))
    assert await queued(database) == 10
    await record(database, recording(second, 0, 1))
    assert await queued(database) == 8


async def test_each_workspace_and_each_key_has_its_own_count(database: Database) -> None:
    await stored_batches(
        database,
        a_batch("a", request_count=1, key_id="apikey_01a"),
        a_batch("b", request_count=2, key_id="apikey_01b"),
        a_batch("c", request_count=4),
        a_batch("d", request_count=8, workspace_id=ELSEWHERE, key_id="apikey_01a"),
    )
    assert await queued(database) == 7
    assert await queued(database, ELSEWHERE) == 8
    assert await queued(database, key_id="apikey_01a") == 1
    assert await queued(database, key_id="apikey_01x") == 0


async def test_a_canceled_batch_counts_until_its_requests_have_ended(database: Database) -> None:
    await stored_batches(database, a_batch(request_count=3))
    await database.write(lambda c: batches.cancel(c, "msgbatch_a", HERE, now=START))
    assert await queued(database) == 3


# Creates that run side by side.


def body(count: int) -> bytes:
    rows = [{"custom_id": f"r-{number}", "params": {}} for number in range(count)]
    return msgspec.json.encode({"requests": rows})


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def an_acceptor(
    database: Database,
    folder: Path,
    clock: MovableClock,
    treasury: Treasury | None = None,
    *,
    max_requests: int = 100,
) -> Acceptor:
    return Acceptor(
        database=database,
        objects=ObjectDirectory(folder / "objects"),
        clock=clock,
        wakes=Wakes(),
        treasury=treasury or a_treasury(database, clock),
        bounder=Bounder(TARIFF.book),
        max_requests=max_requests,
        processing_window_s=60,
        retention_s=60,
    )


def submission(
    *limits: Limit, key_id: str | None = None, idempotency_key: str | None = None
) -> Submission:
    return Submission(
        workspace_id=OURS,
        key_id=key_id,
        api_version="2023-06-01",
        idempotency_key=idempotency_key,
        queue_limits=limits,
    )


@pytest.fixture
async def acceptors(
    database_url: str | None, tmp_path: Path, clock: MovableClock
) -> AsyncIterator[Sequence[Acceptor]]:
    """Give those of two processes on PostgreSQL, and the one that SQLite allows."""
    settings = settings_for(tmp_path, database_url=database_url)
    opened = [open_database(settings) for _ in range(2 if database_url else 1)]
    made = Workspace(id=OURS, name="ours", created_at=START)
    await opened[0].write(partial(workspaces.create, workspace=made))
    yield [an_acceptor(database, tmp_path, clock) for database in opened]
    for database in opened:
        await database.close()


async def outcomes(
    acceptors: Sequence[Acceptor], submissions: Sequence[Submission], count: int
) -> list[Batch | BaseException]:
    """Create batches of some requests all at once."""
    return await asyncio.gather(
        *(
            acceptors[number % len(acceptors)].accept(pieces(body(count)), given)
            for number, given in enumerate(submissions)
        ),
        return_exceptions=True,
    )


async def test_twenty_creates_at_once_get_exactly_what_fits(
    acceptors: Sequence[Acceptor], database_url: str | None, tmp_path: Path
) -> None:
    limit = Limit("workspace", OURS, 55)
    found = await outcomes(acceptors, [submission(limit)] * 20, 10)
    accepted = [one for one in found if isinstance(one, Batch)]
    assert len(accepted) == 5
    assert all(isinstance(one, Batch | QueueFull) for one in found)
    kept = {path.name for path in (tmp_path / "objects").iterdir() if path.is_dir()}
    assert kept == {batch.id for batch in accepted}


async def test_the_limits_of_a_key_and_of_its_workspace_both_hold(
    acceptors: Sequence[Acceptor],
) -> None:
    everyone, one = Limit("workspace", OURS, 80), Limit("key", "apikey_01one", 30)
    narrow = [submission(everyone, one, key_id="apikey_01one")] * 10
    wide = [submission(everyone, key_id="apikey_01wide")] * 10
    found = await outcomes(acceptors, [*narrow, *wide], 10)
    assert sum(isinstance(one, Batch) for one in found[:10]) <= 3
    assert sum(isinstance(one, Batch) for one in found) == 8


async def test_a_full_queue_refuses_before_the_body_is_read(
    acceptors: Sequence[Acceptor],
) -> None:
    limit = Limit("workspace", OURS, 10)
    await acceptors[0].accept(pieces(body(10)), submission(limit))

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(QueueFull, match=r"of 10 requests in processing: 10 are queued$"):
        await acceptors[0].accept(never(), submission(limit))


async def test_a_repeated_create_finds_its_batch_also_when_the_queue_is_full(
    acceptors: Sequence[Acceptor],
) -> None:
    given = submission(Limit("workspace", OURS, 10), idempotency_key="again")
    first = await acceptors[0].accept(pieces(body(10)), given)
    again = await acceptors[0].accept(pieces(body(10)), given)
    assert again.id == first.id
    other = submission(Limit("workspace", OURS, 10), idempotency_key="another")
    with pytest.raises(QueueFull, match="10 are queued, this batch has 10"):
        await acceptors[0].accept(pieces(body(10)), other)


# When to come back.


@pytest.mark.parametrize(
    ("queued", "own", "pace_per_s", "wait_s"),
    [
        (90, 20, None, None),
        (90, 20, 0.0, None),
        (90, 20, 5.0, 2.0),
        (90, 20, 1_000.0, 1.0),
        (90, 20, 0.16, None),
        (100, None, 0.5, 2.0),
        (0, 101, 1_000.0, None),
    ],
)
def test_a_wait_is_told_when_it_is_known_and_short(
    queued: int, own: int | None, pace_per_s: float | None, wait_s: float | None
) -> None:
    limit = Limit("workspace", OURS, 100)
    error = queue_full(limit, queued=queued, own=own, pace_per_s=pace_per_s)
    assert error.retry_after_s == wait_s
    assert isinstance(error, QueueFull) is (wait_s is None)
    assert isinstance(error, RateLimited)
    assert error.should_retry is (False if wait_s is None else None)
