"""Automatic caching: whether a batch asked for it, and what its tokens cost uncached.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "batches",
        sa.Column("auto_cache", sa.Boolean, nullable=False, server_default=sa.text("false")),
    )
    op.add_column("batches", sa.Column("auto_cached_requests", sa.Integer))
    op.add_column("charges", sa.Column("uncached_rate_usd", sa.Text))
