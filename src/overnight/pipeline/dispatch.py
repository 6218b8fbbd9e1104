"""Dispatch: a fixed pool of senders, each with one request at a time until it is durable.

A sender takes its next request only when the outcome of the last one is committed. So after a
crash no more requests are sent again than there are senders (docs/decisions/0004).
"""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import msgspec

from overnight.clock import Clock
from overnight.dispatch import retry
from overnight.dispatch.gate import Pass
from overnight.dispatch.queue import Taken
from overnight.dispatch.routing import Target
from overnight.model import BatchId, Call, Failure, FailureKind, Need, Prefix, Reply
from overnight.pipeline.held import HeldShard, Work, Workload
from overnight.pipeline.journal import Journal
from overnight.pipeline.lanes import Lane, Lanes
from overnight.pipeline.lease import settle_unsent
from overnight.pipeline.treasury import NOTHING, Payment, Treasury
from overnight.pipeline.wake import sleep_or
from overnight.pricing.bounds import Bounder
from overnight.pricing.tariff import Tariff
from overnight.wire.named import renamed
from overnight.wire.results import errored_line, expired_line, succeeded_line

# Longer than any backend takes for one answer.
_BOUND_WITHIN_S = 21_600.0
_MIN_TIMEOUT_S = 0.1
# How often stragglers are looked for.
_CUT_EVERY_S = 1.0

_STRAGGLER = Failure(
    kind=FailureKind.TIMEOUT,
    error_type="timeout_error",
    message="The backend took far longer than for other requests.",
)
_DEFECT = Failure(
    kind=FailureKind.INTERNAL,
    error_type="api_error",
    message="Internal error while sending this request.",
)
_NO_MESSAGE = Failure(
    kind=FailureKind.MALFORMED,
    error_type="api_error",
    message="The backend's answer is not a Messages object.",
)

_ENDLESS = Decimal("Infinity")

log = logging.getLogger(__name__)


class Dispatcher:
    """Sends a workload's requests through the gates and journals what they came to."""

    def __init__(
        self,
        *,
        workload: Workload,
        journal: Journal,
        lanes: Lanes,
        treasury: Treasury,
        bounder: Bounder,
        tariff: Tariff,
        clock: Clock,
        random: Random,
        max_attempts: int,
    ) -> None:
        self._workload = workload
        self._journal = journal
        self._lanes = lanes
        self._treasury = treasury
        self._bounder = bounder
        self._tariff = tariff
        self._clock = clock
        self._random = random
        self._max_attempts = max_attempts
        # Batches that a budget has stopped, until they are gone from here.
        self._stopped: set[BatchId] = set()
        # Requests that wait for their next attempt.
        self.retrying = 0
        # They, and leaders whose prefixes settle.
        self._waits: set[asyncio.Task[None]] = set()
        # Who waits for which call.
        self._calling: dict[Pass, asyncio.Task[None]] = {}

    async def send_all(self, lane: Lane) -> None:
        """Be one sender of a lane: send request after request until the worker drains."""
        task = asyncio.current_task()
        assert task is not None
        workload, gate, clock = self._workload, lane.gate, self._clock
        while not workload.draining:
            now_s = clock.seconds()
            taken = None if lane.has_to_wait(now_s) else workload.take(lane, now_s)
            if taken is None:
                await lane.rest()
                continue
            work = taken.item
            need = work.need(taken.leads)
            pace_s = gate.pace_s(work.route, need, now_s)
            if pace_s > 0:
                workload.put_back(lane, taken)
                lane.pause(work.route, pace_s)
                continue
            payment = self._pay(work, now_s)
            if payment is None:
                workload.put_back(lane, taken)
                # Other batches may go on.
                lane.wake()
                continue
            sending = Sending(workload, lane, taken, need, now_s, payment)
            # Another one may find work too; another lane, now that this one has less room.
            self._lanes.wake()
            try:
                await self._settle(sending, task)
            finally:
                sending.fail()
                sending.square()

    async def let_pay(self) -> None:
        """Wait until budgets have been looked at; let go on who can be paid for now.

        A batch whose next request would pass a budget, whatever comes of those under way, ends.
        """
        await self._treasury.looked()
        workload, treasury, now_s = self._workload, self._treasury, self._clock.seconds()
        batches = {batch_id: workload.batch(batch_id) for batch_id in workload.unpaid}
        self._stopped &= batches.keys()
        for batch_id, usd in dict(workload.unpaid).items():
            batch = batches[batch_id]
            if batch is None:
                workload.paid(batch_id)
            elif (dry := treasury.dry(treasury.of_batch(batch), usd)) is None:
                continue
            elif batch_id not in self._stopped:
                self._stopped.add(batch_id)
                treasury.stop(batch_id, dry)
        # Afterwards: to ask whether one can be paid for makes the purse wait for its money.
        for batch_id, usd in dict(workload.unpaid).items():
            batch = batches[batch_id]
            if batch is None or batch_id in self._stopped:
                continue
            if treasury.can_take(treasury.of_batch(batch), usd, now_s):
                workload.paid(batch_id)

    async def cut_stragglers(self) -> None:
        """Give up the calls that take far longer than all others, then pause."""
        now_s = self._clock.seconds()
        for lane in self._lanes:
            for passed in lane.gate.stragglers(now_s):
                lane.gate.tally.stragglers_cut += 1
                self._calling[passed].cancel()
        await self._clock.sleep(_CUT_EVERY_S)

    def drain(self) -> None:
        """Drop the requests that wait for a retry."""
        for task in self._waits:
            task.cancel()
        for lane in self._lanes:
            lane.close()

    def _pay(self, work: Work, now_s: float) -> Payment | None:
        """Have the budgets of a batch pay for a request; None when one of them cannot now."""
        held = work.held
        purses = self._treasury.of_batch(held.batch)
        if not purses or held.stop is not None:
            return NOTHING
        bounds = self._bounder.of(
            work.model,
            work.input_tokens,
            work.max_tokens,
            tier="batch",
            on=held.created_on,
            ttl_s=work.ttl_s,
        )
        # What it costs is unknown: nothing is enough.
        usd = _ENDLESS if bounds is None else bounds.high_usd
        payment = self._treasury.take(purses, usd, now_s)
        if payment is None:
            self._workload.wait_for_money(work.batch_id, usd)
        return payment

    def _settle(self, sending: "Sending", task: asyncio.Task[None]) -> Awaitable[None]:
        """Bring a request to its outcome, or to its next attempt."""
        work, held = sending.work, sending.work.held
        if held.lost:
            return _nothing()
        if held.stop is not None:
            return settle_unsent(self._journal, work)
        left_s = (held.batch.expires_at - self._clock.now()).total_seconds()
        # Before the next sweep has noticed it.
        return self._expire(work) if left_s <= 0 else self._send(sending, task, left_s)

    def _expire(self, work: Work) -> Awaitable[None]:
        line = expired_line(work.custom_id)
        return self._journal.add(work.held, work.position, line, "expired")

    async def _send(self, sending: "Sending", task: asyncio.Task[None], left_s: float) -> None:
        """Call the backend and settle what comes of it."""
        work, held, lane = sending.work, sending.work.held, sending.lane
        route = self._lanes.route(work.route)
        target = route.targets[lane.id]
        passed = lane.gate.enter(
            work.route, sending.need, sending.started_s, attempts=work.attempts + work.cuts
        )
        route.took(lane.id)
        if sending.leads:
            lane.gate.tally.leaders_sent += 1
        if target.fallback:
            lane.gate.tally.fallbacks += 1
        held.sending.add(task)
        self._calling[passed] = task
        answer: Reply | Failure | None
        try:
            answer = await self._answer(sending, target, left_s)
        except asyncio.CancelledError:
            stopped = held.lost or held.stop == "expired"
            if self._workload.draining or not (stopped or passed.cut):
                self._break_off(sending, passed)
                raise
            task.uncancel()
            answer = None if stopped else _STRAGGLER
        finally:
            # Nobody may cancel a task that waits for the journal: all wait for one future.
            held.sending.discard(task)
            del self._calling[passed]
        if isinstance(answer, Reply):
            await self._record(sending, passed, answer)
        elif answer is None or self._came_too_late(held, answer):
            self._break_off(sending, passed)
            if not held.lost:
                await self._expire(work)
        else:
            await self._settle_failure(sending, passed, answer)

    def _record(self, sending: "Sending", passed: Pass, reply: Reply) -> Awaitable[None]:
        work, lane = sending.work, sending.lane
        lane.gate.answered(passed, reply, self._clock.seconds())
        sending.answered = True
        if sending.leads:
            self._begin(sending)
        lane.wake()
        key = self._tariff.key(
            reply.model, reply.usage, on=work.held.created_on, auto_cached=work.auto_cached
        )
        return self._journal.add(
            work.held, work.position, sending.line, "succeeded", usage_key=key, usage=reply.usage
        )

    def _break_off(self, sending: "Sending", passed: Pass) -> None:
        """Note a call of which nothing came that would tell of the backend."""
        sending.lane.gate.abandoned(passed)
        sending.lose()
        sending.lane.wake()

    def _came_too_late(self, held: HeldShard, failure: Failure) -> bool:
        """Tell whether a call had no more time than its batch."""
        timeout = failure.kind is FailureKind.TIMEOUT and failure is not _STRAGGLER
        return timeout and self._clock.now() >= held.batch.expires_at

    async def _answer(self, sending: "Sending", target: Target, left_s: float) -> Reply | Failure:
        """Call the backend; a defect in it fails this one request and nothing else."""
        work, backend, batch = sending.work, sending.lane.backend, sending.work.held.batch
        params = bytes(work.params)
        call = Call(
            params=params if target.model is None else renamed(params, target.model),
            api_version=batch.api_version,
            betas=batch.betas,
            user_profile_id=batch.user_profile_id,
            custom_id=work.custom_id,
            # Nobody would record an answer that comes after the expiry.
            timeout_s=max(left_s, _MIN_TIMEOUT_S) if left_s < _BOUND_WITHIN_S else None,
        )
        try:
            reply = await backend.send(
                call, partial(self._begun, sending) if sending.leads else None
            )
        except Exception as error:
            # Without the exception's text: it may quote a body.
            log.error("backend %s failed: %s", backend.name, type(error).__name__)
            return _DEFECT
        if isinstance(reply, Reply):
            try:
                sending.line = succeeded_line(work.custom_id, reply.message)
            except msgspec.DecodeError:
                return _NO_MESSAGE
        return reply

    def _begun(self, sending: "Sending") -> None:
        """Note the first byte of an answer that others wait for."""
        calls = sending.lane.gate.tally.calls(sending.work.route, realtime=False)
        calls.first_byte_s.note(self._clock.seconds() - sending.started_s)
        self._begin(sending)

    def _begin(self, sending: "Sending") -> None:
        """Let the others follow, once the backend finds what the leader wrote."""
        if sending.leads:
            leads, sending.leads = sending.leads, ()
            settle_s = self._lanes.caching(
                self._lanes.route(sending.work.route), sending.work.model
            ).settle_s
            if settle_s:
                self._later(self._begin_after(sending, leads, settle_s))
            else:
                self._workload.begin(sending.lane, leads, sending.started_s)

    async def _begin_after(
        self, sending: "Sending", leads: tuple[Prefix, ...], settle_s: float
    ) -> None:
        await self._clock.sleep(settle_s)
        self._workload.begin(sending.lane, leads, sending.started_s)

    async def _settle_failure(self, sending: "Sending", passed: Pass, failure: Failure) -> None:
        work, lane, tally = sending.work, sending.lane, sending.lane.gate.tally
        charged = lane.gate.failed(passed, failure, self._clock.seconds())
        sending.lose()
        if lane.out:
            self._workload.abandon(lane)
        lane.wake()
        if failure is _STRAGGLER:
            # There is nothing to wait for.
            work.cuts += 1
            self._workload.put([work])
            return
        work.attempts += charged
        decision = retry.decide(
            failure,
            attempts=work.attempts,
            max_attempts=self._max_attempts,
            random=self._random,
            charged=charged,
        )
        if isinstance(decision, retry.Retry):
            tally.retries[failure.kind, decision.charged] += 1
            # The sender goes on with other requests meanwhile.
            self._later(self._retry(work, decision.after_s))
            return
        tally.given_up[failure.kind] += 1
        line = errored_line(
            work.custom_id, failure.error_type, failure.message, failure.details, failure.request_id
        )
        await self._journal.add(work.held, work.position, line, "errored")

    async def _retry(self, work: Work, after_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.retrying += 1
        try:
            await sleep_or(self._clock, after_s, work.held.stopped)
        finally:
            self.retrying -= 1
        # It does not wait any more; see `drain`.
        self._waits.discard(task)
        if work.held.lost or self._workload.draining:
            return
        if work.held.stop is not None:
            await settle_unsent(self._journal, work)
        else:
            self._workload.put([work])

    def _later(self, wait: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(wait)
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)


class Sending:
    """One request under way in a lane, and the prefixes that others wait for until it has begun."""

    __slots__ = (
        "_payment", "_workload", "answered", "lane", "leads", "line", "need", "started_s", "work",
    )  # fmt: skip

    def __init__(
        self,
        workload: Workload,
        lane: Lane,
        taken: Taken[Work],
        need: Need,
        started_s: float,
        payment: Payment,
    ) -> None:
        self._workload = workload
        self.lane = lane
        self.work = taken.item
        # Empty when nobody waits for it, or all were told.
        self.leads = taken.leads
        self.need = need
        self.started_s = started_s
        # The result line, once it is answered.
        self.line = b""
        # It costs something.
        self.answered = False
        self._payment = payment

    def square(self) -> None:
        """Say to the budgets what came of what they paid. Once, at the end."""
        if self.answered:
            self._payment.settle()
        else:
            self._payment.give_back()

    def lose(self) -> None:
        """Note that it was sent and brought nothing."""
        self.lane.gate.tally.leaders_failed += bool(self.leads)
        self.fail()

    def fail(self) -> None:
        """Let another one lead, unless the answer has begun. Idempotent."""
        if self.leads:
            leads, self.leads = self.leads, ()
            self._workload.fail(self.lane, leads)


async def _nothing() -> None:
    """Do nothing: another worker has the request now."""
