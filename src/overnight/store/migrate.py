"""Bring a database to the schema of this version; forward only."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from overnight.errors import ConfigInvalid

HEAD = "0007"

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any constant will do; it keeps two starting processes from migrating at once.
_LOCK = 6_484_848_400_001


def migrate(connection: Connection) -> None:
    """Upgrade to HEAD inside the caller's transaction; at HEAD already, ask one query."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    revision = _revision(connection)
    if revision == HEAD:
        return
    # Imported late: 0.2 s that a start on a current schema need not pay.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise ConfigInvalid(
            f"the database has schema {revision}, newer than this version knows (up to {HEAD})",
            hint="start the newer Overnight that made it, or point at another database",
        )
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
