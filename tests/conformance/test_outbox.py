"""Webhook endpoints, the outbox and its deliveries, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection
from tests.support.service import DAY, START

from overnight.errors import InvalidRequest
from overnight.model import (
    Batch,
    BatchId,
    Counts,
    Delivery,
    Webhook,
    WebhookId,
    WorkerId,
    WorkspaceId,
)
from overnight.store import batches, outbox, shards, webhooks
from overnight.store.database import Database
from overnight.store.outbox import Key, Line, Report
from overnight.store.webhooks import MAX_WEBHOOKS
from overnight.wire.webhooks import EVENT_TYPES

HERE = WorkspaceId("wrkspc_01here")
ELSEWHERE = WorkspaceId("wrkspc_01elsewhere")
ANNA, BERT = WorkerId("worker_01anna"), WorkerId("worker_01bert")
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=120)
FINE = Report(at=START + SECOND, duration_ms=5, status=200)
BAD = Report(at=START + SECOND, duration_ms=5, status=500, error="the receiver answered 500")


def a_webhook(name: str = "a", **changes: Any) -> Webhook:
    webhook = Webhook(
        id=WebhookId(f"whep_{name}"),
        workspace_id=HERE,
        url="https://example.com/hook",
        events=EVENT_TYPES,
        created_at=START,
        updated_at=START,
        seed=b"seed",
    )
    return replace(webhook, **changes)


def a_batch(name: str = "a", **changes: Any) -> Batch:
    batch = Batch(
        id=BatchId(f"msgbatch_{name}"),
        workspace_id=HERE,
        status="in_progress",
        created_at=START,
        expires_at=START + DAY,
        retain_until=START + 29 * DAY,
        api_version="2023-06-01",
        request_count=0,
        input_key="key",
        input_bytes=1,
        counts=Counts(),
    )
    return replace(batch, **changes)


async def told(database: Database, *hooks: Webhook, batch: Batch | None = None) -> Batch:
    """Store endpoints and a batch that is planned and has no request left."""
    batch = batch or a_batch()

    def store(connection: Connection) -> None:
        for webhook in hooks:
            webhooks.create(connection, webhook)
        batches.create(connection, batch, idempotency_key=None)
        assert batches.mark_planned(connection, batch.id, plan_key="plan", now=START)

    await database.write(store)
    return batch


async def cancel(database: Database, batch: Batch, *, now: datetime = START) -> None:
    await database.write(partial(batches.cancel, batch_id=batch.id, workspace_id=HERE, now=now))


async def end(database: Database, batch: Batch, *, now: datetime = START) -> bool:
    ended = await database.write(partial(batches.end_if_sealed, batch_id=batch.id, now=now))
    return ended is not None


async def log_of(database: Database, webhook: str = "a") -> list[Delivery]:
    """Give the deliveries to an endpoint, the oldest event first."""
    found, more = await database.read(
        lambda c: outbox.page(c, WebhookId(f"whep_{webhook}"), limit=100)
    )
    assert not more
    return found[::-1]


async def due(
    database: Database, *, now: datetime = START, without: Sequence[str] = ()
) -> list[Delivery]:
    skipped = [WebhookId(webhook_id) for webhook_id in without]
    return await database.read(lambda c: outbox.due(c, now=now, limit=100, without=skipped))


def key(delivery: Delivery) -> Key:
    return Key(delivery.webhook_id, delivery.event.number)


async def claim(
    database: Database, owner: WorkerId = ANNA, *, now: datetime = START
) -> list[Delivery]:
    def claim_all(connection: Connection) -> list[Delivery]:
        keys = [key(one) for one in outbox.due(connection, now=now, limit=100)]
        return outbox.claim(connection, owner, keys, now=now, until=now + LEASE)

    return await database.write(claim_all)


async def note(database: Database, step: Callable[[Connection], object]) -> None:
    await database.write(step)


async def test_the_backlog_is_what_is_due_and_since_when(database: Database) -> None:
    ask = partial(outbox.backlog, now=START + 2 * SECOND)
    assert await database.read(ask) == (0, None)
    batch = await told(database, a_webhook(), a_webhook("b"))
    await cancel(database, batch, now=START + SECOND)
    await end(database, batch, now=START + 3 * SECOND)
    assert await database.read(ask) == (2, START + SECOND)
    await claim(database, now=START + 2 * SECOND)
    # What is under way is not due.
    assert await database.read(ask) == (0, None)


async def test_each_event_is_written_once_and_in_order(database: Database) -> None:
    batch = await told(database, a_webhook())
    for _ in range(2):
        await cancel(database, batch)
    assert await end(database, batch, now=START + SECOND)
    assert not await end(database, batch, now=START + SECOND)
    later = START + 30 * DAY
    archive = partial(batches.mark_archived, batch_id=batch.id, now=later)
    for _ in range(2):
        assert await database.write(archive)
    delete = partial(batches.mark_deleted, batch_id=batch.id, workspace_id=HERE, now=later)
    assert await database.write(delete)
    assert not await database.write(delete)
    assert not await database.write(archive)
    found = await log_of(database)
    assert [delivery.event.type for delivery in found] == list(EVENT_TYPES)
    assert {delivery.event.subject_id for delivery in found} == {batch.id}
    assert {delivery.event.workspace_id for delivery in found} == {HERE}
    assert len({delivery.event.id for delivery in found}) == 4
    assert [delivery.event.created_at for delivery in found] == [
        START, START + SECOND, later, later,
    ]  # fmt: skip
    assert {delivery.state for delivery in found} == {"pending"}
    assert [delivery.next_attempt_at for delivery in found] == [
        delivery.event.created_at for delivery in found
    ]


async def test_what_does_not_become_true_is_not_told(database: Database) -> None:
    batch = await told(database, a_webhook())

    def cancel_and_fail(connection: Connection) -> None:
        batches.cancel(connection, batch.id, HERE, now=START)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(cancel_and_fail)
    with pytest.raises(InvalidRequest):
        await database.write(lambda c: batches.mark_deleted(c, batch.id, HERE, now=START))
    assert await log_of(database) == []
    # Until its last shard is sealed a batch does not end.
    more = a_batch("b", request_count=1, counts=Counts(processing=1))
    await told(database, batch=more)
    await database.write(lambda c: shards.create(c, more, [(0, 1, 1)]))
    assert not await end(database, more)
    assert await log_of(database) == []


async def test_only_those_who_asked_are_told(database: Database) -> None:
    batch = await told(
        database,
        a_webhook("all"),
        a_webhook("ended", events=("message_batch.ended",)),
        a_webhook("off", state="disabled"),
        a_webhook("elsewhere", workspace_id=ELSEWHERE),
    )
    await cancel(database, batch)
    assert await end(database, batch)
    logs = {
        name: [delivery.event.type for delivery in await log_of(database, name)]
        for name in ("all", "ended", "off", "elsewhere")
    }
    assert logs == {
        "all": ["message_batch.canceling", "message_batch.ended"],
        "ended": ["message_batch.ended"],
        "off": [],
        "elsewhere": [],
    }
    every, ended = await log_of(database, "all"), await log_of(database, "ended")
    assert every[1].event == ended[0].event


async def test_a_delivery_belongs_to_the_one_who_claims_it(database: Database) -> None:
    batch = await told(database, a_webhook("a"), a_webhook("b"))
    await cancel(database, batch)
    assert await claim(database, now=START - SECOND) == []
    mine = await claim(database)
    assert [(d.attempts, d.tries, d.under_way) for d in mine] == [(1, 0, True)] * 2
    assert await due(database) == [] and await claim(database, BERT) == []
    assert await database.read(outbox.owners) == [ANNA]
    # Its lease is over.
    again = await claim(database, BERT, now=START + LEASE)
    assert [(d.webhook_id, d.attempts) for d in again] == [("whep_a", 2), ("whep_b", 2)]


async def test_many_who_claim_at_once_get_different_deliveries(database: Database) -> None:
    await told(database, *(a_webhook(f"{n}") for n in range(20)))
    await cancel(database, a_batch())

    def claim_some(connection: Connection) -> list[Key]:
        keys = [key(one) for one in outbox.due(connection, now=START, limit=100)]
        found = outbox.claim(connection, ANNA, keys, now=START, until=START + LEASE)
        return [key(one) for one in found]

    claims = await asyncio.gather(*(database.write(claim_some) for _ in range(8)))
    found = [one for some in claims for one in some]
    assert len(found) == len(set(found)) == 20


async def test_what_a_dead_worker_had_under_way_is_due_at_once(database: Database) -> None:
    await told(database, a_webhook())
    await cancel(database, a_batch())
    await claim(database)
    assert await database.write(lambda c: outbox.release(c, [BERT], now=START)) == 0
    assert await database.write(lambda c: outbox.release(c, [ANNA], now=START)) == 1
    assert await database.read(outbox.owners) == []
    assert len(await claim(database, BERT)) == 1


async def test_an_acknowledged_delivery_is_done(database: Database) -> None:
    await told(database, a_webhook())
    await cancel(database, a_batch())
    (mine,) = await claim(database)
    await note(database, lambda c: outbox.acknowledge(c, mine, FINE))
    (found,) = await log_of(database)
    assert (found.state, found.attempts, found.tries) == ("acknowledged", 1, 1)
    assert (found.last_status, found.last_error, found.last_duration_ms) == (200, None, 5)
    assert (found.acknowledged_at, found.next_attempt_at) == (FINE.at, None)
    assert not found.under_way
    assert await due(database, now=START + 9 * DAY) == []


async def test_a_failed_attempt_is_made_again_or_given_up(database: Database) -> None:
    await told(database, a_webhook())
    await cancel(database, a_batch())
    (first,) = await claim(database)
    at = START + 5 * SECOND
    await note(database, lambda c: outbox.note_failure(c, first, BAD, retry_at=at))
    assert await due(database, now=at - SECOND / 10) == []
    (second,) = await claim(database, now=at)
    assert (second.attempts, second.tries, second.last_status) == (2, 1, 500)
    await note(database, lambda c: outbox.note_failure(c, second, BAD, retry_at=None))
    (found,) = await log_of(database)
    assert (found.state, found.next_attempt_at) == ("failed", None)
    assert found.last_error == BAD.error
    assert await due(database, now=START + 9 * DAY) == []


async def test_of_an_attempt_taken_for_lost_only_good_news_counts(database: Database) -> None:
    await told(database, a_webhook("a"), a_webhook("b"))
    await cancel(database, a_batch())
    lost, also_lost = await claim(database)
    again = await claim(database, BERT, now=START + LEASE)
    await note(database, lambda c: outbox.note_failure(c, lost, BAD, retry_at=None))
    found = (await log_of(database, "a"))[0]
    assert (found.state, found.under_way) == ("pending", True)
    await note(database, lambda c: outbox.acknowledge(c, also_lost, FINE))
    later = replace(BAD, at=START + LEASE)
    await note(database, lambda c: outbox.note_failure(c, again[1], later, retry_at=None))
    found = (await log_of(database, "b"))[0]
    assert (found.state, found.acknowledged_at) == ("acknowledged", FINE.at)


async def test_the_first_event_of_a_subject_is_known_until_an_attempt_has_ended(
    database: Database,
) -> None:
    batch = await told(database, a_webhook())
    await cancel(database, batch)
    await end(database, batch)
    canceling, ended = await due(database)
    line = Line(canceling.webhook_id, batch.id)

    async def first() -> int | None:
        return (await database.read(lambda c: outbox.unsettled(c, [ended]))).get(line)

    assert await first() == canceling.event.number
    keys = [key(canceling)]
    (mine,) = await database.write(
        lambda c: outbox.claim(c, ANNA, keys, now=START, until=START + LEASE)
    )
    assert await first() == canceling.event.number
    # Lost with its worker: nobody knows what came of it.
    await note(database, lambda c: outbox.release(c, [ANNA], now=START))
    assert await first() == canceling.event.number
    (mine,) = await database.write(
        lambda c: outbox.claim(c, BERT, keys, now=START, until=START + LEASE)
    )
    await note(database, lambda c: outbox.note_failure(c, mine, BAD, retry_at=START))
    assert await first() == ended.event.number
    for delivery in await claim(database):
        await note(database, partial(outbox.acknowledge, delivery=delivery, report=FINE))
    assert await first() is None


async def test_what_is_parked_rests_until_it_is_resumed(database: Database) -> None:
    await told(database, a_webhook("a"), a_webhook("b"))
    await cancel(database, a_batch())
    parked = [key(one) for one in await due(database) if one.webhook_id == "whep_a"]
    await note(database, lambda c: outbox.park(c, parked))
    assert [one.webhook_id for one in await due(database, now=START + DAY)] == ["whep_b"]
    later = START + DAY
    await note(database, lambda c: outbox.resume(c, WebhookId("whep_a"), now=later))
    assert [one.webhook_id for one in await due(database, now=later)] == ["whep_b", "whep_a"]
    assert await due(database, now=later, without=["whep_a", "whep_b"]) == []


async def test_an_event_is_sent_again_on_demand_but_not_twice_at_once(database: Database) -> None:
    await told(database, a_webhook())
    await cancel(database, a_batch())
    (first,) = await claim(database)
    later = START + DAY
    await note(database, lambda c: outbox.redeliver(c, first, now=later))
    (found,) = await log_of(database)
    assert found.under_way and found.next_attempt_at == START + LEASE
    await note(database, lambda c: outbox.acknowledge(c, first, FINE))
    await note(database, lambda c: outbox.redeliver(c, first, now=later))
    (again,) = await claim(database, now=later)
    assert (again.attempts, again.tries, again.state) == (2, 0, "pending")
    assert again.event == first.event


async def test_the_log_is_read_page_by_page(database: Database) -> None:
    await told(database, a_webhook())
    for number in range(5):
        await cancel(database, await told(database, batch=a_batch(f"{number}")))
    read = database.read
    webhook = WebhookId("whep_a")
    newest, more = await read(lambda c: outbox.page(c, webhook, limit=2))
    assert more and [d.event.subject_id for d in newest] == ["msgbatch_4", "msgbatch_3"]
    after = newest[-1].event.number
    older, more = await read(lambda c: outbox.page(c, webhook, limit=3, after=after))
    assert not more and [d.event.subject_id[-1] for d in older] == ["2", "1", "0"]
    before = older[-1].event.number
    newer, more = await read(lambda c: outbox.page(c, webhook, limit=2, before=before))
    assert more and [d.event.subject_id[-1] for d in newer] == ["2", "1"]
    assert await read(lambda c: outbox.page(c, webhook, limit=9, state="failed")) == ([], False)
    found = await read(lambda c: outbox.find(c, webhook, newest[0].event.id))
    assert found == newest[0]
    assert await read(lambda c: outbox.find(c, WebhookId("x"), newest[0].event.id)) is None
    assert await read(lambda c: outbox.find(c, webhook, "whe\0")) is None


async def test_old_events_are_forgotten_with_their_deliveries(database: Database) -> None:
    await told(database, a_webhook())
    for number in range(3):
        batch = await told(database, batch=a_batch(f"{number}"))
        await cancel(database, batch, now=START + number * DAY)
    forget = partial(outbox.forget, before=START + 2 * DAY, limit=1)
    assert [await database.write(forget) for _ in range(3)] == [1, 1, 0]
    assert [d.event.subject_id for d in await log_of(database)] == ["msgbatch_2"]


async def test_a_deleted_endpoint_takes_its_log_with_it(database: Database) -> None:
    await told(database, a_webhook("a"), a_webhook("b"))
    await cancel(database, a_batch())
    await note(database, lambda c: webhooks.remove(c, WebhookId("whep_a")))
    assert await log_of(database, "a") == []
    assert len(await log_of(database, "b")) == 1
    assert await database.read(lambda c: webhooks.find(c, "whep_a", HERE)) is None


async def test_an_endpoint_is_stored_whole_and_belongs_to_its_workspace(
    database: Database,
) -> None:
    webhook = replace(
        a_webhook(),
        name="label",
        description="notes\nmore",
        state="disabled",
        disabled_reason="gone",
        failing_since=START,
        previous_seed=b"\0\xff",
        previous_until=START + DAY,
    )
    await database.write(lambda c: webhooks.create(c, webhook))
    assert await database.read(lambda c: webhooks.find(c, webhook.id, HERE)) == webhook
    assert await database.read(lambda c: webhooks.find(c, webhook.id, ELSEWHERE)) is None
    assert await database.read(lambda c: webhooks.find(c, "whep\0", HERE)) is None
    changed = replace(webhook, url="https://example.org/", state="enabled", previous_seed=None)
    await database.write(lambda c: webhooks.change(c, changed))
    assert await database.read(lambda c: webhooks.of_workspace(c, HERE)) == [changed]
    assert await database.read(lambda c: webhooks.of_workspace(c, ELSEWHERE)) == []


async def test_a_workspace_has_no_more_endpoints_than_it_may(database: Database) -> None:
    async def create(number: int) -> bool:
        try:
            await database.write(lambda c: webhooks.create(c, a_webhook(f"{number}")))
        except InvalidRequest as error:
            assert f"at most {MAX_WEBHOOKS}" in error.message
            return False
        return True

    for number in range(MAX_WEBHOOKS - 1):
        assert await create(number)
    at_once = await asyncio.gather(*(create(MAX_WEBHOOKS + number) for number in range(4)))
    assert at_once.count(True) == 1
    other = a_webhook("other", workspace_id=ELSEWHERE)
    await database.write(lambda c: webhooks.create(c, other))


async def test_failing_begins_with_the_first_failure_after_a_success(database: Database) -> None:
    webhook = a_webhook()
    await database.write(lambda c: webhooks.create(c, webhook))

    async def fail(at: datetime, known: Webhook = webhook) -> datetime:
        return await database.write(lambda c: webhooks.note_failure(c, known, now=at))

    assert await fail(START) == START
    assert await fail(START + DAY) == START
    await note(database, lambda c: webhooks.note_success(c, webhook.id))
    assert await fail(START + 2 * DAY) == START + 2 * DAY
    # What failed at an address that is no longer that of the endpoint does not count.
    moved = replace(webhook, url="https://example.org/", updated_at=START + 2 * DAY)
    await note(database, lambda c: webhooks.change(c, moved))
    assert await fail(START + 3 * DAY) == START + 3 * DAY
    assert await fail(START + 4 * DAY, moved) == START + 4 * DAY


async def test_an_endpoint_is_disabled_once_and_not_after_it_was_changed(
    database: Database,
) -> None:
    webhook = a_webhook()
    await database.write(lambda c: webhooks.create(c, webhook))
    later = START + SECOND

    async def disable(known: Webhook) -> bool:
        return await database.write(lambda c: webhooks.disable(c, known, "gone", now=later))

    moved = replace(webhook, url="https://example.org/", updated_at=later)
    await note(database, lambda c: webhooks.change(c, moved))
    assert not await disable(webhook)
    assert await disable(moved)
    assert not await disable(moved)
    found = await database.read(lambda c: webhooks.find(c, webhook.id, HERE))
    assert found is not None
    assert (found.state, found.disabled_reason) == ("disabled", "gone")


async def test_an_endpoint_is_deleted_while_events_are_written(database: Database) -> None:
    for number in range(10):
        webhook = a_webhook(f"{number}")
        batch = await told(database, webhook, batch=a_batch(f"{number}"))
        await asyncio.gather(
            cancel(database, batch), database.write(partial(webhooks.remove, webhook_id=webhook.id))
        )
        assert await log_of(database, f"{number}") == []
        found = await database.read(partial(batches.find, batch_id=batch.id, workspace_id=HERE))
        assert found is not None and found.status == "canceling"


async def test_nobody_waits_in_a_circle_for_endpoints_and_their_deliveries(
    database: Database,
) -> None:
    hooks = [a_webhook(f"{number}") for number in range(3)]
    await told(database, *hooks)

    async def write_events(number: int) -> None:
        for turn in range(10):
            batch = await told(database, batch=a_batch(f"{number}-{turn}"))
            await cancel(database, batch)

    def deliver(connection: Connection, *, owner: WorkerId) -> list[Delivery]:
        found = outbox.due(connection, now=START, limit=5)
        webhooks.held(connection, {delivery.webhook_id for delivery in found})
        outbox.park(connection, [key(delivery) for delivery in found[4:]])
        keys = [key(delivery) for delivery in found[:4]]
        return outbox.claim(connection, owner, keys, now=START, until=START + LEASE)

    def record(connection: Connection, *, delivery: Delivery, hook: Webhook) -> None:
        if delivery.event.number % 2:
            webhooks.note_success(connection, hook.id)
            outbox.acknowledge(connection, delivery, FINE)
        else:
            webhooks.note_failure(connection, hook, now=START)
            webhooks.disable(connection, hook, "gone", now=START)
            outbox.note_failure(connection, delivery, BAD, retry_at=START)

    async def deliver_some(owner: WorkerId) -> None:
        by_id = {hook.id: hook for hook in hooks}
        for _ in range(10):
            for delivery in await database.write(partial(deliver, owner=owner)):
                hook = by_id[delivery.webhook_id]
                await database.write(partial(record, delivery=delivery, hook=hook))

    def enable(connection: Connection, *, hook: Webhook) -> None:
        assert webhooks.find(connection, hook.id, HERE, lock=True) is not None
        webhooks.change(connection, hook)
        outbox.resume(connection, hook.id, now=START)

    async def enable_all() -> None:
        for _ in range(10):
            for hook in hooks:
                await database.write(partial(enable, hook=hook))
            await database.write(partial(outbox.release, of=[ANNA], now=START))

    await asyncio.gather(
        *(write_events(number) for number in range(2)),
        *(deliver_some(owner) for owner in (ANNA, BERT, ANNA)),
        *(enable_all() for _ in range(2)),
    )
    await database.write(partial(outbox.release, of=[ANNA, BERT], now=START))
    found = [
        delivery
        for hook in hooks
        for delivery in await log_of(database, hook.id.removeprefix("whep_"))
    ]
    stands = {
        hook.id: hook.state
        for hook in await database.read(partial(webhooks.of_workspace, workspace_id=HERE))
    }
    assert found
    for delivery in found:
        rests = stands[delivery.webhook_id] == "disabled"
        assert delivery.state == "acknowledged" or delivery.next_attempt_at or rests, delivery
