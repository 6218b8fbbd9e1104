"""Batches, shards and the journal.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ZERO = sa.text("0")
_EMPTY = sa.text("'{}'")


def upgrade() -> None:
    _create_batches()
    _create_shards()
    _create_journal()


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    """Create a partial index: `where` is the same text on both databases."""
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("retain_until", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("cancel_initiated_at", sa.BigInteger),
        sa.Column("archived_at", sa.BigInteger),
        sa.Column("planned_at", sa.BigInteger),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("api_version", sa.Text, nullable=False),
        sa.Column("betas", sa.Text, nullable=False),
        sa.Column("user_profile_id", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("request_count", sa.Integer, nullable=False),
        sa.Column("input_key", sa.Text, nullable=False),
        sa.Column("input_bytes", sa.BigInteger, nullable=False),
        sa.Column("plan_key", sa.Text),
        sa.Column("succeeded", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("errored", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("canceled", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("expired", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("usage", sa.Text, nullable=False, server_default=_EMPTY),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index("ix_batches_list", "batches", ["workspace_id", "created_at", "id"])
    _index("ix_batches_unplanned", "batches", ["created_at"], "planned_at IS NULL")
    _index("ix_batches_running", "batches", ["expires_at"], "status != 'ended'")
    _index("ix_batches_retained", "batches", ["retain_until"], "archived_at IS NULL")
    _index(
        "ix_batches_deleted",
        "batches",
        ["deleted_at"],
        "deleted_at IS NOT NULL AND input_key != ''",
    )
    _index(
        "ix_batches_spent_plans",
        "batches",
        ["ended_at"],
        "plan_key IS NOT NULL AND ended_at IS NOT NULL",
    )
    _index(
        "uq_batches_idempotency",
        "batches",
        ["workspace_id", "idempotency_key"],
        "idempotency_key IS NOT NULL",
        unique=True,
    )


def _create_shards() -> None:
    op.create_table(
        "shards",
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.BigInteger, nullable=False),
        sa.Column("plan_offset", sa.BigInteger, nullable=False),
        sa.Column("plan_bytes", sa.BigInteger, nullable=False),
        sa.Column("request_count", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("lease_expires_at", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("succeeded", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("errored", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("canceled", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("expired", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("usage", sa.Text, nullable=False, server_default=_EMPTY),
        sa.Column("sealed_at", sa.BigInteger),
        sa.Column("results_key", sa.Text),
        sa.Column("results_bytes", sa.BigInteger),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_shards"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], ondelete="CASCADE", name="fk_shards_batches"
        ),
    )
    _index("ix_shards_open", "shards", ["queued_at", "batch_id", "number"], "sealed_at IS NULL")


def _create_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("positions", sa.LargeBinary, nullable=False),
        sa.Column("lines", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        sa.ForeignKeyConstraint(
            ["batch_id", "shard"],
            ["shards.batch_id", "shards.number"],
            ondelete="CASCADE",
            name="fk_journal_shards",
        ),
    )
    op.create_index("ix_journal_shard", "journal", ["batch_id", "shard", "id"])
