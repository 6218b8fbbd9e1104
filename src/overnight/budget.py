"""Budgets: how much an organization, a workspace, a key or a batch may spend. Values; no I/O."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple, NewType, get_args

import msgspec

from overnight.errors import BudgetExceeded, InvalidRequest
from overnight.model import BudgetScope, random_text
from overnight.pricing.money import exact, percent, shown_small
from overnight.pricing.quantity import number

BudgetId = NewType("BudgetId", str)
# `once` is the whole life of a batch.
Period = Literal["daily", "weekly", "monthly", "once"]
RecurringPeriod = Literal["daily", "weekly", "monthly"]

RECURRING: tuple[RecurringPeriod, ...] = get_args(RecurringPeriod)
# Above it nobody means a limit.
MAX_USD = 10**9
_MAX_DECIMALS = 9
# Percent of a budget at which somebody is told, once in a period.
LEVELS: tuple[int, ...] = (50, 80, 100)

_NAMES = {"organization": "the organization", "batch": "this batch"}


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """An amount that must not be spent beyond, in each period of the calendar, UTC."""

    # `spl_…`; of a batch's own budget the batch.
    id: BudgetId
    scope: BudgetScope
    # Workspace, key or batch; empty for the organization.
    subject_id: str
    period: Period
    limit_usd: Decimal
    created_at: datetime
    updated_at: datetime

    @property
    def of(self) -> str:
        """Name whose budget it is: `workspace wrkspc_01…`."""
        return _NAMES.get(self.scope) or f"{self.scope} {self.subject_id}"

    @property
    def title(self) -> str:
        if self.period == "once":
            return f"the budget of {self.of}"
        return f"the {self.period} budget of {self.of}"


class Spend(NamedTuple):
    """Where a budget stands in its present period."""

    # Charged, and used by batches that run.
    used_usd: Decimal
    # What batches that run will cost at least, beyond that.
    reserved_usd: Decimal = Decimal(0)

    def left_usd(self, limit_usd: Decimal) -> Decimal:
        return max(Decimal(0), limit_usd - self.used_usd - self.reserved_usd)


class Estimated(NamedTuple):
    """What a batch will cost."""

    low_usd: Decimal
    high_usd: Decimal


def read_usd(text: str, *, name: str) -> Decimal:
    """Read a limit as people write it: `5`, `$0.50`, `1,000`. Raises: InvalidRequest."""
    hint = "write it as 5, 0.50 or 1,000"
    usd = number(text.removeprefix("$"), name=name, at_most=MAX_USD, unit="USD", hint=hint)
    if not usd:
        raise InvalidRequest(f"{name}: {text!r}: must be more than 0", hint=hint)
    if -int(usd.as_tuple().exponent) > _MAX_DECIMALS:
        raise InvalidRequest(f"{name}: {text!r}: at most {_MAX_DECIMALS} decimals", hint=hint)
    return usd


def new_budget_id() -> BudgetId:
    return BudgetId("spl_01" + random_text(22))


def since(period: Period, now: datetime) -> datetime:
    """Give when the period began that a moment is in; weeks begin on Monday."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "daily":
            return day
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case "once":
            return datetime(1970, 1, 1, tzinfo=UTC)


def until(period: RecurringPeriod, now: datetime) -> datetime:
    """Give when the next period begins."""
    # 32 days are more than any month, and what is over is cut off.
    days = {"daily": 1, "weekly": 7, "monthly": 32}[period]
    return since(period, since(period, now) + timedelta(days=days))


def level(used_usd: Decimal, limit_usd: Decimal) -> int:
    """Give the highest of `LEVELS` that is reached; 0 for none."""
    return max((at for at in LEVELS if used_usd * 100 >= limit_usd * at), default=0)


def advance(
    *,
    limit_usd: Decimal,
    used_usd: Decimal,
    others_usd: Decimal,
    open_usd: Decimal,
    needed_usd: Decimal,
    wanted_usd: Decimal,
) -> Decimal:
    """Say how much a process may hold of a budget, for calls that are not recorded yet. Pure.

    What it has under way, `open_usd`, it keeps. More it gets only when that pays for the next
    call, `needed_usd`; then what it wants, but no more than half of what is left, which others
    may need. `others_usd` is what other processes hold.
    """
    left = limit_usd - used_usd - others_usd - open_usd
    if left <= 0 or needed_usd > left:
        return open_usd
    return open_usd + min(max(wanted_usd, needed_usd), max(needed_usd, left / 2))


def refuse(
    budget: Budget,
    spend: Spend,
    *,
    what: Literal["batch", "call"],
    cost: Estimated | None,
    now: datetime,
) -> BudgetExceeded:
    """Make the refusal of a batch or a call: what it costs, what is used, what is left.

    `cost` is None when nothing is left, whatever it would be.

    The numbers of an organization are not told to its workspaces. The documented text (protocol
    notes §8.4) comes first where not even one call is paid any more.
    """
    used, left = spend.used_usd + spend.reserved_usd, spend.left_usd(budget.limit_usd)
    limit = shown_small(budget.limit_usd)
    amounts: dict[str, str] = {"scope": budget.scope, "period": budget.period}
    reached = (what == "call" or not left) and budget.period != "once"
    told = [_reached(budget, now)] if reached else []
    if cost is not None:
        least, most = shown_small(cost.low_usd), shown_small(cost.high_usd)
        told.append(f"This {what} costs at least {least}, at most {most}.")
        amounts |= {"estimate_usd": exact(cost.low_usd)}
    if budget.scope == "organization":
        told.append(f"That is more than is left of {budget.title}." if left else "")
    else:
        told.append(
            f"Its budget is {limit}."
            if budget.scope == "batch"
            else f"Of {budget.title}, {limit}, {shown_small(used)} is used or reserved and "
            f"{shown_small(left)} is left."
        )
        amounts |= {
            "limit_usd": exact(budget.limit_usd),
            "used_usd": exact(used),
            "left_usd": exact(left),
        }
    message = " ".join(filter(None, told))
    return BudgetExceeded(message, hint=_HINTS[budget.scope], amounts=amounts)


def _reached(budget: Budget, now: datetime) -> str:
    """Say in the documented words that nothing is left."""
    assert budget.period != "once"
    which = "workspace API" if budget.scope == "workspace" else "API"
    return (
        f"You have reached your specified {which} usage limits. "
        f"You will regain access on {until(budget.period, now):%Y-%m-%d at %H:%M} UTC."
    )


def told(budget: Budget, used_usd: Decimal) -> str | None:
    """Say in words how much of a budget is used, from the first level on."""
    if not level(used_usd, budget.limit_usd):
        return None
    share = percent(used_usd, budget.limit_usd)
    used, limit = shown_small(used_usd), shown_small(budget.limit_usd)
    return f"{share or 100}% of {budget.title} is used: {used} of {limit}"


_HINTS: dict[BudgetScope, str] = {
    "organization": "an administrator can raise it: overnight budgets set USD",
    "workspace": "an administrator can raise it: overnight budgets set USD --workspace NAME",
    "key": "an administrator can raise it: overnight budgets set USD --key ID",
    "batch": "give it a higher overnight-max-cost-usd, fewer requests, or a lower max_tokens",
}
