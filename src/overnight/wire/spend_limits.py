"""Budgets as the Admin API shows and sets them: spend limits.

Source: SDK 2.12 types `organization.spend_limit` and `organization.spend_summary`, read 2026-11.
Ours are the scope `api_key`, other periods than `monthly`, and `overnight` in the effective report.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Literal, get_args

import msgspec

from overnight.budget import (
    MAX_USD,
    RECURRING,
    Budget,
    RecurringPeriod,
    Spend,
    new_budget_id,
)
from overnight.errors import InvalidRequest
from overnight.model import BudgetScope
from overnight.pricing.money import exact, percent
from overnight.wire.organization import moment
from overnight.wire.schema import rule
from overnight.wire.syntax import read_json

# Scope types of the wire that a budget of ours can have, and those that none has.
ScopeType = Literal["organization", "workspace", "api_key"]
_OURS: Mapping[ScopeType, BudgetScope] = {
    "organization": "organization",
    "workspace": "workspace",
    "api_key": "key",
}
_TYPES: Mapping[BudgetScope, ScopeType] = {scope: kind for kind, scope in _OURS.items()}
SCOPE_TYPES = (
    *get_args(ScopeType), "organization_service", "rbac_group", "seat_tier", "usage_tier", "user",
)  # fmt: skip
_CENTS = Decimal(100)
_MAX_DIGITS = 15
# The report carries cents with up to three decimals.
_REPORTED = Decimal("0.001")


class SpendScope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a limit applies to: `type`, and the id that goes with it."""

    type: ScopeType
    workspace_id: str | None = None
    api_key_id: str | None = None


class SpendLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A budget; every key is always present."""

    id: str
    # In cents.
    amount: str
    created_at: str
    currency: Literal["USD"] = "USD"
    is_enabled: bool = True
    period: RecurringPeriod
    scope: SpendScope
    type: Literal["spend_limit"] = "spend_limit"
    updated_at: str


class SpendLimitPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[SpendLimit]
    next_page: str | None


class SpendLimitDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: Literal["spend_limit_deleted"] = "spend_limit_deleted"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """The key that a limit is of."""

    type: Literal["scoped_api_key_actor"] = "scoped_api_key_actor"
    scoped_api_key_id: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a budget stands, in exact USD: an extension."""

    limit_usd: str
    used_usd: str
    # What batches that run will cost at least, beyond what they have used.
    reserved_usd: str
    left_usd: str
    used_percent: float | None


class SpendSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A budget with what was spent of it in the present period."""

    # Null where it is not of a key.
    actor: Actor | None
    amount: str
    currency: Literal["USD"] = "USD"
    period: RecurringPeriod
    # In cents, of charges and of batches that run.
    period_to_date_spend: str
    scope: SpendScope
    source: SpendScope
    spend_limit_id: str
    overnight: Standing


class SpendSummaryPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[SpendSummary]
    next_page: str | None


class SpendLimitQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a limit shall be; `amount` in cents."""

    amount: Annotated[str, rule(pattern=f"^[0-9]{{1,{_MAX_DIGITS}}}$")] | None
    scope: SpendScope
    period: RecurringPeriod = "monthly"


def spend_limit(budget: Budget) -> SpendLimit:
    return SpendLimit(
        id=budget.id,
        amount=_amount(budget),
        created_at=moment(budget.created_at),
        period=_period(budget),
        scope=_scope(budget),
        updated_at=moment(budget.updated_at),
    )


def spend_summary(budget: Budget, spend: Spend) -> SpendSummary:
    share = percent(spend.used_usd, budget.limit_usd)
    cents = (spend.used_usd * _CENTS).quantize(_REPORTED, ROUND_HALF_UP)
    return SpendSummary(
        actor=Actor(scoped_api_key_id=budget.subject_id) if budget.scope == "key" else None,
        amount=_amount(budget),
        period=_period(budget),
        period_to_date_spend=f"{cents.normalize():f}",
        scope=_scope(budget),
        source=_scope(budget),
        spend_limit_id=budget.id,
        overnight=Standing(
            limit_usd=exact(budget.limit_usd),
            used_usd=exact(spend.used_usd),
            reserved_usd=exact(spend.reserved_usd),
            left_usd=exact(spend.left_usd(budget.limit_usd)),
            used_percent=None if share is None else float(share),
        ),
    )


def read_spend_limit(body: bytes, *, now: datetime) -> Budget:
    """Read a budget that is to be set. Raises: InvalidRequest that names the field."""
    asked = read_json(body, SpendLimitQuestion)
    scope, amount = asked.scope, asked.amount
    if amount is None:
        raise InvalidRequest(
            "amount: null is no limit here", hint="DELETE the limit, and there is none"
        )
    if not (amount.isascii() and amount.isdigit() and 0 < len(amount) <= _MAX_DIGITS):
        raise InvalidRequest(
            f"amount: {amount!r}: Input should be whole cents, as text", hint='$50 is "5000"'
        )
    limit_usd = int(amount) / _CENTS
    if limit_usd > MAX_USD:
        raise InvalidRequest(f"amount: {amount} cents is more than {MAX_USD:,} USD")
    ids = {"workspace": scope.workspace_id, "api_key": scope.api_key_id}
    needed = ids.pop(scope.type, "")
    if not needed and scope.type != "organization":
        raise InvalidRequest(f"scope.{scope.type}_id: Field required")
    if any(ids.values()):
        raise InvalidRequest(f"scope: type {scope.type} goes with no other id")
    return Budget(
        id=new_budget_id(),
        scope=_OURS[scope.type],
        subject_id=needed or "",
        period=asked.period,
        limit_usd=limit_usd,
        created_at=now,
        updated_at=now,
    )


def read_scopes(asked: Sequence[str]) -> list[BudgetScope] | None:
    """Read which scopes a list shall show; empty is all of them, None is only foreign ones.

    Raises: InvalidRequest for a word that is no scope type.
    """
    for kind in asked:
        if kind not in SCOPE_TYPES:
            raise InvalidRequest(f"scope_type: {kind!r}: Input should be {', '.join(SCOPE_TYPES)}")
    found: list[BudgetScope] = [scope for kind, scope in _OURS.items() if kind in asked]
    return None if asked and not found else found


def read_periods(asked: Sequence[str]) -> list[str]:
    """Read which periods a report shall show; empty is all. Raises: InvalidRequest."""
    for period in asked:
        if period not in RECURRING:
            raise InvalidRequest(f"period: {period!r}: Input should be {', '.join(RECURRING)}")
    return list(asked)


def _amount(budget: Budget) -> str:
    return str(int(budget.limit_usd * _CENTS))


def _period(budget: Budget) -> RecurringPeriod:
    assert budget.period != "once"
    return budget.period


def _scope(budget: Budget) -> SpendScope:
    return SpendScope(
        type=_TYPES[budget.scope],
        workspace_id=budget.subject_id if budget.scope == "workspace" else None,
        api_key_id=budget.subject_id if budget.scope == "key" else None,
    )
