"""Delivery as due work: claim what is due, send it, record what came of it.

At least once: an attempt whose outcome was not recorded is made again. The events of one batch are
first sent to an endpoint in the order in which they happened, each after what came of the one
before; what has to be repeated may come later than what followed it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight.access.keys import organization_id
from overnight.access.secret import ServerSecret
from overnight.audit import SERVICE, Act, new_act_id
from overnight.clock import Clock
from overnight.model import Delivery, Webhook, WebhookId, WorkerId
from overnight.pipeline.wake import Wakes
from overnight.store import audit, outbox, webhooks
from overnight.store.database import Database, reason
from overnight.store.outbox import Key, Line, Report
from overnight.webhooks import signing
from overnight.webhooks.judgement import Acknowledged, Failed, Outcome, Refused, wait_s
from overnight.webhooks.sender import Sender
from overnight.webhooks.signing import SecretLost
from overnight.webhooks.tally import Attempted, Backlog, Tally
from overnight.wire.events import event_body

# Attempts under way in this process, and of them to one endpoint: a slow one keeps its place only.
_MAX_AT_ONCE = 16
_MAX_PER_WEBHOOK = 4
_LOOK_AT = 64
# After this long an attempt that nobody told the outcome of counts as lost.
_LEASE = timedelta(seconds=120)
_FORGET_EVERY_S = 60.0
_COUNT_EVERY_S = 5.0
_FORGET_AT_ONCE = 1_000

log = logging.getLogger(__name__)


class Deliverer:
    """Sends events to the endpoints of all workspaces."""

    def __init__(
        self,
        *,
        owner: WorkerId,
        database: Database,
        clock: Clock,
        wakes: Wakes,
        random: Random,
        secret: ServerSecret,
        sender: Sender,
        sweep_interval_s: float,
        disable_after_s: float,
        log_s: float,
    ) -> None:
        """`owner` is a worker whose presence is announced."""
        self._owner = owner
        self._database = database
        self._clock = clock
        self._wakes = wakes
        self._random = random
        self._secret = secret
        self._sender = sender
        self._sweep_interval_s = sweep_interval_s
        self._disable_after = timedelta(seconds=disable_after_s)
        self._log = timedelta(seconds=log_s)
        self._attempts: dict[asyncio.Task[None], WebhookId] = {}
        self._forgot_at_s = self._counted_at_s = float("-inf")
        self.tally = Tally()

    async def run(self) -> None:
        """Deliver until canceled."""
        while True:
            try:
                await self.sweep()
            except DBAPIError as error:
                log.error("delivering webhooks failed, to be tried again: %s", reason(error))
            await self._wakes.events.wait_for(self._sweep_interval_s)

    async def sweep(self) -> None:
        """Begin all attempts that are due and have room."""
        await self._free_the_dead()
        while len(self._attempts) < _MAX_AT_ONCE and await self._any_due():
            if not await self._begin():
                break
        await self._count()
        await self._forget()

    async def drain(self, timeout_s: float) -> None:
        """Let attempts under way end, then make the rest due again for others."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=timeout_s)
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        self._sender.close()
        try:
            now = self._clock.now()
            await self._database.write(lambda c: outbox.release(c, [self._owner], now=now))
        except DBAPIError as error:
            # They come free by themselves, when it is seen that this worker is dead.
            log.error("webhooks under way cannot be given back: %s", reason(error))

    async def _free_the_dead(self) -> None:
        """Make due again what workers had under way that have died."""
        owners = await self._database.read(outbox.owners)
        others = [owner for owner in owners if owner != self._owner]
        if not others:
            return
        dead = await asyncio.to_thread(self._database.presence.dead, others)
        if dead:
            now = self._clock.now()
            await self._database.write(lambda c: outbox.release(c, dead, now=now))

    async def _any_due(self) -> bool:
        now, busy = self._clock.now(), self._busy()
        return bool(await self._database.read(partial(outbox.due, now=now, limit=1, without=busy)))

    def _busy(self) -> list[WebhookId]:
        counts = Counter(self._attempts.values())
        return [webhook for webhook, count in counts.items() if count >= _MAX_PER_WEBHOOK]

    async def _begin(self) -> bool:
        """Claim some deliveries and begin their attempts; False when there is none to begin."""
        now, busy = self._clock.now(), self._busy()
        under_way = Counter(self._attempts.values())
        room = _MAX_AT_ONCE - len(self._attempts)

        def claim(connection: Connection) -> tuple[bool, list[tuple[Delivery, Webhook]]]:
            found = outbox.due(connection, now=now, limit=_LOOK_AT, without=busy)
            known = webhooks.held(connection, {delivery.webhook_id for delivery in found})
            # Of one that was deleted meanwhile the deliveries are gone.
            found = [delivery for delivery in found if delivery.webhook_id in known]
            enabled = [d for d in found if known[d.webhook_id].state == "enabled"]
            resting = [_key(d) for d in found if known[d.webhook_id].state == "disabled"]
            if resting:
                outbox.park(connection, resting)
            unsettled = outbox.unsettled(connection, enabled)
            keys = chosen(enabled, unsettled, under_way=under_way, room=room)
            claimed = outbox.claim(connection, self._owner, keys, now=now, until=now + _LEASE)
            return bool(resting), [(delivery, known[delivery.webhook_id]) for delivery in claimed]

        parked, claimed = await self._database.write(claim)
        for delivery, webhook in claimed:
            attempt = asyncio.create_task(self._attempt(delivery, webhook))
            self._attempts[attempt] = webhook.id
            attempt.add_done_callback(self._ended)
        return parked or bool(claimed)

    def _ended(self, attempt: "asyncio.Task[None]") -> None:
        del self._attempts[attempt]
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            log.error("a defect while recording a webhook; it is sent again", exc_info=error)
        # There is room again, and what waited for this one's outcome need not wait any more.
        self._wakes.events.ring()

    async def _attempt(self, delivery: Delivery, webhook: Webhook) -> None:
        begun_s = self._clock.seconds()
        outcome = await self._outcome(delivery, webhook)
        duration_ms = round((self._clock.seconds() - begun_s) * 1_000)
        report = Report(
            at=self._clock.now(),
            duration_ms=duration_ms,
            status=outcome.status,
            error=None if isinstance(outcome, Acknowledged) else outcome.reason,
        )
        self.tally.attempts[_word(outcome)] += 1
        try:
            settled = await self._database.write(
                lambda c: self._record(c, delivery, webhook, outcome, report)
            )
        except DBAPIError as error:
            # It counts as lost, and is made again.
            log.error("the outcome of a webhook cannot be stored: %s", reason(error))
            return
        self.tally.given_up += settled.given_up
        if settled.disabled_for:
            self.tally.disabled += 1
            log.warning("webhook endpoint %s is disabled: %s", webhook.id, settled.disabled_for)

    async def _outcome(self, delivery: Delivery, webhook: Webhook) -> Outcome:
        now = self._clock.now()
        body = event_body(delivery.event, organization_id=organization_id())
        try:
            signed = signing.headers(self._secret, webhook, delivery.event.id, body, now=now)
        except SecretLost:
            return Refused("its signing secret is lost with the server's former secret: rotate it")
        try:
            return await self._sender.post(webhook.url, signed, body, now=now)
        except Exception as error:
            # A defect must neither stop other deliveries nor pass in silence.
            log.error("a defect while delivering to %s", webhook.id, exc_info=error)
            return Failed("a defect of the service")

    def _record(
        self,
        connection: Connection,
        delivery: Delivery,
        webhook: Webhook,
        outcome: Outcome,
        report: Report,
    ) -> "Settled":
        """Store what an attempt came to."""
        if isinstance(outcome, Acknowledged):
            webhooks.note_success(connection, webhook.id)
            outbox.acknowledge(connection, delivery, report)
            return Settled()
        is_test = delivery.event.type == "webhook_endpoint.test"
        reason = outcome.reason if isinstance(outcome, Refused) else None
        if not is_test:
            since = webhooks.note_failure(connection, webhook, now=report.at)
            if reason is None and report.at - since >= self._disable_after:
                reason = f"all attempts have failed since {since:%Y-%m-%d %H:%M} UTC; " + (
                    f"the last one: {outcome.reason}"
                )
        disabled = reason is not None and webhooks.disable(
            connection, webhook, reason, now=report.at
        )
        if disabled:
            audit.record(connection, _disabled(webhook, report))
        wait = wait_s(delivery, outcome, jitter=self._random.random())
        if wait is None and disabled and not is_test:
            # Its last attempt is made when the endpoint is mended.
            wait = 0.0
        retry_at = None if wait is None else report.at + timedelta(seconds=wait)
        outbox.note_failure(connection, delivery, report, retry_at=retry_at)
        return Settled(given_up=retry_at is None, disabled_for=reason if disabled else None)

    async def _count(self) -> None:
        """Count what is due, now and then."""
        if self._clock.seconds() - self._counted_at_s >= _COUNT_EVERY_S:
            self._counted_at_s = self._clock.seconds()
            now = self._clock.now()
            self.tally.backlog = Backlog(
                *await self._database.read(partial(outbox.backlog, now=now))
            )

    async def _forget(self) -> None:
        """Remove events from the log that are too old, now and then."""
        if self._clock.seconds() - self._forgot_at_s < _FORGET_EVERY_S:
            return
        self._forgot_at_s = self._clock.seconds()
        before = self._clock.now() - self._log
        forget = partial(outbox.forget, before=before, limit=_FORGET_AT_ONCE)
        while await self._database.write(forget) == _FORGET_AT_ONCE:
            pass


class Settled(NamedTuple):
    """What followed from an attempt."""

    # It was the last one.
    given_up: bool = False
    # Why the endpoint gets no more of them.
    disabled_for: str | None = None


def chosen(
    found: Sequence[Delivery],
    unsettled: Mapping[Line, int],
    *,
    under_way: Mapping[WebhookId, int],
    room: int,
) -> list[Key]:
    """Choose which of the due deliveries are attempted now, the longest due first. Pure.

    `unsettled` names the first event of each line of which no attempt has ended: those behind
    it wait.
    """
    counts = Counter(under_way)
    keys: list[Key] = []
    for delivery in found:
        webhook_id, event = delivery.webhook_id, delivery.event
        first = unsettled.get(Line(webhook_id, event.subject_id), event.number)
        waits = delivery.tries == 0 and first < event.number
        if len(keys) < room and counts[webhook_id] < _MAX_PER_WEBHOOK and not waits:
            counts[webhook_id] += 1
            keys.append(_key(delivery))
    return keys


def _word(outcome: Outcome) -> Attempted:
    match outcome:
        case Acknowledged():
            return "acknowledged"
        case Failed():
            return "failed"
        case Refused():
            return "refused"


def _disabled(webhook: Webhook, report: Report) -> Act:
    return Act(
        id=new_act_id(),
        created_at=report.at,
        action="webhook.disable",
        actor=SERVICE,
        workspace_id=webhook.workspace_id,
        subject_id=webhook.id,
        details={"last_status": report.status},
    )


def _key(delivery: Delivery) -> Key:
    return Key(delivery.webhook_id, delivery.event.number)
