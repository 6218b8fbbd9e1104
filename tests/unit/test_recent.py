"""What was asked a moment ago is not asked again, and what has changed is."""

import asyncio
from datetime import timedelta

from tests.support.service import START

from overnight.access.recent import Recent
from overnight.clock import MovableClock


class Source:
    """Answers with what stands in it, and counts how often it was asked."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.asked = 0

    async def __call__(self) -> str | None:
        self.asked += 1
        return self.value


async def test_an_answer_is_kept_for_its_seconds_and_no_longer(clock: MovableClock) -> None:
    recent: Recent[str, str] = Recent(clock, keep_s=5)
    source = Source("a")
    assert [await recent.get("k", source) for _ in range(3)] == ["a", "a", "a"]
    source.value = "b"
    clock.advance(timedelta(seconds=4.999))
    assert (await recent.get("k", source), source.asked) == ("a", 1)
    clock.advance(timedelta(seconds=0.001))
    assert (await recent.get("k", source), source.asked) == ("b", 2)


async def test_that_something_is_missing_is_asked_every_time(clock: MovableClock) -> None:
    recent: Recent[str, str] = Recent(clock, keep_s=5)
    source = Source(None)
    assert await recent.get("k", source) is None
    source.value = "a"
    assert await recent.get("k", source) == "a"


async def test_a_change_is_seen_at_once(clock: MovableClock) -> None:
    recent: Recent[str, str] = Recent(clock, keep_s=5)
    source = Source("a")
    await recent.get("k", source)
    source.value = None
    recent.forget()
    assert await recent.get("k", source) is None


async def test_what_was_read_before_a_change_is_not_kept_after_it(clock: MovableClock) -> None:
    recent: Recent[str, str] = Recent(clock, keep_s=5)
    read, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        read.set()
        await go_on.wait()
        return "old"

    asking = asyncio.create_task(recent.get("k", slow))
    await read.wait()
    recent.forget()
    go_on.set()
    assert await asking == "old"
    assert await recent.get("k", Source("new")) == "new"


async def test_memory_is_bounded() -> None:
    recent: Recent[int, int] = Recent(MovableClock(START), keep_s=5)

    async def ask() -> int:
        return 1

    for number in range(25_000):
        await recent.get(number, ask)
    assert len(recent) <= 10_000
