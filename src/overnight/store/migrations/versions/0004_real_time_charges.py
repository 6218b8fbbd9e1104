"""Charges are of batches, or of tabs of real-time calls: the column's name says so.

Forward only; a released migration is never edited.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Indexes follow by themselves, on both databases.
    op.alter_column("charges", "batch_id", new_column_name="subject_id")
