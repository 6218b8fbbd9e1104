"""Automatic caching: choose the breakpoints of a batch by what they save (decisions/0031)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from overnight.dispatch.breakpoints import Mark, Sharing
from overnight.model import Batch, Prefix
from overnight.pipeline.lanes import Cache
from overnight.pipeline.planned import PlannedRequest
from overnight.pricing import caching
from overnight.pricing.book import PriceBook, Rates
from overnight.pricing.workload import Ttl

# What a caller writes who decides about caching, wherever in the params.
_CALLERS_MARK = b'"cache_control"'


class AutoCache:
    """What the choice depends on: prices, and the caches that answer for a model."""

    def __init__(self, *, book: PriceBook, caches_of: Callable[[str], Sequence[Cache]]) -> None:
        self._book = book
        self._caches_of = caches_of

    def choice(self, batch: Batch) -> "Choice":
        """Begin to choose for a batch, by the prices that it will be charged by."""
        return Choice(self._book, self._caches_of, batch.created_at.date())


class Choice:
    """The requests of one batch, gathered until their breakpoints can be chosen. Pure."""

    def __init__(
        self, book: PriceBook, caches_of: Callable[[str], Sequence[Cache]], on: date
    ) -> None:
        self._book = book
        self._caches_of = caches_of
        self._on = on
        # None for a model whose caches leave nothing to choose.
        self._models: dict[str, _Model | None] = {}

    def takes(self, request: PlannedRequest) -> bool:
        """Tell whether breakpoints may be set in a request.

        Not where its caller has set one, nor where the whole prompt is too short to be cached.
        """
        if request.model not in self._models:
            self._models[request.model] = self._model(request.model)
        model = self._models[request.model]
        if model is None or request.input_tokens < model.min_tokens:
            return False
        return _CALLERS_MARK not in bytes(request.params)

    def add(
        self, position: int, request: PlannedRequest, prefixes: Sequence[Prefix], barred: list[int]
    ) -> None:
        """Add a request that `takes` allows, with all beginnings of its prompt, the whole too.

        `barred` are the places of those at whose end no breakpoint may stand.
        """
        model = self._models[request.model]
        # A caller may spell even `cache_control` with escapes.
        if model is None or any(prefix.ttl_s for prefix in prefixes):
            return
        model.shortest = min(model.shortest, request.input_tokens)
        model.longest = max(model.longest, request.input_tokens)
        model.sharing.add(position, prefixes, max_tokens=request.max_tokens, barred=barred)

    def marks(self) -> Mapping[int, tuple[Mark, ...]]:
        """Choose: give the breakpoints by the position of their request."""
        chosen: dict[int, tuple[Mark, ...]] = {}
        for model in self._models.values():
            rates = self._rates(model) if model else None
            if model is None or rates is None:
                continue
            chosen |= model.sharing.choose(
                _saving(rates),
                min_tokens=model.min_tokens,
                senders=min(cache.senders for cache in model.caches),
                caches=len(model.caches),
            )
        return chosen

    def _model(self, name: str) -> "_Model | None":
        """Begin with a model; None unless its caches heed marks, and these alone, at a price."""
        caches = self._caches_of(name)
        for cache in caches:
            heeds = cache.caching.marked and not cache.caching.automatic
            if not heeds or self._book.prices(cache.model, on=self._on) is None:
                return None
        return _Model(caches) if caches else None

    def _rates(self, model: "_Model") -> Rates | None:
        """Give the rates of all its prompts; None when one is unknown or some have others.

        Prices may differ between backends that call the model differently, and between short
        prompts and long ones: who writes could then pay more than those save who read.
        """
        found: Rates | None = None
        for cache in model.caches:
            for tokens in (model.shortest, model.longest):
                prices = self._book.prices(cache.model, on=self._on, prompt_tokens=tokens)
                if prices is None or (found is not None and found != prices.batch):
                    return None
                found = prices.batch
        return found


class _Model:
    """The requests to one model."""

    __slots__ = ("caches", "longest", "min_tokens", "sharing", "shortest")

    def __init__(self, caches: Sequence[Cache]) -> None:
        self.caches = caches
        self.min_tokens = max(cache.caching.min_tokens for cache in caches)
        self.sharing = Sharing()
        # Prompts, in tokens.
        self.shortest: int = 1 << 60
        self.longest: int = 0


def _saving(rates: Rates) -> Callable[[Ttl, int, int], Decimal | None]:
    def saving(ttl: Ttl, requests: int, writes: int) -> Decimal | None:
        return caching.saving(rates, ttl, requests=requests, writes=writes)

    return saving
