"""Workspaces and keys, and which key created a batch.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _create_workspaces()
    _create_keys()
    op.add_column("batches", sa.Column("key_id", sa.Text))
    running = sa.text("status != 'ended'")
    op.create_index(
        "ix_batches_queued",
        "batches",
        ["workspace_id"],
        sqlite_where=running,
        postgresql_where=running,
    )


def _create_workspaces() -> None:
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("display_color", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("archived_at", sa.BigInteger),
        *_limits(),
        sa.PrimaryKeyConstraint("id", name="pk_workspaces"),
    )
    op.create_index("ix_workspaces_list", "workspaces", ["created_at", "id"])
    live = sa.text("archived_at IS NULL")
    op.create_index(
        "uq_workspaces_name",
        "workspaces",
        ["name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workspace_id", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("pepper_id", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("disabled_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        *_limits(),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_keys_workspaces"),
    )
    op.create_index("ix_keys_list", "keys", ["created_at", "id"])
    op.create_index("ix_keys_workspace", "keys", ["workspace_id", "created_at", "id"])
    op.create_index("uq_keys_digest", "keys", ["digest"], unique=True)


def _limits() -> list["sa.Column[int]"]:
    names = ("requests_per_minute", "queued_requests", "body_bytes_in_flight", "uploads")
    return [sa.Column(f"max_{name}", sa.BigInteger) for name in names]
