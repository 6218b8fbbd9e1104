"""The audit log, whose rows are added and never changed.

Forward only; a released migration is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_NEVER_CHANGED = {
    "sqlite": """
        CREATE TRIGGER acts_never_change BEFORE UPDATE ON acts
        BEGIN SELECT RAISE(ABORT, 'an act never changes'); END
    """,
    "postgresql": """
        CREATE FUNCTION acts_never_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'an act never changes'; END $$;
        CREATE TRIGGER acts_never_change BEFORE UPDATE ON acts
        FOR EACH ROW EXECUTE FUNCTION acts_never_change()
    """,
}


def upgrade() -> None:
    op.create_table(
        "acts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("actor_name", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("forwarded_for", sa.Text),
        sa.Column("workspace_id", sa.Text),
        sa.Column("subject_id", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_acts"),
    )
    op.create_index("ix_acts_list", "acts", ["created_at", "id"])
    op.create_index("ix_acts_subject", "acts", ["subject_id", "created_at", "id"])
    op.execute(_NEVER_CHANGED[op.get_bind().dialect.name])
