"""How one part of this process tells another that there is something to do now.

A wake-up only saves waiting: all work is found by queries that run on an interval as well.
"""

import asyncio

from overnight.clock import Clock


class Wake:
    """A bell that one task waits for; rings between waits are not lost."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Return at the next ring, or at once after a ring that nobody waited for."""
        await self._event.wait()
        self._event.clear()

    async def wait_for(self, seconds: float, other: asyncio.Event | None = None) -> None:
        """Return at a ring, at the other event, or after `seconds` of real time."""
        events = [self._event] if other is None else [self._event, other]
        waiters = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        self._event.clear()


class Wakes:
    """The bells of one process."""

    def __init__(self) -> None:
        # A batch was accepted.
        self.accepted = Wake()
        # A batch was planned: its shards can be claimed.
        self.planned = Wake()
        # A batch was canceled, or time was moved: look for what must stop.
        self.stopped = Wake()
        # A batch was deleted: look for what can be cleared away.
        self.cleared = Wake()
        # Something became true that webhooks tell of.
        self.events = Wake()
        # The service stops: streams to clients end.
        self.closing = asyncio.Event()


async def sleep_or(clock: Clock, seconds: float, event: asyncio.Event) -> None:
    """Sleep on the clock, but no longer than until the event."""
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({sleeper, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeper.cancel()
        waiter.cancel()
