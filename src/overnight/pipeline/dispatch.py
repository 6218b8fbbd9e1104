"""Dispatch: a fixed pool of senders, each with one request at a time until it is durable.

A sender takes its next request only when the outcome of the last one is committed. So after a
crash no more requests are sent again than there are senders (docs/decisions/0004).
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random

import msgspec

from overnight.backends.protocol import Backend
from overnight.clock import Clock
from overnight.dispatch import retry
from overnight.dispatch.gate import Gate
from overnight.dispatch.queue import Taken
from overnight.model import Call, Failure, FailureKind, Prefix, Reply
from overnight.pipeline.held import Work, Workload
from overnight.pipeline.journal import Journal
from overnight.pipeline.lease import settle_unsent
from overnight.pipeline.wake import sleep_or
from overnight.pricing.tariff import Tariff
from overnight.wire.results import errored_line, expired_line, succeeded_line

# Longer than any backend takes for one answer.
_BOUND_WITHIN_S = 21_600.0
_MIN_TIMEOUT_S = 0.1

log = logging.getLogger(__name__)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A backend's reply and the result line made of it."""

    line: bytes
    reply: Reply


class Dispatcher:
    """Sends a workload's requests through the gate and journals what they came to."""

    def __init__(
        self,
        *,
        workload: Workload,
        journal: Journal,
        backend: Backend,
        gate: Gate,
        tariff: Tariff,
        clock: Clock,
        random: Random,
        max_attempts: int,
    ) -> None:
        self._workload = workload
        self._journal = journal
        self._backend = backend
        self._gate = gate
        self._tariff = tariff
        self._clock = clock
        self._random = random
        self._max_attempts = max_attempts
        self._opened = asyncio.Event()
        self._retries: set[asyncio.Task[None]] = set()

    async def send_all(self) -> None:
        """Be one sender: send request after request until the worker drains."""
        task = asyncio.current_task()
        assert task is not None
        workload, gate = self._workload, self._gate
        while not workload.draining:
            if not len(workload):
                workload.hungry.set()
                await workload.rest()
                continue
            if not gate.open:
                wait_s = gate.wait_s(self._clock.now())
                if wait_s > 0:
                    self._opened.clear()
                    await sleep_or(self._clock, wait_s, self._opened)
                    continue
            now_s = self._clock.seconds()
            taken = workload.take(now_s)
            if taken is None:
                gate.abandoned()
                await workload.rest()
                continue
            await self._settle(taken, task, now_s)

    def drain(self) -> None:
        """Wake the senders that wait at the gate, drop the requests that wait for a retry."""
        self._opened.set()
        for task in self._retries:
            task.cancel()

    async def _settle(self, taken: Taken[Work], task: asyncio.Task[None], now_s: float) -> None:
        """Bring a request to its outcome, or to its next attempt."""
        work, leader = taken.item, Leader(self._workload, taken.leads, now_s)
        left_s = (work.held.batch.expires_at - self._clock.now()).total_seconds()
        try:
            if work.held.lost or work.held.stop is not None:
                self._gate.abandoned()
                if not work.held.lost:
                    await settle_unsent(self._journal, work)
            elif left_s <= 0:
                # Before the next sweep has noticed it.
                self._gate.abandoned()
                await self._expire(work)
            else:
                await self._send(work, leader, task, left_s)
        finally:
            leader.fail()

    async def _expire(self, work: Work) -> None:
        line = expired_line(work.custom_id)
        await self._journal.add(work.held, work.position, line, "expired")

    async def _send(
        self, work: Work, leader: "Leader", task: asyncio.Task[None], left_s: float
    ) -> None:
        held = work.held
        held.sending.add(task)
        try:
            answer = await self._answer(work, leader, left_s)
        except asyncio.CancelledError:
            self._gate.abandoned()
            cut = held.lost or held.stop == "expired"
            if self._workload.draining or not cut:
                raise
            task.uncancel()
            answer = None
        finally:
            # Nobody may cancel a task that waits for the journal: all wait for one future.
            held.sending.discard(task)
        if isinstance(answer, Answered):
            leader.begin()
        else:
            leader.fail()
        if answer is None:
            if not held.lost:
                await self._expire(work)
        elif isinstance(answer, Failure):
            self._gate.failed(answer, self._clock.now())
            await self._settle_failure(work, answer)
        else:
            self._gate.answered()
            reply = answer.reply
            key = self._tariff.key(reply.model, reply.usage, on=held.batch.created_at.date())
            await self._journal.add(
                held, work.position, answer.line, "succeeded", usage_key=key, usage=reply.usage
            )
        if self._gate.open:
            self._opened.set()

    async def _answer(self, work: Work, leader: "Leader", left_s: float) -> Answered | Failure:
        batch = work.held.batch
        call = Call(
            params=bytes(work.params),
            api_version=batch.api_version,
            betas=batch.betas,
            user_profile_id=batch.user_profile_id,
            custom_id=work.custom_id,
            # Nobody would record an answer that comes after the expiry.
            timeout_s=max(left_s, _MIN_TIMEOUT_S) if left_s < _BOUND_WITHIN_S else None,
        )
        reply = await guard(self._backend, call, leader.begin if leader.leads else None)
        if isinstance(reply, Failure):
            return reply
        try:
            return Answered(line=succeeded_line(work.custom_id, reply.message), reply=reply)
        except msgspec.DecodeError:
            return Failure(
                kind=FailureKind.MALFORMED,
                error_type="api_error",
                message="The backend's answer is not a Messages object.",
            )

    async def _settle_failure(self, work: Work, failure: Failure) -> None:
        if retry.policy_of(failure).charged:
            work.attempts += 1
        decision = retry.decide(
            failure, attempts=work.attempts, max_attempts=self._max_attempts, random=self._random
        )
        if isinstance(decision, retry.Retry):
            # The sender goes on with other requests meanwhile.
            task = asyncio.ensure_future(self._retry(work, decision.after_s))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)
            return
        line = errored_line(
            work.custom_id, failure.error_type, failure.message, failure.details, failure.request_id
        )
        await self._journal.add(work.held, work.position, line, "errored")

    async def _retry(self, work: Work, after_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        await sleep_or(self._clock, after_s, work.held.stopped)
        # It does not wait for its retry any more; see `drain`.
        self._retries.discard(task)
        if work.held.lost or self._workload.draining:
            return
        if work.held.stop is not None:
            await settle_unsent(self._journal, work)
        else:
            self._workload.put([work])


class Leader:
    """What a request under way does for those that wait for its prefixes."""

    __slots__ = ("_started_s", "_workload", "leads")

    def __init__(self, workload: Workload, leads: tuple[Prefix, ...], started_s: float) -> None:
        self._workload = workload
        self._started_s = started_s
        # Empty when nobody waits for it, or all were told.
        self.leads = leads

    def begin(self) -> None:
        """Let the others follow: the answer has begun. Idempotent."""
        if self.leads:
            leads, self.leads = self.leads, ()
            self._workload.begin(leads, self._started_s)

    def fail(self) -> None:
        """Let another one lead, unless the answer has begun. Idempotent."""
        if self.leads:
            leads, self.leads = self.leads, ()
            self._workload.fail(leads)


async def guard(
    backend: Backend, call: Call, begun: Callable[[], None] | None = None
) -> Reply | Failure:
    """Call the backend; a defect in it fails this one request and nothing else."""
    try:
        return await backend.send(call, begun)
    except Exception as error:
        # Without the exception's text: it may quote a body.
        log.error("backend %s failed: %s", backend.name, type(error).__name__)
        return Failure(
            kind=FailureKind.INTERNAL,
            error_type="api_error",
            message="Internal error while sending this request.",
        )
