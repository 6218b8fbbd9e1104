"""Cut a service's power inside the process: from then on nothing that it does has any effect.

What reaches the outside world of a service are its transactions and its calls. Both go through
here; once the power is cut they raise, also those that the drain would make. So leaving the
service's context is a crash and no orderly end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, TypeVar

from sqlalchemy import Connection

from overnight.backends.simulator import Simulator
from overnight.model import Call, Failure, Reply
from overnight.store.database import Database

Answer = TypeVar("Answer")
Step = Literal[
    "plan", "claim", "send", "record", "read journal", "seal", "claim delivery", "record delivery"
]

# The function that a transaction runs, for each step that is one.
_STEPS: dict[str, Step] = {
    "Planner.plan.<locals>.store": "plan",
    "Leaser._claim.<locals>.claim": "claim",
    "record": "record",
    "Sealer.seal.<locals>.read": "read journal",
    "Sealer.seal.<locals>.seal": "seal",
    "Deliverer._begin.<locals>.claim": "claim delivery",
    "Deliverer._attempt.<locals>.<lambda>": "record delivery",
}


class PowerCut(Exception):
    """The process is dead; it only does not know yet"""


class Point(NamedTuple):
    """Just before or just after the nth time that a step is done."""

    when: Literal["before", "after"]
    nth: int
    step: Step

    def __str__(self) -> str:
        return f"{self.when} {self.step} {self.nth}"


class Power:
    """The supply of one service, cut by hand or at a point."""

    def __init__(self, point: Point | None = None) -> None:
        self._point = point
        self._times: dict[Step, int] = {}
        self.gone = asyncio.Event()

    def cut(self) -> None:
        self.gone.set()

    async def around(self, step: Step | None, act: Callable[[], Awaitable[Answer]]) -> Answer:
        """Act, unless the power is gone; what ends after the cut is never learned of."""
        struck = step is not None and self._strikes(step)
        if struck and self._when == "before":
            self.cut()
        self._check()
        answer = await act()
        if struck:
            self.cut()
        self._check()
        return answer

    @property
    def _when(self) -> str:
        return "" if self._point is None else self._point.when

    def _strikes(self, step: Step) -> bool:
        nth = self._times[step] = self._times.get(step, 0) + 1
        return self._point is not None and (nth, step) == (self._point.nth, self._point.step)

    def _check(self) -> None:
        if self.gone.is_set():
            raise PowerCut


class PoweredDatabase(Database):
    """A database as a service sees it whose power may be cut."""

    def __init__(self, inner: Database, power: Power) -> None:
        self.presence = inner.presence
        self._inner, self._power = inner, power

    async def read(self, question: Callable[[Connection], Answer]) -> Answer:
        return await self._power.around(_step(question), lambda: self._inner.read(question))

    async def write(self, change: Callable[[Connection], Answer]) -> Answer:
        return await self._power.around(_step(change), lambda: self._inner.write(change))

    async def close(self) -> None:
        await self._inner.close()


class PoweredSimulator(Simulator):
    """A simulator that is called by a service whose power may be cut; it lives on itself."""

    power: Power | None = None

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        if self.power is None:
            return await super().send(call, begun)
        answer = super().send
        return await self.power.around("send", lambda: answer(call, begun))


def _step(function: Callable[[Connection], object]) -> Step | None:
    function = getattr(function, "func", function)
    return _STEPS.get(function.__qualname__)
