"""In which order a batch is sent: requests whose prompts begin alike run next to each other. Pure.

The prompts of a batch form a tree of prefixes. Walking it depth first, children in the order in
which the caller first named them, uses a prefix cache best when all requests are known
(arXiv 2502.04677, read 2026-11). Requests that share nothing keep their place.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from overnight.model import Prefix

# Of one request; those that it marks and the longest are kept.
MAX_PREFIXES = 8


class Placed(NamedTuple):
    """A request's place in the order of dispatch."""

    # Its place in the caller's order.
    position: int
    # What it shares with other requests of the batch, or marks itself; the shortest first.
    prefixes: tuple[Prefix, ...]
    # How many of the tree's prefixes it shares with the request before it.
    depth: int


class Order:
    """The tree of a batch's prefixes, grown request by request in the caller's order."""

    def __init__(self) -> None:
        # Nodes are numbered by first appearance.
        self._nodes: dict[int, int] = {}
        self._prefixes: list[Prefix] = []
        self._counts: list[int] = []
        # Of each request the nodes from the root.
        self._paths: list[tuple[int, ...]] = []
        # What a request marks itself; those that mark nothing are not here.
        self._marked: dict[int, tuple[Prefix, ...]] = {}

    def add(self, prefixes: Sequence[Prefix]) -> None:
        """Add the next request with all beginnings of its prompt, the shortest first."""
        if not prefixes:
            self._paths.append(())
            return
        marked = [prefix for prefix in prefixes if prefix.ttl_s]
        if marked:
            self._marked[len(self._paths)] = tuple(marked)
        self._paths.append(tuple(map(self._visit, prefixes)))

    def mark(self, position: int, places: Iterable[tuple[int, int]]) -> None:
        """Note the breakpoints set in a request without any: which beginnings, and their TTL."""
        path = self._paths[position]
        self._marked[position] = tuple(
            replace(self._prefixes[path[place]], ttl_s=ttl_s) for place, ttl_s in places
        )

    def walk(self) -> list[Placed]:
        """Give all requests in the order of dispatch."""
        if not self._prefixes:
            return [Placed(index, (), 0) for index in range(len(self._paths))]
        shared = [tuple(n for n in path if self._counts[n] > 1) for path in self._paths]
        begins: dict[int, int] = {}
        for index, path in enumerate(shared):
            if path:
                begins.setdefault(path[0], index)
        order = sorted(
            range(len(shared)),
            key=lambda index: (
                begins[shared[index][0]] if shared[index] else index,
                shared[index],
                index,
            ),
        )
        depths = [0, *(_common(shared[one], shared[other]) for one, other in pairwise(order))]
        return [
            Placed(index, self._kept(index), depth)
            for index, depth in zip(order, depths, strict=False)
        ]

    def _visit(self, prefix: Prefix) -> int:
        node = self._nodes.get(prefix.key)
        if node is None:
            node = self._nodes[prefix.key] = len(self._prefixes)
            self._prefixes.append(replace(prefix, ttl_s=0) if prefix.ttl_s else prefix)
            self._counts.append(0)
        self._counts[node] += 1
        return node

    def _kept(self, position: int) -> tuple[Prefix, ...]:
        """Keep what a request marks, and the longest of the prefixes that the same ones share.

        What only others mark it can neither write nor read there.
        """
        path = self._paths[position]
        own = self._marked.get(position)
        marked = {prefix.key: prefix for prefix in own} if own else {}
        kept = []
        for node, after in zip(path, (*path[1:], None), strict=False):
            prefix, count = self._prefixes[node], self._counts[node]
            longest = after is None or self._counts[after] < count
            if prefix.key in marked:
                kept.append(marked[prefix.key])
            elif count > 1 and longest:
                kept.append(prefix)
        return tuple(kept if len(kept) <= MAX_PREFIXES else _longest(kept))


def cut(
    depths: Sequence[int], sizes_bytes: Sequence[int], *, max_requests: int, max_bytes: int
) -> list[int]:
    """Say where shards end: positions in the order of dispatch, the last one included.

    A full shard ends where least is shared within its second half, as late as possible; a
    request that is larger than `max_bytes` has a shard of its own.
    """
    ends: list[int] = []
    start = 0
    size_bytes = 0
    for position, length in enumerate(sizes_bytes):
        size_bytes += length
        while position > start and (position - start == max_requests or size_bytes > max_bytes):
            half = start + max(1, (position - start + 1) // 2)
            end = min(range(position, half - 1, -1), key=lambda at: depths[at])
            ends.append(end)
            start = end
            size_bytes = sum(sizes_bytes[start : position + 1])
    return [*ends, len(sizes_bytes)]


def _longest(prefixes: list[Prefix]) -> list[Prefix]:
    """Leave out the shortest of those without a mark."""
    surplus = len(prefixes) - MAX_PREFIXES
    kept = []
    for prefix in prefixes:
        if surplus and not prefix.ttl_s:
            surplus -= 1
        else:
            kept.append(prefix)
    return kept


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    depth = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        depth += 1
    return depth
