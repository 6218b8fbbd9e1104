"""The ledger, and the estimates that batches are compared with.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "charges",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("charged_at", sa.BigInteger, nullable=False),
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("service_tier", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("over_tokens", sa.Integer, nullable=False),
        sa.Column("token_class", sa.Text, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("rate_usd", sa.Text),
        sa.Column("amount_usd", sa.Text),
        sa.Column("standard_rate_usd", sa.Text),
        sa.Column("standard_usd", sa.Text),
        sa.Column("book", sa.Text, nullable=False),
        sa.Column("book_version", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_charges"),
    )
    op.create_index("ix_charges_charged_at", "charges", ["charged_at"])
    op.create_index(
        "uq_charges_line",
        "charges",
        ["batch_id", "model", "over_tokens", "token_class"],
        unique=True,
    )
    op.create_table(
        "estimates",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workspace_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("low_usd", sa.Text, nullable=False),
        sa.Column("high_usd", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_estimates"),
    )
    op.add_column("batches", sa.Column("estimate_id", sa.Text))
