"""PostgreSQL (15 or newer): many processes share one database."""

import hashlib
import threading
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from overnight.errors import ConfigInvalid
from overnight.model import WorkerId
from overnight.store.database import Database, reason
from overnight.store.migrate import migrate

_READERS = 8
_WRITERS = 8
# A server whose host vanished shows as an error within about 20 s, not after hours of TCP.
_CONNECTION = {
    # A worker that stands still within a transaction must not keep its locks; ours take
    # milliseconds.
    "options": "-c idle_in_transaction_session_timeout=5000",
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # Milliseconds, of what was sent and not acknowledged.
    "tcp_user_timeout": 20_000,
}


class SessionLocks:
    """Presence by advisory lock: a worker holds one on its own session while it lives.

    The server frees it the moment the process dies, so a crash shows at once. A dead host keeps
    its session until TCP gives up; there the lease's expiry is the cover.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._guard = threading.Lock()

    def announce(self, worker: WorkerId) -> None:
        with self._guard:
            if self._connection is not None:
                try:
                    self._connection.execute(text("SELECT 1"))
                    return
                except DBAPIError:
                    self._connection.invalidate()
                    self._connection = None
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            question = text("SELECT pg_try_advisory_lock(:key)")
            if connection.execute(question, {"key": _lock_key(worker)}).scalar_one():
                self._connection = connection
            else:
                # Our own session from before, not gone yet for the server, still says that we
                # live, or somebody just asks. To wait for it would stop the sweeps.
                connection.close()

    def dead(self, owners: list[WorkerId]) -> list[WorkerId]:
        with (
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            return [owner for owner in owners if _try_lock(connection, owner)]

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def open_postgres(url: str) -> Database:
    """Connect and bring the schema up to date.

    Raises: ConfigInvalid when the URL is malformed or the server cannot be reached.
    """
    engine = _engine(url, pool_size=_READERS + _WRITERS, max_overflow=0)
    try:
        with engine.begin() as connection:
            migrate(connection)
    except BaseException as error:
        engine.dispose()
        if not isinstance(error, OperationalError):
            raise
        place = f"{engine.url.host}:{engine.url.port or 5432}"
        raise ConfigInvalid(
            f"the database at {place} does not answer: {reason(error)}",
            hint="is it running, and are user, password and name in --database-url right?",
        ) from error
    presence = _engine(url, poolclass=NullPool)
    return Database(
        reader=engine,
        writer=engine,
        readers=_READERS,
        writers=_WRITERS,
        presence=SessionLocks(presence),
        on_close=presence.dispose,
    )


def _engine(url: str, **pool: Any) -> Engine:
    scheme, _, rest = url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        url = f"postgresql+psycopg://{rest}"
    try:
        return create_engine(
            url,
            connect_args=_CONNECTION,
            # Results and keys of callers have no place in an error's text.
            hide_parameters=True,
            **pool,
        )
    except ArgumentError as error:
        raise ConfigInvalid(
            "--database-url is not a database URL",
            hint="write it as postgresql://user:password@host:5432/name",
        ) from error


def _lock_key(worker: WorkerId) -> int:
    """Map a worker to the 64-bit signed key of its lock."""
    digest = hashlib.blake2b(worker.encode("ascii"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _try_lock(connection: Connection, owner: WorkerId) -> bool:
    key = {"key": _lock_key(owner)}
    if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one():
        return False
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    return True
