"""Wait for what another task or process brings about."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOK_AGAIN_S = 0.005


async def until(holds: Callable[[], Awaitable[bool]], *, what: str, timeout_s: float = 15) -> None:
    """Return once a condition holds. Raises: AssertionError that says what did not come."""
    give_up_at = time.monotonic() + timeout_s
    while not await holds():
        assert time.monotonic() < give_up_at, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(_LOOK_AGAIN_S)
