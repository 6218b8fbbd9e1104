"""Real-time calls: answered at once, before all batches, through the same gates, and charged.

They never wait for a gate. One that knows of them leaves room, so that batches use what is left. An
answer waits until it is charged: see docs/decisions/0036-real-time-first.md.
"""

from collections.abc import AsyncIterator, Iterator

import msgspec

from overnight.backends import answers
from overnight.backends.account import Account
from overnight.backends.sse import error_event
from overnight.clock import Clock
from overnight.dispatch.gate import Pass
from overnight.errors import Unavailable
from overnight.model import Call, Failure, FailureKind, Need, Reply, Usage
from overnight.pipeline.lanes import Lane, Lanes
from overnight.pipeline.till import Spender, Spent, Till
from overnight.pipeline.treasury import Payment
from overnight.wire.named import renamed


class RealTime:
    """Sends calls that do not wait, each to the backend that is best off now."""

    def __init__(self, lanes: Lanes, till: Till, clock: Clock) -> None:
        self._lanes = lanes
        self._till = till
        self._clock = clock

    async def send(
        self, call: Call, model: str, need: Need, *, by: Spender, payment: Payment
    ) -> Reply | Failure:
        """Answer one call; where one backend cannot be reached, the next of the route is tried.

        `payment` is given back where nothing came. Raises: Unavailable when the answer cannot be
        charged.
        """
        try:
            outcome = await self._send(call, model, need)
        except BaseException:
            payment.give_back()
            raise
        if isinstance(outcome, Failure):
            payment.give_back()
            return outcome
        try:
            spent = Spent(by.workspace_id, outcome.model, outcome.usage, by.key_id)
            await self._till.charge(spent)
        finally:
            payment.settle()
        return outcome

    async def _send(self, call: Call, model: str, need: Need) -> Reply | Failure:
        self._till.require_open()
        outcome: Reply | Failure = _nobody(model)
        for lane, sent in self._ways(call, model):
            passed = self._enter(lane, model, need)
            try:
                outcome = await lane.backend.send(sent)
            except BaseException:
                self._abandon(lane, passed)
                raise
            self._leave(lane, passed, outcome)
            if not _was_not_sent(outcome):
                break
        return outcome

    async def stream(
        self, call: Call, model: str, need: Need, *, by: Spender, payment: Payment
    ) -> AsyncIterator[bytes] | Failure:
        """Answer one streaming call: chunks of server-sent events, as they come.

        The last one waits for the charge, and is an error event when that cannot be stored.
        `payment` is given back where nothing came.
        """
        try:
            outcome = await self._stream(call, model, need, by, payment)
        except BaseException:
            payment.give_back()
            raise
        if isinstance(outcome, Failure):
            payment.give_back()
        return outcome

    async def _stream(
        self, call: Call, model: str, need: Need, by: Spender, payment: Payment
    ) -> AsyncIterator[bytes] | Failure:
        self._till.require_open()
        outcome: AsyncIterator[bytes] | Failure = _nobody(model)
        for lane, sent in self._ways(call, model):
            passed = self._enter(lane, model, need)
            try:
                outcome = await lane.backend.stream(sent)
            except BaseException:
                self._abandon(lane, passed)
                raise
            if not isinstance(outcome, Failure):
                nothing = Spent(by.workspace_id, model, Usage(), by.key_id)
                events = self._watched(outcome, lane, passed, nothing, payment)
                # Begun, so that dropping it ends the call even if nobody ever reads.
                await anext(events)
                return events
            self._leave(lane, passed, outcome)
            if not _was_not_sent(outcome):
                break
        return outcome

    async def count_tokens(self, call: Call, model: str) -> int | Failure:
        """Count the input tokens of a call; it is free, and passes no gate."""
        outcome: int | Failure = _nobody(model)
        for lane, sent in self._ways(call, model):
            outcome = await lane.backend.count_tokens(sent)
            if not _was_not_sent(outcome):
                break
        return outcome

    def _ways(self, call: Call, model: str) -> Iterator[tuple[Lane, Call]]:
        """Give the lanes that may be tried, the best one first, and what each is sent."""
        route = self._lanes.find(model)
        for lane, target in self._lanes.ranked(route) if route is not None else ():
            if target.model is None:
                yield lane, call
            else:
                params = renamed(call.params, target.model)
                yield lane, msgspec.structs.replace(call, params=params)

    def _enter(self, lane: Lane, model: str, need: Need) -> Pass:
        route = self._lanes.find(model)
        assert route is not None
        return lane.gate.enter(route.id, need, self._clock.seconds(), realtime=True)

    def _leave(self, lane: Lane, passed: Pass, outcome: Reply | Failure) -> None:
        now_s = self._clock.seconds()
        if isinstance(outcome, Failure):
            lane.gate.failed(passed, outcome, now_s)
        else:
            lane.gate.answered(passed, outcome, now_s)
        lane.wake()

    def _abandon(self, lane: Lane, passed: Pass) -> None:
        lane.gate.abandoned(passed)
        lane.wake()

    def _note_first_byte(self, lane: Lane, passed: Pass) -> None:
        calls = lane.gate.tally.calls(passed.group, realtime=True)
        calls.first_byte_s.note(self._clock.seconds() - passed.started_s)

    async def _watched(
        self,
        events: AsyncIterator[bytes],
        lane: Lane,
        passed: Pass,
        nothing: Spent,
        payment: Payment,
    ) -> AsyncIterator[bytes]:
        """Give nothing, then the events; tell the gate and the till what they came to.

        `nothing` is what was spent before the first event.
        """
        account, before = Account(), b""
        charged = False
        try:
            yield b""
            async for chunk in events:
                if not before:
                    self._note_first_byte(lane, passed)
                account.feed(chunk)
                if account.ended and not charged:
                    charged = True
                    try:
                        await self._till.charge(_spent(account, nothing))
                    except Unavailable as error:
                        yield error_event(error.wire_type, error.message, after=before)
                        return
                    finally:
                        payment.settle()
                before = (before + chunk)[-2:]
                yield chunk
        finally:
            if not charged:
                # It broke off; what came so far was given.
                self._till.owe(_spent(account, nothing), then=payment.settle)
            self._conclude(lane, passed, account)

    def _conclude(self, lane: Lane, passed: Pass, account: Account) -> None:
        if account.error is not None:
            self._leave(lane, passed, answers.refused_event(account.error, _no_header))
        elif account.ended:
            told = Reply(message=b"", usage=account.usage, model=account.model or "")
            self._leave(lane, passed, told)
        else:
            self._abandon(lane, passed)


def _spent(account: Account, nothing: Spent) -> Spent:
    return nothing._replace(model=account.model or nothing.model, usage=account.usage)


def _was_not_sent(outcome: object) -> bool:
    return isinstance(outcome, Failure) and outcome.kind is FailureKind.UNREACHABLE


def _nobody(model: str) -> Failure:
    return Failure(
        kind=FailureKind.NOT_FOUND, error_type="not_found_error", message=f"model: {model}"
    )


def _no_header(key: str, /) -> str | None:
    return None
