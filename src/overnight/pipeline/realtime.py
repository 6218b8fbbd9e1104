"""Real-time calls: answered at once, before all batches, and through the same gates.

They never wait here. A gate that knows of them leaves room, so that batches use what is left:
see docs/decisions/0036-real-time-first.md.
"""

from collections.abc import AsyncIterator, Iterator

import msgspec

from overnight.backends.assembly import Assembly
from overnight.clock import Clock
from overnight.dispatch.gate import Pass
from overnight.model import Call, Failure, FailureKind, Need, Reply
from overnight.pipeline.lanes import Lane, Lanes
from overnight.wire.named import renamed


class RealTime:
    """Sends calls that do not wait, each to the backend that is best off now."""

    def __init__(self, lanes: Lanes, clock: Clock) -> None:
        self._lanes = lanes
        self._clock = clock

    async def send(self, call: Call, model: str, need: Need) -> Reply | Failure:
        """Answer one call; where one backend cannot be reached, the next of the route is tried."""
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

    async def stream(self, call: Call, model: str, need: Need) -> AsyncIterator[bytes] | Failure:
        """Answer one streaming call: chunks of server-sent events, as they come."""
        outcome: AsyncIterator[bytes] | Failure = _nobody(model)
        for lane, sent in self._ways(call, model):
            passed = self._enter(lane, model, need)
            try:
                outcome = await lane.backend.stream(sent)
            except BaseException:
                self._abandon(lane, passed)
                raise
            if not isinstance(outcome, Failure):
                events = self._watched(outcome, lane, passed)
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
        self, events: AsyncIterator[bytes], lane: Lane, passed: Pass
    ) -> AsyncIterator[bytes]:
        """Give nothing, then the events; tell the gate what they came to."""
        assembly = Assembly()
        begun = False
        try:
            yield b""
            async for chunk in events:
                if not begun:
                    begun = True
                    self._note_first_byte(lane, passed)
                assembly.feed(chunk)
                yield chunk
        finally:
            if assembly.ended:
                self._leave(lane, passed, assembly.outcome(_no_header))
            else:
                self._abandon(lane, passed)


def _was_not_sent(outcome: object) -> bool:
    return isinstance(outcome, Failure) and outcome.kind is FailureKind.UNREACHABLE


def _nobody(model: str) -> Failure:
    return Failure(
        kind=FailureKind.NOT_FOUND, error_type="not_found_error", message=f"model: {model}"
    )


def _no_header(key: str, /) -> str | None:
    return None
