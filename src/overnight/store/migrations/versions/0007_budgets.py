"""Budgets, what processes hold of them, and by which key was spent.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("limit_usd", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("warned_since", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("warned_percent", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
    )
    op.create_index("ix_budgets_list", "budgets", ["created_at", "id"])
    op.create_index("uq_budgets_of", "budgets", ["scope", "subject_id", "period"], unique=True)
    op.create_table(
        "advances",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("usd", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "owner", name="pk_advances"),
    )
    op.create_index("ix_advances_owner", "advances", ["owner"])
    op.add_column("batches", sa.Column("max_cost_usd", sa.Text))
    op.add_column("batches", sa.Column("least_usd", sa.Text))
    op.add_column(
        "batches",
        sa.Column("warned_percent", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    op.add_column("batches", sa.Column("stopped_by", sa.Text))
    op.add_column("batches", sa.Column("stopped_as", sa.Text))
    op.add_column("charges", sa.Column("key_id", sa.Text))
    op.create_index("ix_charges_workspace", "charges", ["workspace_id", "charged_at"])
    has_key = sa.text("key_id IS NOT NULL")
    op.create_index(
        "ix_charges_key",
        "charges",
        ["key_id", "charged_at"],
        sqlite_where=has_key,
        postgresql_where=has_key,
    )
