"""Each query that runs often finds its rows by an index, on a database with some rows in it."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from tests.support.postgres import Cluster
from tests.support.service import DAY, START, settings_for

from overnight.app import open_database
from overnight.budget import Budget, BudgetId, Spend
from overnight.model import (
    BatchId,
    BudgetScope,
    Delivery,
    Event,
    EventId,
    WebhookId,
    WorkerId,
    WorkspaceId,
)
from overnight.store import (
    audit,
    batches,
    budgets,
    journal,
    keys,
    ledger,
    outbox,
    shards,
    webhooks,
    workspaces,
)
from overnight.store.budgets import Past
from overnight.store.listing import Place

WORKSPACE = WorkspaceId("wrkspc_01")
OTHERS = 3_000
HOUR = timedelta(hours=1)

# Mostly ended batches of many workspaces, as a service has them after a while.
_BATCHES = """
INSERT INTO batches (id, workspace_id, status, created_at, expires_at, retain_until, ended_at,
  planned_at, api_version, betas, request_count, input_key, input_bytes)
VALUES (:id, :workspace, :status, :at, :at + 86400000000, :at + 2505600000000, :ended, :at, 'v', '',
  1, 'key', 1)
"""
_SHARDS = """
INSERT INTO shards (batch_id, number, queued_at, plan_offset, plan_bytes, request_count, sealed_at)
VALUES (:id, 0, :at, 0, 1, 1, :ended)
"""
_CHARGES = """
INSERT INTO charges (charged_at, workspace_id, subject_id, service_tier, model, over_tokens,
  token_class, units, book, book_version)
VALUES (:at, :workspace, :id, 'batch', 'm', 0, 'input', 1, 'b', '1')
"""
_WORKSPACES = """
INSERT INTO workspaces (id, name, display_color, created_at) VALUES (:id, :id, '', :at)
"""
_KEYS = """
INSERT INTO keys (id, workspace_id, name, roles, digest, pepper_id, hint, created_at)
VALUES (:id, :own, 'k', 'read', :id, 'p', 'h', :at)
"""
_JOURNAL = """
INSERT INTO journal (batch_id, shard, positions, lines) VALUES (:id, 0, :none, :none)
"""
_WEBHOOKS = """
INSERT INTO webhooks (id, workspace_id, url, events, name, description, state, disabled_reason,
  created_at, updated_at, seed)
VALUES (:id, :workspace, 'u', 'message_batch.ended', '', '', 'enabled', '', :at, :at, :none)
"""
_EVENTS = """
INSERT INTO webhook_events (number, id, type, subject_id, workspace_id, created_at)
VALUES (:number, :id, 'message_batch.ended', :id, :workspace, :at)
"""
# Nearly all of them acknowledged, as in a log.
_DELIVERIES = """
INSERT INTO webhook_deliveries (webhook_id, event_number, subject_id, state, next_attempt_at, owner)
VALUES (:webhook, :number, :id, :state, :due, :owner)
"""
_ACTS = """
INSERT INTO acts (id, created_at, action, outcome, actor, subject_id, details)
VALUES (:id, :at, 'key.create', 'done', 'key', :own, '{}')
"""

Ask = Callable[[Connection], Any]
_DELIVERY = Delivery(
    webhook_id=WebhookId("msgbatch_1"),
    event=Event(
        number=5,
        id=EventId("msgbatch_5"),
        type="message_batch.ended",
        subject_id="msgbatch_5",
        workspace_id=WORKSPACE,
        created_at=START,
    ),
    state="pending",
)
_CURSOR = Place(START, "msgbatch_5")


def _spend(connection: Connection, scope: BudgetScope, of: str) -> Spend:
    budget = Budget(
        id=BudgetId("spl_01"),
        scope=scope,
        subject_id=of,
        period="monthly",
        limit_usd=Decimal(1),
        created_at=START,
        updated_at=START,
    )
    return budgets.spend(
        connection, budget, past=Past(START - 4_000 * DAY), price=lambda usage, on: Decimal(0)
    )


QUERIES: dict[str, tuple[Ask, str]] = {
    "claim": (
        lambda c: shards.claim(
            c,
            WorkerId("w"),
            now=START,
            until=START + DAY,
            limit=5,
            held=[shards.ShardKey(BatchId("msgbatch_5"), 0)],
        ),
        "ix_shards_open",
    ),
    "claimable": (lambda c: shards.claimable(c, now=START), "ix_shards_open"),
    "owners": (shards.owners, "ix_shards_open"),
    "newest page": (lambda c: batches.page(c, WORKSPACE, limit=20), "ix_batches_list"),
    "page after": (
        lambda c: batches.page(c, WORKSPACE, limit=20, after=_CURSOR),
        "ix_batches_list",
    ),
    "page before": (
        lambda c: batches.page(c, WORKSPACE, limit=20, before=_CURSOR),
        "ix_batches_list",
    ),
    "unplanned": (lambda c: batches.unplanned(c, limit=100), "ix_batches_unplanned"),
    "running": (batches.running, "ix_batches_running"),
    "queued": (lambda c: batches.queued(c, WORKSPACE), "ix_batches_queued"),
    "stopped": (lambda c: batches.stopped(c, now=START), "ix_batches_running"),
    "due for archive": (
        lambda c: batches.due_for_archive(c, now=START - 400 * DAY, limit=100),
        "ix_batches_retained",
    ),
    "deleted": (lambda c: batches.deleted(c, limit=100), "ix_batches_deleted"),
    "spent plans": (lambda c: batches.spent_plans(c, limit=100), "ix_batches_spent_plans"),
    "spend of a workspace": (lambda c: _spend(c, "workspace", WORKSPACE), "ix_charges_workspace"),
    "spend of a key": (lambda c: _spend(c, "key", "apikey_01"), "ix_charges_key"),
    "spend of a batch": (lambda c: _spend(c, "batch", "msgbatch_5"), "uq_charges_line"),
    "idempotency": (
        lambda c: batches.find_by_idempotency_key(c, "k", WORKSPACE),
        "uq_batches_idempotency",
    ),
    "journal": (
        lambda c: journal.lines(c, shards.ShardKey(BatchId("msgbatch_5"), 0), fence=1),
        "ix_journal_shard",
    ),
    "charges of a batch": (
        lambda c: ledger.of_batch(c, BatchId("msgbatch_5")),
        "uq_charges_line",
    ),
    "charges of an hour": (
        lambda c: ledger.totals(
            c, since=START - HOUR, until=START, width=HOUR, by={"token_class", "model"}, only={}
        ),
        "ix_charges_charged_at",
    ),
    "due deliveries": (
        lambda c: outbox.due(c, now=START, limit=64, without=[WebhookId("msgbatch_1")]),
        "ix_webhook_deliveries_due",
    ),
    "backlog": (lambda c: outbox.backlog(c, now=START), "ix_webhook_deliveries_due"),
    "first attempts": (
        lambda c: outbox.unsettled(c, [_DELIVERY]),
        "ix_webhook_deliveries_subject",
    ),
    "owners of attempts": (outbox.owners, "ix_webhook_deliveries_owner"),
    "log of deliveries": (
        lambda c: outbox.page(c, WebhookId("msgbatch_1"), limit=20),
        "webhook_deliveries",
    ),
    "old events": (
        lambda c: outbox.forget(c, before=START - 400 * DAY, limit=100),
        "ix_webhook_events_created_at",
    ),
    "subscribers": (
        lambda c: webhooks.subscribers(c, WORKSPACE, "message_batch.ended"),
        "ix_webhooks_list",
    ),
    "key of a call": (lambda c: keys.find_by_digest(c, "msgbatch_5"), "uq_keys_digest"),
    "page of keys": (lambda c: keys.page(c, now=START, limit=20), "ix_keys_list"),
    "keys of a workspace": (
        lambda c: keys.page(c, now=START, limit=20, workspace_id="msgbatch_5"),
        "ix_keys_workspace",
    ),
    "audit log": (lambda c: audit.page(c, limit=20), "ix_acts_list"),
    "acts on one thing": (
        lambda c: audit.page(c, limit=20, subject_id="msgbatch_5"),
        "ix_acts_subject",
    ),
    "old acts": (
        lambda c: audit.forget(c, before=START - 400 * DAY, limit=100),
        "ix_acts_list",
    ),
    "page of workspaces": (lambda c: workspaces.page(c, limit=20), "ix_workspaces_list"),
}  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Fill a database once for all queries; each is rolled back."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            folder = tmp_path_factory.mktemp("filled")
            asyncio.run(open_database(settings_for(folder)).close())
            engine = create_engine(f"sqlite:///{folder / 'overnight.db'}")
        else:
            cluster: Cluster = request.getfixturevalue("postgres")
            url = stack.enter_context(cluster.database())
            engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        stack.callback(engine.dispose)
        with engine.begin() as connection:
            _fill(connection)
        yield engine


def _fill(connection: Connection) -> None:
    rows = [_row(number) for number in range(OTHERS)]
    for statement in (
        _BATCHES, _SHARDS, _CHARGES, _JOURNAL, _WORKSPACES, _KEYS, _ACTS, _WEBHOOKS, _EVENTS,
        _DELIVERIES,
    ):  # fmt: skip
        connection.execute(text(statement), rows)
    connection.execute(text("ANALYZE"))


def _row(number: int) -> dict[str, Any]:
    at = int((START - timedelta(minutes=number)).timestamp()) * 1_000_000
    ended = number >= 5
    return {
        "id": f"msgbatch_{number}",
        "workspace": "wrkspc_01" if number % 50 == 0 else f"wrkspc_{number % 50}",
        "status": "ended" if ended else "in_progress",
        "own": f"msgbatch_{number % 50}",
        "at": at,
        "ended": at if ended else None,
        "none": b"",
        "number": number + 1,
        "webhook": f"msgbatch_{number % 30}",
        "state": "acknowledged" if ended else "pending",
        "due": None if ended else at,
        "owner": None if ended else "worker",
    }


@pytest.mark.parametrize("query", QUERIES)
def test_a_frequent_query_uses_its_index(filled: Engine, query: str) -> None:
    ask, index = QUERIES[query]
    with filled.connect() as connection:
        plan = _first_plan(connection, ask)
        connection.rollback()
    assert index in plan, plan
    assert not re.search(
        r"Seq Scan|SCAN (?:batches|shards|journal|charges|acts|keys|workspaces|webhook\w*\b)"
        r"(?! USING)",
        plan,
    ), plan


def _first_plan(connection: Connection, ask: Ask) -> str:
    """Run a question and explain its first statement."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    ask(connection)
    event.remove(connection, "before_cursor_execute", note)
    statement, parameters = seen[0]
    prefix = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    rows = connection.exec_driver_sql(prefix + statement, parameters)
    return "\n".join(str(row[-1]) for row in rows)
