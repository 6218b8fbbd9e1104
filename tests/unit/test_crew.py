"""Threads that run blocking steps for the event loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from functools import partial

import pytest

from overnight.store.crew import Crew


@pytest.fixture
async def crew() -> AsyncGenerator[Crew]:
    made = Crew(1, "test")
    yield made
    await asyncio.to_thread(made.close)


async def test_a_step_runs_in_a_thread_of_the_crew(crew: Crew) -> None:
    assert await crew.run(lambda: threading.current_thread().name) == "test_0"


async def test_what_a_step_raises_reaches_the_caller_and_the_thread_goes_on(crew: Crew) -> None:
    with pytest.raises(ZeroDivisionError):
        await crew.run(lambda: 1 / 0)
    assert await crew.run(lambda: 1) == 1


async def test_steps_begin_in_the_order_in_which_they_came(crew: Crew) -> None:
    begun: list[int] = []
    await asyncio.gather(*(crew.run(partial(begun.append, n)) for n in range(50)))
    assert begun == list(range(50))


async def test_a_step_that_nobody_waits_for_any_more_is_not_begun(crew: Crew) -> None:
    hold, begun = threading.Event(), threading.Event()
    first = asyncio.ensure_future(crew.run(hold.wait))
    second = asyncio.ensure_future(crew.run(begun.set))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    hold.set()
    await first
    await crew.run(lambda: None)
    assert not begun.is_set()


async def test_close_waits_for_what_was_given_before(crew: Crew) -> None:
    steps = [asyncio.ensure_future(crew.run(lambda: 1)) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.to_thread(crew.close)
    assert await asyncio.gather(*steps) == [1] * 10
