"""End: seal what is journaled; with the last shard the batch ends and is charged, in one change."""

import asyncio

from sqlalchemy import Connection

from overnight.clock import Clock
from overnight.model import Charge
from overnight.pipeline.held import HeldShard
from overnight.pipeline.wake import Wakes
from overnight.pricing.tariff import Tariff
from overnight.store import batches, journal, ledger, shards
from overnight.store.batches import Ended
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.store.shards import SealedPart


class Sealer:
    """Turns the journal of a shard into its results object."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectDirectory,
        clock: Clock,
        wakes: Wakes,
        tariff: Tariff,
    ) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._tariff = tariff

    async def seal(self, held: HeldShard) -> bool:
        """Seal a shard whose requests all have their outcome; False when its lease is lost.

        Safe to repeat: the object has the same name and bytes each time, and is not touched
        once the shard is sealed, which the caller of a commit whose answer was lost cannot know.
        """
        key, fence, kept = held.key, held.fence, held.lines

        def read(connection: Connection) -> list[bytes] | None:
            if kept is None:
                return journal.lines(connection, key, fence=fence)
            return kept if shards.is_unsealed(connection, key, fence=fence) else None

        lines = await self._database.read(read)
        if lines is None:
            return False
        data = b"".join(lines)
        part = SealedPart(f"{key.batch_id}/results-{key.number:05d}-{fence}.jsonl", len(data))
        await asyncio.to_thread(self._objects.put, part.key, data)
        now = self._clock.now()

        def seal(connection: Connection) -> tuple[bool, bool]:
            sealed = shards.seal(connection, key, fence=fence, part=part, now=now)
            ended = batches.end_if_sealed(connection, key.batch_id, now=now) if sealed else None
            if ended is not None:
                ledger.charge(connection, ended.batch, self._charges(ended), at=now)
            return sealed, ended is not None

        sealed, ended = await self._database.write(seal)
        if ended:
            # Its plan goes with the next sweep: now its results are being read.
            self._wakes.events.ring()
        return sealed

    def _charges(self, ended: Ended) -> tuple[Charge, ...]:
        # By the prices of the day on which the batch was created: those its caller could see.
        on = ended.batch.created_at.date()
        return self._tariff.charges(ended.usage, tier="batch", on=on)
