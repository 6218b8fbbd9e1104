"""One door to either database: run a question or a change in a transaction, off the event loop.

Questions and changes are plain functions over a SQLAlchemy `Connection`; each runs in a thread as
one transaction, so a commit costs one hop and not one per statement (docs/decisions/0003).
"""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from overnight.model import WorkerId
from overnight.store.crew import Crew

Answer = TypeVar("Answer")


def reason(error: DBAPIError) -> str:
    """Say why the database refused, in the first line of its words: the others quote rows."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


class Presence(Protocol):
    """How workers know of each other's death."""

    def announce(self, worker: WorkerId) -> None:
        """Make this worker's life visible; repeated calls mend a lost announcement."""
        ...

    def dead(self, owners: list[WorkerId]) -> list[WorkerId]:
        """Give those of the owners that are certainly dead; never a living one."""
        ...

    def close(self) -> None:
        """End the announcement. Idempotent."""
        ...


class Database:
    """Engines, threads and presence of one database."""

    def __init__(
        self,
        *,
        reader: Engine,
        writer: Engine,
        readers: int,
        writers: int,
        presence: Presence,
        on_close: Callable[[], None],
    ) -> None:
        self.presence = presence
        self._reader, self._writer = _Desk(reader), _Desk(writer)
        self._dialect = writer.dialect.name
        self._readers = Crew(readers, "store-read")
        self._writers = Crew(writers, "store-write")
        self._on_close = on_close

    @property
    def dialect(self) -> str:
        """Give `sqlite` or `postgresql`."""
        return self._dialect

    async def read(self, question: Callable[[Connection], Answer]) -> Answer:
        """Answer a question from committed state."""

        def run() -> Answer:
            try:
                return self._reader.transact(question)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            # The server was restarted since this thread last asked; asking again is safe.
            return self._reader.transact(question)

        return await self._readers.run(run)

    async def write(self, change: Callable[[Connection], Answer]) -> Answer:
        """Make a change in one transaction: durable when this returns, undone if it raises.

        After a lost connection the commit may have happened all the same; a change must be
        safe to repeat.
        """
        return await self._writers.run(partial(self._writer.transact, change))

    async def close(self) -> None:
        """Wait for running transactions and release everything."""

        def run() -> None:
            self._readers.close()
            self._writers.close()
            self.presence.close()
            # One engine may serve both desks: all its connections come back before it goes.
            desks = (self._reader, self._writer)
            for desk in desks:
                desk.close()
            for desk in desks:
                desk.engine.dispose()
            self._on_close()

        await asyncio.to_thread(run)


class _Desk:
    """An engine of which each thread keeps one connection: taking it from a pool and giving it
    back costs more than a small transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._mine = threading.local()
        self._all: list[Connection] = []

    def transact(self, step: Callable[[Connection], Answer]) -> Answer:
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self.engine.connect()
            self._all.append(connection)
        # A connection that was lost is replaced by the next begin.
        with connection.begin():
            return step(connection)

    def close(self) -> None:
        """Close all connections; their threads must have ended."""
        for connection in self._all:
            connection.close()
