"""Time that a test moves, and the system's."""

import asyncio
from datetime import UTC, datetime, timedelta

from overnight.clock import MovableClock, SystemClock

START = datetime(2026, 11, 22, tzinfo=UTC)


async def settle() -> None:
    """Let everything run that can run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_movable_clock_stands_still_until_it_is_moved() -> None:
    clock = MovableClock(START)
    sleeper = asyncio.ensure_future(clock.sleep(10))
    await settle()
    clock.advance(timedelta(seconds=9.999))
    await settle()
    assert not sleeper.done()
    clock.advance(timedelta(seconds=0.001))
    await sleeper
    assert clock.now() == START + timedelta(seconds=10)


async def test_sleepers_wake_in_the_order_of_their_time() -> None:
    clock = MovableClock(START)
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    sleepers = [asyncio.ensure_future(sleep(seconds)) for seconds in (3, 1, 2, 30)]
    await settle()
    clock.advance(timedelta(seconds=10))
    await settle()
    assert woken == [1, 2, 3]
    clock.advance(timedelta(seconds=20))
    await asyncio.gather(*sleepers)
    assert woken == [1, 2, 3, 30]


async def test_a_canceled_sleeper_does_not_disturb_the_others() -> None:
    clock = MovableClock(START)
    gone = asyncio.ensure_future(clock.sleep(1))
    stays = asyncio.ensure_future(clock.sleep(1))
    await settle()
    gone.cancel()
    clock.advance(timedelta(seconds=1))
    await stays
    assert gone.cancelled()


async def test_no_time_is_no_wait() -> None:
    await asyncio.wait_for(MovableClock(START).sleep(0), 5)


async def test_the_system_clock_tells_utc_and_never_goes_back_over_a_sleep() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0)
    assert before.tzinfo is UTC
    assert clock.now() >= before
