"""SQLite: one process, one file, one writer; WAL with every commit on disk."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from overnight.errors import ConfigInvalid, DataDirBusy
from overnight.model import WorkerId
from overnight.store.database import Database, reason
from overnight.store.migrate import migrate

_READERS = 4
_BUSY_TIMEOUT_S = 30.0
_AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}


class SoleWorker:
    """Presence where the directory lock admits one process: every other owner is dead."""

    def __init__(self) -> None:
        self._me: WorkerId | None = None

    def announce(self, worker: WorkerId) -> None:
        self._me = worker

    def dead(self, owners: list[WorkerId]) -> list[WorkerId]:
        return [owner for owner in owners if owner != self._me]

    def close(self) -> None:
        self._me = None


def open_sqlite(directory: Path) -> Database:
    """Open `overnight.db` in the directory, made if needed, and hold the directory's lock.

    Raises: DataDirBusy when another process holds the lock; ConfigInvalid when the directory or
    the file cannot be used.
    """
    lock = _lock(directory)
    try:
        url = f"sqlite:///{directory / 'overnight.db'}"
        writer = _engine(url, size=1)
        # One statement sees one state by itself; a transaction around it would cost twice as much.
        reader = _engine(url, size=_READERS, autocommit=True)
        try:
            with writer.begin() as connection:
                migrate(connection)
        except BaseException as error:
            writer.dispose()
            if not isinstance(error, DatabaseError):
                raise
            raise ConfigInvalid(
                f"{directory / 'overnight.db'}: {reason(error)}",
                hint="is it an Overnight database, on a disk with space? --data DIR names another",
            ) from error
    except BaseException:
        os.close(lock)
        raise
    return Database(
        reader=reader,
        writer=writer,
        readers=_READERS,
        writers=1,
        presence=SoleWorker(),
        on_close=lambda: os.close(lock),
    )


def _lock(directory: Path) -> int:
    try:
        # Prompts and results are for this user alone.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigInvalid(
            f"the data directory {directory} cannot be written: {error.strerror}",
            hint="name another with --data DIR, or give this user the right to write there",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise DataDirBusy(
            f"the data directory {directory} is in use by process {holder or 'unknown'}",
            hint="stop that server, or start this one with another --data DIR",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode("ascii"), 0)
    return lock


def _engine(url: str, *, size: int, autocommit: bool = False) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        # Results and keys of callers have no place in an error's text.
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_S},
        **(_AUTOCOMMIT if autocommit else {}),
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # SQLAlchemy's begin event opens transactions; the driver's own habit stays out.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")

    if not autocommit:

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
