"""What the database answered a moment ago: asked again only when it has become old."""

from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from overnight.clock import Clock

K = TypeVar("K")
V = TypeVar("V")
# Far above the keys that call within a few seconds; then all of it is asked for again.
_MAX_ENTRIES = 10_000


class _Entry(NamedTuple, Generic[V]):
    value: V
    good_until_s: float


class Recent(Generic[K, V]):
    """Keeps answers for some seconds; that something is not there is never kept."""

    def __init__(self, clock: Clock, *, keep_s: float) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._entries: dict[K, _Entry[V]] = {}
        self._generation = 0

    async def get(self, key: K, ask: Callable[[], Awaitable[V | None]]) -> V | None:
        """Give what is kept, else what `ask` finds."""
        entry = self._entries.get(key)
        if entry is not None and self._clock.seconds() < entry.good_until_s:
            return entry.value
        generation = self._generation
        value = await ask()
        # What was read before a change must not be kept after it.
        if value is not None and generation == self._generation:
            if len(self._entries) >= _MAX_ENTRIES:
                self._entries.clear()
            self._entries[key] = _Entry(value, self._clock.seconds() + self._keep_s)
        return value

    def forget(self) -> None:
        """Ask for everything again: something has changed."""
        self._generation += 1
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
