"""Alembic runs this inside the connection that `store.migrate` hands over."""

from alembic import context
from sqlalchemy import Connection

from overnight.store.schema import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
