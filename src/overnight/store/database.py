"""One door to either database: run a question or a change in a transaction, off the event loop.

Questions and changes are plain functions over a SQLAlchemy `Connection`; each runs in a thread as
one transaction, so a commit costs one hop and not one per statement (docs/decisions/0003).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from overnight.model import WorkerId

Answer = TypeVar("Answer")


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
        self._reader, self._writer = reader, writer
        self._read_threads = ThreadPoolExecutor(readers, thread_name_prefix="store-read")
        self._write_threads = ThreadPoolExecutor(writers, thread_name_prefix="store-write")
        self._on_close = on_close

    @property
    def dialect(self) -> str:
        """Give `sqlite` or `postgresql`."""
        return self._writer.dialect.name

    async def read(self, question: Callable[[Connection], Answer]) -> Answer:
        """Answer a question from committed state."""

        def run() -> Answer:
            with self._reader.connect() as connection:
                return question(connection)

        return await asyncio.get_running_loop().run_in_executor(self._read_threads, run)

    async def write(self, change: Callable[[Connection], Answer]) -> Answer:
        """Make a change in one transaction: durable when this returns, undone if it raises.

        After a lost connection the commit may have happened all the same; a change must be
        safe to repeat.
        """

        def run() -> Answer:
            with self._writer.begin() as connection:
                return change(connection)

        return await asyncio.get_running_loop().run_in_executor(self._write_threads, run)

    async def close(self) -> None:
        """Wait for running transactions and release everything."""

        def run() -> None:
            self._read_threads.shutdown()
            self._write_threads.shutdown()
            self.presence.close()
            self._reader.dispose()
            self._writer.dispose()
            self._on_close()

        await asyncio.to_thread(run)
