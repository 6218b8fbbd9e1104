"""Webhooks: endpoints, the outbox of events, and their deliveries.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ZERO = sa.text("0")


def upgrade() -> None:
    _create_webhooks()
    _create_events()
    _create_deliveries()


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("disabled_reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("failing_since", sa.BigInteger),
        sa.Column("seed", sa.LargeBinary, nullable=False),
        sa.Column("previous_seed", sa.LargeBinary),
        sa.Column("previous_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_list", "webhooks", ["workspace_id", "created_at", "id"])


def _create_events() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_webhook_events"),
    )
    op.create_index("uq_webhook_events_id", "webhook_events", ["id"], unique=True)
    op.create_index("ix_webhook_events_created_at", "webhook_events", ["created_at"])


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("webhook_id", sa.Text, nullable=False),
        sa.Column("event_number", sa.BigInteger, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("tries", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("next_attempt_at", sa.BigInteger),
        sa.Column("owner", sa.Text),
        sa.Column("last_attempt_at", sa.BigInteger),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.Column("last_duration_ms", sa.Integer),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("webhook_id", "event_number", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            ondelete="CASCADE",
            name="fk_webhook_deliveries_webhooks",
        ),
        sa.ForeignKeyConstraint(
            ["event_number"],
            ["webhook_events.number"],
            ondelete="CASCADE",
            name="fk_webhook_deliveries_webhook_events",
        ),
    )
    table = "webhook_deliveries"
    due, owned = sa.text("next_attempt_at IS NOT NULL"), sa.text("owner IS NOT NULL")
    op.create_index(
        "ix_webhook_deliveries_due",
        table,
        ["next_attempt_at", "event_number"],
        sqlite_where=due,
        postgresql_where=due,
    )
    op.create_index(
        "ix_webhook_deliveries_owner", table, ["owner"], sqlite_where=owned, postgresql_where=owned
    )
    op.create_index("ix_webhook_deliveries_subject", table, ["subject_id", "webhook_id"])
    op.create_index("ix_webhook_deliveries_event", table, ["event_number"])
