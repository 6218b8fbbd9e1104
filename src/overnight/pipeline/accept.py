"""Accept: take a batch in whole or not at all. After the answer nothing of it may be lost."""

import asyncio
import filecmp
import mmap
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from overnight.budget import Budget, Estimated
from overnight.clock import Clock
from overnight.errors import InvalidRequest, QueueFull, RateLimited, Unavailable
from overnight.model import Batch, BatchId, Counts, WorkspaceId, new_batch_id
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.wake import Wakes
from overnight.pricing.bounds import Bounder, asked, total
from overnight.store import batches, workspaces
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory, ObjectWriter
from overnight.tenancy import Limit
from overnight.wire.envelope import read_envelope

# Written to the file in pieces of this size, and made durable while the rest still arrives.
_WRITE_BYTES = 1 << 20
_SYNC_BYTES = 16 << 20
# SDKs sleep as long as they are told; longer than this nobody wants to be held.
_MAX_WAIT_S = 60


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """Who creates a batch, and what the headers say about it."""

    workspace_id: WorkspaceId
    # None for a key of the settings, or where no key is needed.
    key_id: str | None = None
    api_version: str
    betas: tuple[str, ...] = ()
    user_profile_id: str | None = None
    idempotency_key: str | None = None
    # Of `POST /overnight/v1/estimates`; it must exist.
    estimate_id: str | None = None
    auto_cache: bool = False
    # How many requests may be queued, this batch's included.
    queue_limits: tuple[Limit, ...] = ()
    # Its own budget.
    max_cost_usd: Decimal | None = None


class _Checked(NamedTuple):
    """What a body was found to hold."""

    requests: int
    # None where no budget holds.
    cost: Estimated | None = None
    # Models whose price is unknown.
    unpriced: Collection[str] = ()


class Acceptor:
    """Stores inputs and creates batches."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectDirectory,
        clock: Clock,
        wakes: Wakes,
        treasury: Treasury,
        bounder: Bounder,
        max_requests: int,
        processing_window_s: int,
        retention_s: int,
        pace_per_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`pace_per_s` tells how many requests lately had their outcome each second."""
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wakes = wakes
        self._treasury = treasury
        self._bounder = bounder
        self._max_requests = max_requests
        self._processing_window = timedelta(seconds=processing_window_s)
        self._retention = timedelta(seconds=retention_s)
        self._pace_per_s = pace_per_s

    async def accept(self, body: AsyncIterator[bytes], submission: Submission) -> Batch:
        """Store the body durably, check its envelope, and create the batch.

        Raises: InvalidRequest for the first fault of the envelope, RateLimited when too many
        requests are queued, BudgetExceeded when a budget cannot pay it, all with nothing stored;
        Unavailable when the disk or the database cannot take it.
        """
        of = self._treasury.budgets_of(submission.workspace_id, submission.key_id)
        await self._treasury.spending.recall(of)
        if (submission.queue_limits or of) and submission.idempotency_key is None:
            await self._database.read(lambda c: self._refuse_early(c, submission, of))
        batch_id = new_batch_id()
        key = f"{batch_id}/input.json"
        try:
            writer = await asyncio.to_thread(self._objects.writer, key)
            try:
                checked = await self._store(writer, body, submission, of)
                whose = of[0].title if of else "the budget of this batch"
                self._treasury.refuse_unpriced(whose, checked.unpriced)
            finally:
                await asyncio.to_thread(writer.abandon)
        except BaseException as error:
            await asyncio.to_thread(self._objects.delete_group, batch_id)
            if isinstance(error, OSError):
                raise Unavailable(
                    f"the batch could not be stored: {error.strerror}; nothing was accepted",
                    hint="free space in the data directory, then send it again",
                ) from error
            raise
        # From here on the input stays: a create that fails may have been committed all the same.
        # If it was not, the input is an orphan, which the keeper finds.
        batch = self._batch(batch_id, key, checked, writer.size_bytes, submission)
        try:
            created = await self._create(batch, submission, checked.cost)
        except (InvalidRequest, RateLimited):
            await asyncio.to_thread(self._objects.delete_group, batch_id)
            raise
        if created.id != batch_id:
            await asyncio.to_thread(self._objects.delete_group, batch_id)
        self._wakes.accepted.ring()
        return created

    async def _store(
        self,
        writer: ObjectWriter,
        body: AsyncIterator[bytes],
        submission: Submission,
        of: Sequence[Budget],
    ) -> _Checked:
        """Write the body, check it, make it durable; say what it holds."""
        await _write(writer, body)
        if not writer.size_bytes:
            raise InvalidRequest("The request body is empty; it must be a JSON object")
        # The check is work for the processor, the commit for the disk: they share the time.
        with mmap.mmap(writer.fileno(), 0, access=mmap.ACCESS_READ) as written:
            checked, committed = await asyncio.gather(
                asyncio.to_thread(self._check, written, submission, of),
                asyncio.to_thread(writer.commit),
                return_exceptions=True,
            )
        for outcome in (committed, checked):
            if isinstance(outcome, BaseException):
                raise outcome
        assert isinstance(checked, _Checked)
        return checked

    def _check(self, body: mmap.mmap, submission: Submission, of: Sequence[Budget]) -> _Checked:
        envelope = read_envelope(body, max_requests=self._max_requests)
        if not of and submission.max_cost_usd is None:
            return _Checked(len(envelope.requests))
        costs = total(
            Counter(
                found
                for request in envelope.requests
                if (found := asked(request.params, auto_cache=submission.auto_cache))
            ),
            self._bounder,
            tier="batch",
            on=self._clock.now().date(),
        )
        # Not refused here: a traceback would hold views on the body.
        return _Checked(len(envelope.requests), Estimated(*costs.bounds), costs.unpriced)

    def _batch(
        self,
        batch_id: BatchId,
        key: str,
        checked: _Checked,
        size_bytes: int,
        submission: Submission,
    ) -> Batch:
        now = self._clock.now()
        return Batch(
            id=batch_id,
            workspace_id=submission.workspace_id,
            status="in_progress",
            created_at=now,
            expires_at=now + self._processing_window,
            retain_until=now + self._retention,
            api_version=submission.api_version,
            betas=submission.betas,
            user_profile_id=submission.user_profile_id,
            estimate_id=submission.estimate_id,
            auto_cache=submission.auto_cache,
            key_id=submission.key_id,
            max_cost_usd=submission.max_cost_usd,
            least_usd=None if checked.cost is None else checked.cost.low_usd,
            request_count=checked.requests,
            input_key=key,
            input_bytes=size_bytes,
            counts=Counts(processing=checked.requests),
        )

    async def _create(self, batch: Batch, submission: Submission, cost: Estimated | None) -> Batch:
        key = submission.idempotency_key
        try:
            await self._database.write(lambda c: self._insert(c, batch, submission, cost))
        except IntegrityError:
            if key is None:
                raise
            earlier = await self._database.read(
                lambda c: batches.find_by_idempotency_key(c, key, batch.workspace_id)
            )
            if earlier is None or not await asyncio.to_thread(self._is_repeated, batch, earlier):
                raise InvalidRequest(
                    "idempotency-key: this key was used for a batch with another body",
                    hint="send a new key with a new batch",
                ) from None
            return earlier
        return batch

    def _insert(
        self,
        connection: Connection,
        batch: Batch,
        submission: Submission,
        cost: Estimated | None,
    ) -> None:
        if submission.queue_limits:
            # One after the other: each must see what the one before has queued.
            workspaces.find_locked(connection, batch.workspace_id)
        batches.create(connection, batch, idempotency_key=submission.idempotency_key)
        # After the row is there, so that a repeated create is found to be one even when full.
        self._refuse_if_full(connection, submission, own=batch.request_count)
        if cost is not None:
            of = self._treasury.budgets_of(batch.workspace_id, batch.key_id, batch)
            self._treasury.refuse_unaffordable(connection, of, cost, own=batch.id)

    def _refuse_early(
        self, connection: Connection, submission: Submission, of: Sequence[Budget]
    ) -> None:
        """Refuse what cannot be taken whatever is in it, before it is read."""
        self._refuse_if_full(connection, submission)
        self._treasury.refuse_unaffordable(connection, of, None)

    def _refuse_if_full(
        self, connection: Connection, submission: Submission, own: int | None = None
    ) -> None:
        """Raises: RateLimited when more are queued than may be, or so many that none fits.

        `own` requests of the batch itself are counted already; None before it is read.
        """
        for limit in submission.queue_limits:
            key_id = limit.id if limit.scope == "key" else None
            queued = batches.queued(connection, submission.workspace_id, key_id=key_id)
            excess = queued - limit.at_most + (1 if own is None else 0)
            if excess > 0:
                raise queue_full(
                    limit, queued=queued - (own or 0), own=own, pace_per_s=self._pace_per_s()
                )

    def _is_repeated(self, batch: Batch, earlier: Batch) -> bool:
        """Tell whether two inputs have the same bytes, or as many where the earlier is archived."""
        if batch.input_bytes != earlier.input_bytes:
            return False
        inputs = (self._objects.path(batch.input_key), self._objects.path(earlier.input_key))
        try:
            return filecmp.cmp(*inputs, shallow=False)
        except FileNotFoundError:
            return True


def queue_full(
    limit: Limit, *, queued: int, own: int | None, pace_per_s: float | None
) -> RateLimited:
    """Refuse a batch, with the time after which there may be room when it is known and short."""
    message = (
        f"This request would exceed the rate limit for {limit} of {limit.at_most:,} requests in "
        f"processing: {queued:,} are queued" + ("" if own is None else f", this batch has {own:,}")
    )
    excess = queued + (own or 1) - limit.at_most
    if pace_per_s and (own or 1) <= limit.at_most and excess <= pace_per_s * _MAX_WAIT_S:
        return RateLimited(message, retry_after_s=max(1.0, excess / pace_per_s))
    return QueueFull(message)


async def _write(writer: ObjectWriter, body: AsyncIterator[bytes]) -> None:
    """Write the body in large pieces; the disk works while the rest still arrives."""
    pieces: list[bytes] = []
    waiting, unsynced = 0, 0
    syncing: asyncio.Future[None] | None = None
    try:
        async for piece in body:
            pieces.append(piece)
            waiting += len(piece)
            if waiting < _WRITE_BYTES:
                continue
            await asyncio.to_thread(writer.write, b"".join(pieces))
            unsynced += waiting
            pieces, waiting = [], 0
            if unsynced >= _SYNC_BYTES and (syncing is None or syncing.done()):
                if syncing is not None:
                    await syncing
                syncing = asyncio.ensure_future(asyncio.to_thread(writer.sync))
                unsynced = 0
        await asyncio.to_thread(writer.write, b"".join(pieces))
    finally:
        if syncing is not None:
            await syncing
