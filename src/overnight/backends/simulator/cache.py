"""The prompt cache: which part of a prompt is read, which is written, and until when.

An entry is identified by the model and the exact prompt before its breakpoint, in the order
tools, system, messages. It can be read once the answer of the request that wrote it has begun,
and lives for its TTL from the start of that request or of the last one that read it.
Source: protocol notes §10 (documentation of 2026-08).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from overnight import prompt
from overnight.errors import InvalidRequest
from overnight.prompt import TTL_S, Prefix

MAX_BREAKPOINTS = 4
# How many blocks before a breakpoint, itself included, may end an older entry.
LOOK_BACK_BLOCKS = 20
TTL = {ttl: timedelta(seconds=seconds) for ttl, seconds in TTL_S.items()}
# Expired entries are dropped when there are more than this.
MAX_ENTRIES = 100_000


class Write(NamedTuple):
    """One entry that a request writes."""

    key: bytes
    ttl: str
    # What is billed as written for it: what lies after the entry before it.
    tokens: int


class CacheUse(NamedTuple):
    """What one request takes from the cache and brings to it."""

    started_at: datetime
    # All entries along the prompt that this request uses; each lives on from its start.
    reads: tuple[bytes, ...]
    read_tokens: int
    writes: tuple[Write, ...]
    # What was neither read nor written.
    input_tokens: int

    def written_tokens(self, ttl: str) -> int:
        return sum(write.tokens for write in self.writes if write.ttl == ttl)


class PromptCache:
    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}

    def plan(
        self, params: Mapping[str, Any], *, model: str, min_tokens: int, now: datetime
    ) -> CacheUse:
        """Say what a request that starts `now` would read and write. Changes nothing.

        Raises InvalidRequest for more than four breakpoints, or for 1 h after 5 m.
        """
        prefixes = list(prompt.prefixes(params, model))
        marks = [index for index, prefix in enumerate(prefixes) if prefix.ttl]
        _check(prefixes, marks)
        hit = self._longest_hit(prefixes, marks, now)
        read_tokens = prefixes[hit].tokens if hit >= 0 else 0
        reads = tuple(
            prefixes[index].key
            for index in sorted({*marks, hit})
            if 0 <= index <= hit and self._is_live(prefixes[index].key, now)
        )
        writes: list[Write] = []
        reached = read_tokens
        for index in marks:
            prefix = prefixes[index]
            if index > hit and prefix.tokens >= min_tokens:
                writes.append(Write(prefix.key, prefix.ttl, prefix.tokens - reached))
                reached = prefix.tokens
        total = prefixes[-1].tokens if prefixes else 0
        return CacheUse(now, reads, read_tokens, tuple(writes), total - reached)

    def read(self, use: CacheUse) -> None:
        """Let the entries that a request reads live on from its start."""
        for key in use.reads:
            entry = self._entries[key]
            entry.expires_at = max(entry.expires_at, use.started_at + TTL[entry.ttl])

    def begin(self, use: CacheUse) -> None:
        """Make what a request wrote readable: its answer has begun."""
        if len(self._entries) > MAX_ENTRIES:
            self._entries = {
                key: entry
                for key, entry in self._entries.items()
                if entry.expires_at > use.started_at
            }
        for write in use.writes:
            self._entries[write.key] = _Entry(write.ttl, use.started_at + TTL[write.ttl])

    def _longest_hit(self, prefixes: list[Prefix], marks: list[int], now: datetime) -> int:
        """Find the last block that ends a live entry in reach of a breakpoint; -1 for none."""
        for mark in reversed(marks):
            for index in range(mark, max(-1, mark - LOOK_BACK_BLOCKS), -1):
                if self._is_live(prefixes[index].key, now):
                    return index
        return -1

    def _is_live(self, key: bytes, now: datetime) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.expires_at > now


class _Entry:
    __slots__ = ("expires_at", "ttl")

    def __init__(self, ttl: str, expires_at: datetime) -> None:
        self.ttl = ttl
        self.expires_at = expires_at


def _check(prefixes: list[Prefix], marks: list[int]) -> None:
    if len(marks) > MAX_BREAKPOINTS:
        raise InvalidRequest(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {len(marks)}."
        )
    short = False
    for index in marks:
        if prefixes[index].ttl == "1h" and short:
            raise InvalidRequest(
                f"{prefixes[index].place}.cache_control.ttl: a ttl='1h' cache_control block must "
                "not come after a ttl='5m' cache_control block. Note that blocks are processed in "
                "the following order: `tools`, `system`, `messages`."
            )
        short = short or prefixes[index].ttl == "5m"
