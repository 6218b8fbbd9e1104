"""What `--auto-cache` would save on a file: the choice that a server makes, batch by batch. Pure.

The server is taken to be as it starts by default: one backend that heeds `cache_control` and
nothing else, and `SENDERS` requests at a time.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from overnight import prompt
from overnight.dispatch.breakpoints import Sharing
from overnight.errors import InvalidRequest
from overnight.model import Prefix
from overnight.pricing import caching
from overnight.pricing.book import PriceBook, Rates
from overnight.pricing.rows import Row
from overnight.pricing.workload import Ttl
from overnight.shape import is_array, is_object

SENDERS = 64
_MILLION = 1_000_000


class Saved(NamedTuple):
    """What breakpoints bring that a server would set."""

    usd: Decimal
    # In how many requests it would set them.
    requests: int


class Automatic:
    """The requests of a file, gathered a batch at a time."""

    def __init__(self, book: PriceBook, on: date, models: Sequence[str]) -> None:
        """`models` prices all requests on each of these; without it each has its own."""
        self._book = book
        self._on = on
        self._models = models
        # Of the batch at hand, by the model that the requests name; None for any.
        self._trees: dict[str | None, _Tree] = {}
        self._saved: dict[str, Saved] = {}

    def add(self, row: Row, tokens: int) -> None:
        """Add a request of which the prompt has so many tokens."""
        named = None if self._models else row.params.model
        tree = self._trees.get(named)
        if tree is None:
            models = self._models or [str(named)]
            tree = self._trees[named] = _Tree(min(map(_min_tokens, models)))
        tree.add(row, tokens)

    def end_batch(self) -> None:
        """Choose for the batch at hand, and begin another one."""
        for named, tree in self._trees.items():
            for model in self._models or [str(named)]:
                self._saved[model] = _sum(self.saved(model), self._choice(tree, model))
        self._trees.clear()

    def saved(self, model: str) -> Saved:
        return self._saved.get(model, Saved(Decimal(0), 0))

    def _choice(self, tree: "_Tree", model: str) -> Saved:
        rates = self._rates(tree, model)
        if rates is None:
            return Saved(Decimal(0), 0)

        def saving(ttl: Ttl, requests: int, writes: int) -> Decimal | None:
            return caching.saving(rates, ttl, requests=requests, writes=writes)

        bounds = {"min_tokens": _min_tokens(model), "senders": SENDERS}
        chosen = tree.sharing.choose(saving, **bounds)
        return Saved(tree.sharing.brings(saving, **bounds) / _MILLION, len(chosen))

    def _rates(self, tree: "_Tree", model: str) -> Rates | None:
        """Give the rates of all its prompts; None when some have others, or none is known."""
        short, long = (
            self._book.prices(model, on=self._on, prompt_tokens=tokens)
            for tokens in (tree.shortest, tree.longest)
        )
        same = short is not None and long is not None and short.batch == long.batch
        return short.batch if short is not None and same else None


class _Tree:
    """The requests of one batch whose prompts are long enough to be cached, and not marked."""

    def __init__(self, min_tokens: int) -> None:
        self.sharing = Sharing()
        self.shortest, self.longest = 1 << 60, 0
        self._min_tokens = min_tokens
        self._count = 0

    def add(self, row: Row, tokens: int) -> None:
        if row.marked or tokens < self._min_tokens:
            return
        try:
            blocks = list(prompt.prefixes(_params(row), row.params.model or ""))
        except (msgspec.DecodeError, InvalidRequest):
            # The server will say what is wrong with it.
            return
        assert row.params.max_tokens is not None
        self.shortest, self.longest = min(self.shortest, tokens), max(self.longest, tokens)
        self.sharing.add(
            self._count,
            [Prefix(int.from_bytes(block.key[:8]), block.tokens, 0) for block in blocks],
            max_tokens=row.params.max_tokens,
            barred=[place for place, block in enumerate(blocks) if not block.markable],
        )
        self._count += 1


def _params(row: Row) -> dict[str, Any]:
    """Give a request's params as far as a prompt can be made of them."""
    if not row.source:
        return {"messages": row.params.messages}
    params = msgspec.json.decode(row.source, type=dict[str, Any])
    params = params.get("params", params)
    for name in ("messages", "tools"):
        items = params.get(name)
        params[name] = [item for item in items if is_object(item)] if is_array(items) else []
    return dict(params)


def _min_tokens(model: str) -> int:
    return caching.min_cacheable_tokens(model) or 0


def _sum(one: Saved, other: Saved) -> Saved:
    return Saved(one.usd + other.usd, one.requests + other.requests)
