"""Which prefixes a backend has in its prompt cache, as far as we brought them there. Pure.

A prefix is cold, warming (its leader is under way) or warm. An entry can be read once the answer
that wrote it has begun; its time to live runs from the start of the request that wrote it or of
the last one that read it. Source: dispatch facts, caching economics.
"""

from collections.abc import Sequence
from typing import NamedTuple

from overnight.model import Caching, Prefix

# Followers of a leader that is not heard of for so long go on without it.
PATIENCE_S = 60.0
# How long an entry of a cache without markers is trusted to live.
UNMARKED_TTL_S = 600.0
_NEVER = float("-inf")


class Waits(NamedTuple):
    """The request waits until this prefix is warm."""

    key: int


class Goes(NamedTuple):
    """The request may go, and is the leader of these prefixes."""

    leads: tuple[Prefix, ...]


_GOES = Goes(())


class Warmth:
    """The prefixes of one backend; told when requests start, begin to be answered and fail."""

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        # Until when an entry lives.
        self._warm: dict[int, float] = {}
        # Until when followers wait at most; the earliest first.
        self._warming: dict[int, float] = {}

    def ask(self, prefixes: Sequence[Prefix], now_s: float) -> Waits | Goes:
        """Say whether a request with these prefixes, the shortest first, may go. Changes nothing.

        Level by level: who waits for a system prompt does not yet lead a document behind it.
        """
        if not prefixes:
            return _GOES
        cold = []
        for prefix in prefixes:
            if self._warm.get(prefix.key, _NEVER) > now_s:
                continue
            if self._warming.get(prefix.key, _NEVER) > now_s:
                return Waits(prefix.key)
            cold.append(prefix)
        return Goes(tuple(cold)) if cold else _GOES

    def start(self, prefixes: Sequence[Prefix], leads: Sequence[Prefix], now_s: float) -> None:
        """Note a request that is sent now: it refreshes what it reads and warms what it leads."""
        for prefix in prefixes:
            if prefix.key in self._warm:
                self._warm[prefix.key] = now_s + (prefix.ttl_s or UNMARKED_TTL_S)
        for prefix in leads:
            self._warm.pop(prefix.key, None)
            self._warming.pop(prefix.key, None)
            self._warming[prefix.key] = now_s + self._patience_s

    def begin(self, leads: Sequence[Prefix], started_s: float) -> None:
        """Note that the answer of a leader that started then has begun: its prefixes are warm."""
        for prefix in leads:
            self._warming.pop(prefix.key, None)
            self._warm[prefix.key] = started_s + (prefix.ttl_s or UNMARKED_TTL_S)

    def fail(self, leads: Sequence[Prefix]) -> None:
        """Note that a leader brought nothing: a follower may lead."""
        for prefix in leads:
            self._warming.pop(prefix.key, None)

    def overdue(self, now_s: float) -> list[int]:
        """Take out the prefixes whose followers waited long enough, and forget what has cooled."""
        late = []
        for key, until in self._warming.items():
            if until > now_s:
                break
            late.append(key)
        for key in late:
            del self._warming[key]
        self._warm = {key: until for key, until in self._warm.items() if until > now_s}
        return late


def worth_leading(prefixes: Sequence[Prefix], caching: Caching) -> tuple[Prefix, ...]:
    """Choose the prefixes for which a leader pays on a backend that caches like this."""
    if caching.shares_in_flight:
        return ()
    return tuple(
        prefix
        for prefix in prefixes
        if prefix.tokens >= caching.min_tokens
        and (caching.automatic or (caching.marked and prefix.ttl_s))
    )
