"""Which shared beginnings of a batch get a breakpoint of ours. Pure.

A breakpoint lets one request write a beginning into the prompt cache and the others read it. It
is set where that costs less than sending the beginning plain each time (docs/decisions/0031).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from overnight.model import Prefix
from overnight.pricing.workload import TTLS, Ttl
from overnight.prompt import TTL_S
from overnight.wire.params.caching import MAX_BREAKPOINTS

# Gives what a million tokens cost less, from the time to live, the number of requests that share
# them and how many of these write them; negative when they cost more, None when nobody knows.
Saving = Callable[[Ttl, int, int], Decimal | None]

# Assumed, on the slow side: an answer takes its `max_tokens` at this speed.
OUTPUT_TOKENS_PER_S = 50
_ROOT = -1


class Mark(NamedTuple):
    """A breakpoint to set in a request."""

    # At the end of which block of the prompt: tools, system, messages, from 0.
    block: int
    ttl: Ttl


class _Worth(NamedTuple):
    """What a breakpoint at a beginning brings for each million of its tokens."""

    usd: Decimal
    ttl: Ttl


class Sharing:
    """The beginnings of those requests to one model that have no breakpoint of their caller."""

    def __init__(self) -> None:
        # Nodes of the tree are numbered by first appearance: a beginning before what goes on.
        self._nodes: dict[int, int] = {}
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._counts: list[int] = []
        # Of the requests of each node the longest answer that one allows.
        self._max_tokens: list[int] = []
        self._barred: set[int] = set()
        self._paths: dict[int, tuple[int, ...]] = {}

    def add(
        self,
        request: int,
        prefixes: Sequence[Prefix],
        *,
        max_tokens: int,
        barred: Collection[int] = (),
    ) -> None:
        """Add a request with all beginnings of its prompt, the shortest first.

        `barred` are the places of those that end in a block that may carry no breakpoint.
        """
        path = []
        node = _ROOT
        for prefix in prefixes:
            node = self._visit(prefix, node, max_tokens)
            path.append(node)
        self._barred.update(path[place] for place in barred)
        self._paths[request] = tuple(path)

    def choose(
        self, saving: Saving, *, min_tokens: int, senders: int, caches: int = 1
    ) -> dict[int, tuple[Mark, ...]]:
        """Give the breakpoints to set, by request; those without any stay out.

        Requests that share a beginning get the same breakpoints in it. They go to so many caches,
        and `senders` requests to each at a time.
        """
        marks = self._marks(_Price(saving, senders, caches), min_tokens)
        chosen = {}
        for request, path in self._paths.items():
            found = tuple(Mark(at, marks[node]) for at, node in enumerate(path) if node in marks)
            if found:
                chosen[request] = found
        return chosen

    def brings(self, saving: Saving, *, min_tokens: int, senders: int, caches: int = 1) -> Decimal:
        """Give what the breakpoints that `choose` sets bring, in millionths of a USD."""
        price = _Price(saving, senders, caches)
        marks = self._marks(price, min_tokens)
        total = Decimal(0)
        for node, ttl in marks.items():
            worth = price.of(ttl, self._counts[node], self._max_tokens[node])
            assert worth is not None, "a breakpoint is set where it pays"
            total += worth.usd * self._more_tokens(self._above(node, marks), node)
        return total

    def _marks(self, price: "_Price", min_tokens: int) -> dict[int, Ttl]:
        worth = self._worth(price, min_tokens)
        self._keep_the_longest(worth)
        self._keep_four(worth)
        return self._in_order_of_life(worth, price)

    def _visit(self, prefix: Prefix, parent: int, max_tokens: int) -> int:
        node = self._nodes.get(prefix.key)
        if node is None:
            node = self._nodes[prefix.key] = len(self._tokens)
            self._tokens.append(prefix.tokens)
            self._parents.append(parent)
            self._counts.append(0)
            self._max_tokens.append(0)
        self._counts[node] += 1
        if max_tokens > self._max_tokens[node]:
            self._max_tokens[node] = max_tokens
        return node

    def _worth(self, price: "_Price", min_tokens: int) -> dict[int, _Worth]:
        """Price a breakpoint at every beginning; those where none pays stay out.

        What two of them bring adds up: the shorter one is worth its tokens times what it brings,
        the longer one only the tokens that it has more.
        """

        best = lru_cache(maxsize=1_024)(price.best)
        found = {}
        for node, count in enumerate(self._counts):
            if count < 2 or self._tokens[node] < min_tokens or node in self._barred:
                continue
            worth = best(count, self._max_tokens[node])
            if worth is not None:
                found[node] = worth
        return found

    def _keep_the_longest(self, worth: dict[int, _Worth]) -> None:
        """Of beginnings that the same requests share leave only the longest."""
        for node in sorted(worth, reverse=True):
            above = self._parents[node]
            while above != _ROOT and self._counts[above] == self._counts[node]:
                if worth.pop(above, None) is not None:
                    # From there on the loop goes up when it comes to it.
                    break
                above = self._parents[above]

    def _keep_four(self, worth: dict[int, _Worth]) -> None:
        """Where one request would get too many, drop those that bring least."""
        # What the nearest beginnings behind each one bring, for each million tokens.
        behind: dict[int, Decimal] = {}
        ends = set(worth)
        for node in worth:
            above = self._above(node, worth)
            behind[above] = behind.get(above, Decimal(0)) + worth[node].usd
            ends.discard(above)
        for end in ends:
            path = self._chain(end, worth)
            while len(path) > MAX_BREAKPOINTS:
                node = min(
                    pairwise([_ROOT, *path]),
                    key=lambda step: self._loss(*step, worth=worth, behind=behind),
                )[1]
                above = self._above(node, worth)
                gone = worth.pop(node).usd
                behind[above] += behind.pop(node, Decimal(0)) - gone
                path.remove(node)

    def _loss(
        self, above: int, node: int, *, worth: dict[int, _Worth], behind: dict[int, Decimal]
    ) -> Decimal:
        """Give what is lost when those behind a beginning have to take over its tokens."""
        tokens = self._more_tokens(above, node)
        return tokens * (worth[node].usd - behind.get(node, Decimal(0)))

    def _more_tokens(self, above: int, node: int) -> int:
        """Count the tokens that a beginning has more than one of its own."""
        return self._tokens[node] - (self._tokens[above] if above != _ROOT else 0)

    def _in_order_of_life(self, worth: dict[int, _Worth], price: "_Price") -> dict[int, Ttl]:
        """See to it that nothing that lives an hour comes after what lives five minutes."""
        marks: dict[int, Ttl] = {}
        for node in sorted(worth):
            ttl = worth[node].ttl
            above = self._above(node, marks)
            if ttl == "1h" and above != _ROOT and marks[above] == "5m":
                ttl = "5m"
                short = price.of(ttl, self._counts[node], self._max_tokens[node])
                if short is None or short.usd <= 0:
                    continue
            marks[node] = ttl
        return marks

    def _above(self, node: int, marked: Mapping[int, object]) -> int:
        """Find the nearest marked beginning of a beginning."""
        above = self._parents[node]
        while above != _ROOT and above not in marked:
            above = self._parents[above]
        return above

    def _chain(self, node: int, marked: Mapping[int, object]) -> list[int]:
        """List the marked beginnings up to this one, the shortest first."""
        found = []
        while node != _ROOT:
            if node in marked:
                found.append(node)
            node = self._parents[node]
        return found[::-1]


class _Price(NamedTuple):
    saving: Saving
    senders: int
    caches: int

    def best(self, requests: int, max_tokens: int) -> _Worth | None:
        """Give the better time to live, the short one when both are equal; None if none pays."""
        found = [self.of(ttl, requests, max_tokens) for ttl in TTLS]
        return max((w for w in found if w and w.usd > 0), key=lambda w: w.usd, default=None)

    def of(self, ttl: Ttl, requests: int, max_tokens: int) -> _Worth | None:
        times = writes(
            requests, ttl=ttl, max_tokens=max_tokens, senders=self.senders, caches=self.caches
        )
        usd = self.saving(ttl, requests, times)
        return None if usd is None else _Worth(usd, ttl)


def writes(requests: int, *, ttl: Ttl, max_tokens: int, senders: int, caches: int = 1) -> int:
    """Count how often a beginning is written at most, whose requests are sent in a row.

    Once into each cache, unless answers may take longer than it lives: then at worst all senders
    start together, and it has cooled down when they are answered and start again.
    """
    times = caches
    if max_tokens > TTL_S[ttl] * OUTPUT_TOKENS_PER_S:
        times += -(-requests // senders) - 1
    return min(requests, times)
