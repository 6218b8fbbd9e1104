"""End: seal what is journaled; with the last shard the batch ends, in the same transaction."""

import asyncio

from sqlalchemy import Connection

from overnight.clock import Clock
from overnight.pipeline.wake import Wakes
from overnight.store import batches, shards
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.store.shards import SealedPart, ShardKey


class Sealer:
    """Turns the journal of a shard into its results object."""

    def __init__(
        self, *, database: Database, objects: ObjectDirectory, clock: Clock, wakes: Wakes
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes

    async def seal(self, key: ShardKey, *, fence: int) -> bool:
        """Seal a shard whose requests all have their outcome; False when its lease is lost.

        Safe to repeat: the object has the same name and bytes each time.
        """
        lines = await self._database.read(lambda c: shards.journaled_lines(c, key))
        data = b"".join(lines)
        part = SealedPart(f"{key.batch_id}/results-{key.number:05d}-{fence}.jsonl", len(data))
        await asyncio.to_thread(self._objects.put, part.key, data)
        now = self._clock.now()

        def seal(connection: Connection) -> tuple[bool, bool]:
            sealed = shards.seal(connection, key, fence=fence, part=part, now=now)
            return sealed, sealed and batches.end_if_sealed(connection, key.batch_id, now=now)

        sealed, ended = await self._database.write(seal)
        if ended:
            self._wakes.cleared.ring()
        return sealed
