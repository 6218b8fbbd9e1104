"""Threads that run blocking steps for the event loop, with little ceremony.

`concurrent.futures` chains two futures and takes several locks for each step, which costs as much
as a small statement.
"""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

Outcome = TypeVar("Outcome")


class _Step(NamedTuple):
    run: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    waiter: asyncio.Future[Any]


class Crew:
    """A fixed number of threads; steps are begun in the order in which they came."""

    def __init__(self, size: int, name: str) -> None:
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._work, name=f"{name}_{number}", daemon=True)
            for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, step: Callable[[], Outcome]) -> Outcome:
        """Run a step in one of the threads; raises what it raises."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outcome] = loop.create_future()
        self._steps.put(_Step(step, loop, waiter))
        return await waiter

    def close(self) -> None:
        """Return when all steps have been run and all threads have ended."""
        for _ in self._threads:
            self._steps.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (step := self._steps.get()) is not None:
            # Nobody waits any more: it was canceled before it began.
            if not step.waiter.cancelled():
                _run(step)
            # What it holds must not live until the next one comes.
            del step


def _run(step: _Step) -> None:
    try:
        outcome = step.run()
    except BaseException as error:
        _tell(step, _fail, error)
    else:
        _tell(step, _succeed, outcome)


def _tell(step: _Step, how: Callable[[asyncio.Future[Any], Any], None], what: Any) -> None:
    try:
        step.loop.call_soon_threadsafe(how, step.waiter, what)
    except RuntimeError:
        # The event loop was closed meanwhile, and whoever waited has gone with it.
        if not step.loop.is_closed():
            raise


def _succeed(waiter: asyncio.Future[Any], outcome: Any) -> None:
    if not waiter.done():
        waiter.set_result(outcome)


def _fail(waiter: asyncio.Future[Any], error: BaseException) -> None:
    if not waiter.done():
        waiter.set_exception(error)
