"""The tables. Times are integers: microseconds since 1970 in UTC, equal on both databases.

The database holds states, counts and pointers; payloads are objects. The one exception is the
journal, which holds outcomes until their shard is sealed.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("retain_until", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("cancel_initiated_at", BigInteger),
    Column("archived_at", BigInteger),
    Column("planned_at", BigInteger),
    # Set by DELETE; the emptied row stays as a list cursor until its retention has passed.
    Column("deleted_at", BigInteger),
    Column("api_version", Text, nullable=False),
    # Comma separated.
    Column("betas", Text, nullable=False),
    Column("user_profile_id", Text),
    # The caller's `idempotency-key`, when sent: a repeated create answers the same batch.
    Column("idempotency_key", Text),
    Column("request_count", Integer, nullable=False),
    # Empty once the objects of a deleted batch are gone.
    Column("input_key", Text, nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    # NULL before planning and again once the plan object is no longer needed.
    Column("plan_key", Text),
    # Frozen at the end; zero before.
    Column("succeeded", Integer, nullable=False, server_default=text("0")),
    Column("errored", Integer, nullable=False, server_default=text("0")),
    Column("canceled", Integer, nullable=False, server_default=text("0")),
    Column("expired", Integer, nullable=False, server_default=text("0")),
    # JSON, `model.UsageKey` → usage; frozen at the end.
    Column("usage", Text, nullable=False, server_default=text("'{}'")),
    # The estimate that the caller named at create.
    Column("estimate_id", Text),
    Column("auto_cache", Boolean, nullable=False, server_default=text("false")),
    # Set with the plan where `auto_cache` is.
    Column("auto_cached_requests", Integer),
    # The key that created it; NULL for one of the settings, or where no key was needed.
    Column("key_id", Text),
    # Its own budget, in exact USD.
    Column("max_cost_usd", Text),
    # What it costs at least, counted at create where a budget holds for it.
    Column("least_usd", Text),
    # How much of its own budget was told of.
    Column("warned_percent", Integer, nullable=False, server_default=text("0")),
    # Set together, once: whose budget it was that stopped it, and what its rest ends as.
    Column("stopped_by", Text),
    Column("stopped_as", Text),
)

Index("ix_batches_list", batches.c.workspace_id, batches.c.created_at, batches.c.id)
Index(
    "ix_batches_unplanned",
    batches.c.created_at,
    sqlite_where=batches.c.planned_at.is_(None),
    postgresql_where=batches.c.planned_at.is_(None),
)
Index(
    "ix_batches_running",
    batches.c.expires_at,
    sqlite_where=batches.c.status != "ended",
    postgresql_where=batches.c.status != "ended",
)
Index(
    "ix_batches_queued",
    batches.c.workspace_id,
    sqlite_where=batches.c.status != "ended",
    postgresql_where=batches.c.status != "ended",
)
Index(
    "ix_batches_retained",
    batches.c.retain_until,
    sqlite_where=batches.c.archived_at.is_(None),
    postgresql_where=batches.c.archived_at.is_(None),
)
Index(
    "ix_batches_deleted",
    batches.c.deleted_at,
    sqlite_where=batches.c.deleted_at.is_not(None) & (batches.c.input_key != ""),
    postgresql_where=batches.c.deleted_at.is_not(None) & (batches.c.input_key != ""),
)
Index(
    "ix_batches_spent_plans",
    batches.c.ended_at,
    sqlite_where=batches.c.plan_key.is_not(None) & batches.c.ended_at.is_not(None),
    postgresql_where=batches.c.plan_key.is_not(None) & batches.c.ended_at.is_not(None),
)
Index(
    "uq_batches_idempotency",
    batches.c.workspace_id,
    batches.c.idempotency_key,
    unique=True,
    sqlite_where=batches.c.idempotency_key.is_not(None),
    postgresql_where=batches.c.idempotency_key.is_not(None),
)

shards = Table(
    "shards",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    # The batch's created_at: shards are served in this order.
    Column("queued_at", BigInteger, nullable=False),
    # Where the shard lies in the plan object.
    Column("plan_offset", BigInteger, nullable=False),
    Column("plan_bytes", BigInteger, nullable=False),
    Column("request_count", Integer, nullable=False),
    # The lease. Free when lease_expires_at has passed; 0 when never taken or given back.
    Column("owner", Text),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_expires_at", BigInteger, nullable=False, server_default=text("0")),
    # Totals of what the journal (later the results object) holds.
    Column("succeeded", Integer, nullable=False, server_default=text("0")),
    Column("errored", Integer, nullable=False, server_default=text("0")),
    Column("canceled", Integer, nullable=False, server_default=text("0")),
    Column("expired", Integer, nullable=False, server_default=text("0")),
    # JSON, `model.UsageKey` → usage.
    Column("usage", Text, nullable=False, server_default=text("'{}'")),
    # Set together: every request of the shard has its outcome in this object.
    Column("sealed_at", BigInteger),
    Column("results_key", Text),
    Column("results_bytes", BigInteger),
    ForeignKeyConstraint(["batch_id"], ["batches.id"], ondelete="CASCADE"),
)

Index(
    "ix_shards_open",
    shards.c.queued_at,
    shards.c.batch_id,
    shards.c.number,
    sqlite_where=shards.c.sealed_at.is_(None),
    postgresql_where=shards.c.sealed_at.is_(None),
)

journal = Table(
    "journal",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("shard", Integer, nullable=False),
    # Which requests of the shard have their line here: unsigned 16-bit in machine order.
    Column("positions", LargeBinary, nullable=False),
    # Result lines, each ending in LF.
    Column("lines", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["batch_id", "shard"], ["shards.batch_id", "shards.number"], ondelete="CASCADE"
    ),
)

Index("ix_journal_shard", journal.c.batch_id, journal.c.shard, journal.c.id)

# The ledger: rows are added and outlive their batch. Those of a batch never change, those of
# real-time calls grow for up to a minute.
charges = Table(
    "charges",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # When the batch ended, or the tab began.
    Column("charged_at", BigInteger, nullable=False),
    Column("workspace_id", Text, nullable=False),
    # The batch, or the tab of real-time calls.
    Column("subject_id", Text, nullable=False),
    Column("service_tier", Text, nullable=False),
    Column("model", Text, nullable=False),
    # Prompts longer than this; 0 where length changes nothing.
    Column("over_tokens", Integer, nullable=False),
    Column("token_class", Text, nullable=False),
    # Tokens, or web searches.
    Column("units", BigInteger, nullable=False),
    # Exact decimals in USD; NULL is an unknown price. Rates are per million, or thousand searches.
    Column("rate_usd", Text),
    Column("amount_usd", Text),
    Column("standard_rate_usd", Text),
    Column("standard_usd", Text),
    Column("book", Text, nullable=False),
    Column("book_version", Text, nullable=False),
    # What the tier charges for these tokens when they are neither written nor read.
    Column("uncached_rate_usd", Text),
    # The key that spent it; NULL for one of the settings, or where no key was needed.
    Column("key_id", Text),
)

Index("ix_charges_charged_at", charges.c.charged_at)
Index("ix_charges_workspace", charges.c.workspace_id, charges.c.charged_at)
Index(
    "ix_charges_key",
    charges.c.key_id,
    charges.c.charged_at,
    sqlite_where=charges.c.key_id.is_not(None),
    postgresql_where=charges.c.key_id.is_not(None),
)
# A batch is charged once, and a tab has one row for each rate.
Index(
    "uq_charges_line",
    charges.c.subject_id,
    charges.c.model,
    charges.c.over_tokens,
    charges.c.token_class,
    unique=True,
)

# What callers were quoted, to be compared with what their batches come to.
estimates = Table(
    "estimates",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Exact decimals in USD; equal where the estimate is one amount.
    Column("low_usd", Text, nullable=False),
    Column("high_usd", Text, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Comma separated.
    Column("events", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("disabled_reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("failing_since", BigInteger),
    # No secrets: what they are derived from together with the server's own.
    Column("seed", LargeBinary, nullable=False),
    Column("previous_seed", LargeBinary),
    Column("previous_until", BigInteger),
)

Index("ix_webhooks_list", webhooks.c.workspace_id, webhooks.c.created_at, webhooks.c.id)

# The outbox: a row is added in the transaction that makes the event true, if anyone is to be told.
events = Table(
    "webhook_events",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    # The batch, which may be gone, or for a test the webhook.
    Column("subject_id", Text, nullable=False),
    Column("workspace_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

Index("uq_webhook_events_id", events.c.id, unique=True)
Index("ix_webhook_events_created_at", events.c.created_at)

# An event on its way to one webhook, and afterwards what came of it.
deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", Text, primary_key=True),
    Column("event_number", BigInteger, primary_key=True),
    # That of the event: those of one subject are first sent in order.
    Column("subject_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    # While an attempt is under way: when others may take it for lost. NULL: nothing is due.
    Column("next_attempt_at", BigInteger),
    # The worker whose attempt is under way.
    Column("owner", Text),
    Column("last_attempt_at", BigInteger),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("last_duration_ms", Integer),
    Column("acknowledged_at", BigInteger),
    ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["event_number"], ["webhook_events.number"], ondelete="CASCADE"),
)

Index(
    "ix_webhook_deliveries_due",
    deliveries.c.next_attempt_at,
    deliveries.c.event_number,
    sqlite_where=deliveries.c.next_attempt_at.is_not(None),
    postgresql_where=deliveries.c.next_attempt_at.is_not(None),
)
Index(
    "ix_webhook_deliveries_owner",
    deliveries.c.owner,
    sqlite_where=deliveries.c.owner.is_not(None),
    postgresql_where=deliveries.c.owner.is_not(None),
)
Index("ix_webhook_deliveries_subject", deliveries.c.subject_id, deliveries.c.webhook_id)
# Its cascade from an event looks here.
Index("ix_webhook_deliveries_event", deliveries.c.event_number)

# Who may call. Batches name their workspace without a reference: a ledger outlives it.
workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("display_color", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("archived_at", BigInteger),
    # Limits of its own; NULL: what the settings say.
    Column("max_requests_per_minute", BigInteger),
    Column("max_queued_requests", BigInteger),
    Column("max_body_bytes_in_flight", BigInteger),
    Column("max_uploads", BigInteger),
)

Index("ix_workspaces_list", workspaces.c.created_at, workspaces.c.id)
# The name of an archived workspace may be given again.
Index(
    "uq_workspaces_name",
    workspaces.c.name,
    unique=True,
    sqlite_where=workspaces.c.archived_at.is_(None),
    postgresql_where=workspaces.c.archived_at.is_(None),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    # NULL: of the organization.
    Column("workspace_id", Text),
    Column("name", Text, nullable=False),
    # Comma separated.
    Column("roles", Text, nullable=False),
    # Keyed hash of the secret in hexadecimal, and which server secret it was keyed with.
    Column("digest", Text, nullable=False),
    Column("pepper_id", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text),
    Column("expires_at", BigInteger),
    # At most a minute behind.
    Column("last_used_at", BigInteger),
    Column("disabled_at", BigInteger),
    Column("revoked_at", BigInteger),
    # Limits of its own, beside those of its workspace; NULL: none.
    Column("max_requests_per_minute", BigInteger),
    Column("max_queued_requests", BigInteger),
    Column("max_body_bytes_in_flight", BigInteger),
    Column("max_uploads", BigInteger),
    ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
)

Index("ix_keys_list", keys.c.created_at, keys.c.id)
Index("ix_keys_workspace", keys.c.workspace_id, keys.c.created_at, keys.c.id)
Index("uq_keys_digest", keys.c.digest, unique=True)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    # Workspace or key; empty for the organization.
    Column("subject_id", Text, nullable=False),
    Column("period", Text, nullable=False),
    # An exact decimal.
    Column("limit_usd", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # How much of it was told of, in the period that began then.
    Column("warned_since", BigInteger, nullable=False, server_default=text("0")),
    Column("warned_percent", Integer, nullable=False, server_default=text("0")),
)

Index("ix_budgets_list", budgets.c.created_at, budgets.c.id)
Index("uq_budgets_of", budgets.c.scope, budgets.c.subject_id, budgets.c.period, unique=True)

# What a process may spend of a budget for calls that are not recorded yet.
advances = Table(
    "advances",
    metadata,
    # Of a batch's own budget the batch.
    Column("budget_id", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("usd", Text, nullable=False),
    # Nobody spends of it afterwards.
    Column("expires_at", BigInteger, nullable=False),
)

Index("ix_advances_owner", advances.c.owner)

# The audit log: rows are added, and never changed; the databases refuse it.
acts = Table(
    "acts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer),
    Column("actor", Text, nullable=False),
    Column("key_id", Text),
    Column("actor_name", Text),
    Column("address", Text),
    Column("forwarded_for", Text),
    # Without references: the log outlives what it tells of.
    Column("workspace_id", Text),
    Column("subject_id", Text),
    Column("request_id", Text),
    # JSON, an object of texts and numbers.
    Column("details", Text, nullable=False),
)

Index("ix_acts_list", acts.c.created_at, acts.c.id)
Index("ix_acts_subject", acts.c.subject_id, acts.c.created_at, acts.c.id)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """Write an aware datetime as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(value: int) -> datetime:
    """Read microseconds since 1970 as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=value)


def from_optional_us(value: int | None) -> datetime | None:
    return None if value is None else from_us(value)
