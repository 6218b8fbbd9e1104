"""In which order a batch is sent: requests whose prompts begin alike run next to each other. Pure.

The prompts of a batch form a tree of prefixes. Walking it depth first, children in the order in
which the caller first named them, uses a prefix cache best when all requests are known
(arXiv 2502.04677, read 2026-11). Requests that share nothing keep their place.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from overnight.model import Prefix

# Of one request; the longest are kept.
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

    def add(self, prefixes: Sequence[Prefix]) -> None:
        """Add the next request with all beginnings of its prompt, the shortest first."""
        self._paths.append(tuple(map(self._visit, prefixes)) if prefixes else ())

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
            Placed(index, self._kept(self._paths[index]), depth)
            for index, depth in zip(order, depths, strict=False)
        ]

    def _visit(self, prefix: Prefix) -> int:
        node = self._nodes.get(prefix.key)
        if node is None:
            node = self._nodes[prefix.key] = len(self._prefixes)
            self._prefixes.append(prefix)
            self._counts.append(0)
        elif prefix.ttl_s > self._prefixes[node].ttl_s:
            self._prefixes[node] = prefix
        self._counts[node] += 1
        return node

    def _kept(self, path: tuple[int, ...]) -> tuple[Prefix, ...]:
        """Keep what is marked, and the longest of the prefixes that the same requests share."""
        kept = []
        for node, after in zip(path, (*path[1:], None), strict=False):
            count = self._counts[node]
            longest = after is None or self._counts[after] < count
            if self._prefixes[node].ttl_s or (count > 1 and longest):
                kept.append(self._prefixes[node])
        return tuple(kept[-MAX_PREFIXES:])


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


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    depth = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        depth += 1
    return depth
