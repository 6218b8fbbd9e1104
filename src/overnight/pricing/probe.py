"""Ask a server about a sample of a file: count its prompts exactly, or run it as a pilot."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from overnight.model import Usage
from overnight.pricing import sampling
from overnight.pricing.cost import Cost
from overnight.pricing.rows import Row
from overnight.pricing.sampling import Exact, Pilot, Range, Reservoir


class PilotRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a sample cost that was run, and what all requests will cost by it."""

    requests: int
    succeeded: int
    # None when a price is unknown.
    usd: Decimal | None
    # None when the price is unknown, or the sample is too small to tell.
    total_usd: Range | None


class Counted(NamedTuple):
    """By how much the offline rule is off; None when too few prompts were counted to tell."""

    requests: int
    factor: Range | None


class Probe:
    """Draws the sample, and asks about the part of it that belongs to a model."""

    def __init__(self, exact: Exact | None, pilot: Pilot | None) -> None:
        self._exact, self._pilot = exact, pilot
        self._sample = Reservoir[tuple[Row, int]](
            max(exact.size if exact else 0, pilot.size if pilot else 0)
        )

    def offer(self, row: Row, tokens: int) -> None:
        """Take notice of a row and of its prompt's tokens by the offline rule."""
        self._sample.offer((row, tokens))

    def counted(self, model: str, *, all_rows: bool, of: int) -> Counted:
        """Count prompts of a model, which has `of` of them; `all_rows` go to it, or its own."""
        if self._exact is None:
            return Counted(0, None)
        drawn = self._drawn(self._exact.size, model, all_rows=all_rows)
        count = self._exact.count
        pairs = [(tokens, count(row.request(model))) for row, tokens in drawn]
        return Counted(len(pairs), sampling.ratio(pairs, of=of))

    def piloted(
        self, model: str, *, all_rows: bool, of: int, price: Callable[[Usage], Cost]
    ) -> PilotRun | None:
        """Run requests of a model and project from what they cost; failed ones cost nothing."""
        if self._pilot is None:
            return None
        drawn = self._drawn(self._pilot.size, model, all_rows=all_rows)
        if not drawn:
            return None
        usages = self._pilot.run([row.request(model) for row, _ in drawn])
        costs = [price(usage or Usage()) for usage in usages]
        amounts = [cost.usd for cost in costs if cost.usd is not None and cost.complete]
        known = len(amounts) == len(costs)
        return PilotRun(
            requests=len(costs),
            succeeded=sum(usage is not None for usage in usages),
            usd=sum(amounts, Decimal(0)) if known else None,
            total_usd=sampling.total(amounts, of=of) if known else None,
        )

    def _drawn(self, size: int, model: str, *, all_rows: bool) -> Sequence[tuple[Row, int]]:
        drawn = self._sample.draw(size)
        return drawn if all_rows else [pair for pair in drawn if pair[0].params.model == model]
