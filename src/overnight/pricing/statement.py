"""What a batch has cost so far and will have cost at its end, from its charges. Pure."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

import msgspec

from overnight.model import BatchStatus, BudgetScope, Charge, Unsent
from overnight.pricing.autocached import AutoCached, of_auto_cached
from overnight.pricing.book import PROMPT_CLASSES, TokenClass
from overnight.pricing.document import Document, money, number
from overnight.pricing.money import EXACT, ZERO, percent

# A projection is no charge: it is rounded, far below the price of a token.
_PROJECTED = Decimal("1e-9")
_ROUGH = Context(prec=34, rounding=ROUND_HALF_UP)
# About 95 % of a normal distribution.
_SIGMAS = 2
ASSUMPTION = (
    "the rest costs as much per request as those recorded so far; the range holds in 95 of 100 "
    "cases if costs vary as much as their mean and the order of the requests says nothing"
)

Verdict = Literal["below", "within", "above"]


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole batch will have cost."""

    usd: Decimal
    low_usd: Decimal
    high_usd: Decimal


class Quoted(msgspec.Struct, frozen=True, kw_only=True):
    """The estimate that a batch was created with."""

    id: str
    low_usd: Decimal
    high_usd: Decimal


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that the batch counts against, and what is left of it in its present period."""

    scope: BudgetScope
    period: str
    limit_usd: Decimal
    # By all that counts against it.
    used_usd: Decimal
    reserved_usd: Decimal
    left_usd: Decimal


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch ended before all was sent: a budget was used up."""

    by: BudgetScope
    rest_as: Unsent


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one batch: what its ledger says, or would say if it ended now."""

    status: BatchStatus
    requests: int
    # Requests that have their outcome, and those of them that cost.
    recorded: int
    succeeded: int
    charges: Sequence[Charge]
    quoted: Quoted | None = None
    # None in a batch without automatic caching.
    auto_cached: AutoCached | None = None
    budgets: Sequence[Standing] = ()
    stopped: Stop | None = None

    @property
    def spent_usd(self) -> Decimal | None:
        """Sum what is known; None when nothing is. See `complete`."""
        return _sum(charge.usd for charge in self.charges)

    @property
    def standard_usd(self) -> Decimal | None:
        return _sum(charge.standard_usd for charge in self.charges)

    @property
    def complete(self) -> bool:
        """Tell whether every price is known; else `spent_usd` is a lower bound."""
        return all(charge.usd is not None for charge in self.charges)

    @property
    def saving_usd(self) -> Decimal | None:
        """Give standard price less what was spent; None unless both are wholly known."""
        if not self.complete or any(charge.standard_usd is None for charge in self.charges):
            return None
        spent, standard = self.spent_usd, self.standard_usd
        return None if spent is None or standard is None else EXACT.subtract(standard, spent)

    @property
    def saving_percent(self) -> Decimal | None:
        if self.saving_usd is None or self.standard_usd is None:
            return None
        return percent(self.saving_usd, self.standard_usd)

    @property
    def cache_hit_percent(self) -> Decimal | None:
        """Give the share of all prompt tokens that were read from a cache."""
        prompt = sum(c.count for c in self.charges if c.token_class in PROMPT_CLASSES)
        read = sum(c.count for c in self.charges if c.token_class == TokenClass.CACHE_READ)
        return percent(Decimal(read), Decimal(prompt))

    @property
    def projection(self) -> Projection | None:
        """Project the end; None before the first outcome, or when a price is unknown."""
        spent = self.spent_usd
        if spent is None or not self.complete:
            return None
        if self.status != "in_progress":
            # Of a batch that is being canceled nothing more is sent.
            return Projection(usd=spent, low_usd=spent, high_usd=spent)
        if not self.recorded:
            return None
        rest, seen = Decimal(self.requests - self.recorded), Decimal(self.recorded)
        mean = _ROUGH.divide(spent, seen)
        usd = _ROUGH.add(spent, mean * rest)
        # The variance of the rest's sum, and that of the mean it is projected from.
        spread = _SIGMAS * mean * _ROUGH.sqrt(rest + _ROUGH.divide(rest * rest, seen))
        return Projection(
            usd=_rounded(usd),
            low_usd=max(spent, _rounded(usd - spread)),
            high_usd=_rounded(usd + spread),
        )


def of_statement(statement: Statement) -> Document:
    """Show a statement as JSON; docs/reference/json.md lists the fields."""
    projection = statement.projection
    return {
        "status": statement.status,
        "requests": statement.requests,
        "recorded": statement.recorded,
        "succeeded": statement.succeeded,
        "tier": "batch",
        "spent_usd": money(statement.spent_usd),
        "standard_usd": money(statement.standard_usd),
        "saving_usd": money(statement.saving_usd),
        "saving_percent": number(statement.saving_percent),
        "complete": statement.complete,
        "cache_hit_percent": number(statement.cache_hit_percent),
        "projected": None
        if projection is None
        else {
            "usd": money(projection.usd),
            "low_usd": money(projection.low_usd),
            "high_usd": money(projection.high_usd),
            "assumption": None if statement.status != "in_progress" else ASSUMPTION,
        },
        "auto_cache": None
        if statement.auto_cached is None
        else of_auto_cached(statement.auto_cached),
        "estimate": _compared(statement),
        "budgets": [_standing(budget) for budget in statement.budgets],
        "stopped": None
        if statement.stopped is None
        else {"by": statement.stopped.by, "rest_as": statement.stopped.rest_as},
        "lines": [_line(charge) for charge in statement.charges],
    }


def _compared(statement: Statement) -> Document | None:
    """Put the actual cost beside the estimate; an amount outside its range is told from its end."""
    quoted, spent = statement.quoted, statement.spent_usd
    if quoted is None:
        return None
    actual = spent if statement.status == "ended" and statement.complete else None
    verdict: Verdict | None = None
    difference: Decimal | None = None
    if actual is not None:
        verdict, difference = "within", ZERO
        if actual > quoted.high_usd:
            verdict, difference = "above", EXACT.subtract(actual, quoted.high_usd)
        elif actual < quoted.low_usd:
            verdict, difference = "below", EXACT.subtract(actual, quoted.low_usd)
    return {
        "id": quoted.id,
        "low_usd": money(quoted.low_usd),
        "high_usd": money(quoted.high_usd),
        "actual_usd": money(actual),
        "verdict": verdict,
        "difference_usd": money(difference),
    }


def _standing(budget: Standing) -> Document:
    return {
        "scope": budget.scope,
        "period": budget.period,
        "limit_usd": money(budget.limit_usd),
        "used_usd": money(budget.used_usd),
        "reserved_usd": money(budget.reserved_usd),
        "left_usd": money(budget.left_usd),
        "used_percent": number(percent(budget.used_usd, budget.limit_usd)),
    }


def _line(charge: Charge) -> Document:
    return {
        "model": charge.model,
        "over_tokens": charge.over_tokens,
        "token_class": charge.token_class,
        "count": charge.count,
        "per": TokenClass(charge.token_class).per,
        "rate_usd": money(charge.rate_usd),
        "usd": money(charge.usd),
        "standard_rate_usd": money(charge.standard_rate_usd),
        "standard_usd": money(charge.standard_usd),
        "book": charge.book,
        "book_version": charge.book_version,
    }


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Sum the known ones: 0 of nothing, None when there are some and none is known."""
    found = list(amounts)
    known = [amount for amount in found if amount is not None]
    if found and not known:
        return None
    total = ZERO
    for amount in known:
        total = EXACT.add(total, amount)
    return total


def _rounded(usd: Decimal) -> Decimal:
    return usd.quantize(_PROJECTED, context=_ROUGH)
