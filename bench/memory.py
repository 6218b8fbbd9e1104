"""Memory of another process, sampled while something is measured."""

import threading
from types import TracebackType
from typing import Protocol, Self, cast

import psutil  # type: ignore[import-untyped] # it ships no types

_EVERY_S = 0.005
MIB = 1 << 20


class _MemoryInfo(Protocol):
    @property
    def rss(self) -> int: ...


class _Process(Protocol):
    def memory_info(self) -> _MemoryInfo: ...


def resident_bytes(pid: int) -> int:
    """Give the resident set of a process now."""
    return cast(_Process, psutil.Process(pid)).memory_info().rss


class MemoryProbe:
    """Samples the resident set of a process from the beginning to the end of its block.

    All of it, pages of mapped files included: they can be given back at any time, but count here.
    """

    def __init__(self, pid: int) -> None:
        self._process = cast(_Process, psutil.Process(pid))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.idle_bytes = self._resident_bytes()
        self.peak_bytes = self.idle_bytes

    @property
    def over_idle_mib(self) -> float:
        """How much the peak lies over what the process had before the block."""
        return (self.peak_bytes - self.idle_bytes) / MIB

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, self._resident_bytes())

    def _resident_bytes(self) -> int:
        return self._process.memory_info().rss
