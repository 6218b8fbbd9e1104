"""What a statement says, against figures worked out by hand."""

from decimal import Decimal
from typing import Any

import pytest

from overnight.model import BatchStatus, Charge
from overnight.pricing.statement import Quoted, Statement, of_statement


def a_charge(token_class: str, count: int, usd: str | None, standard: str | None) -> Charge:
    return Charge(
        model="m",
        token_class=token_class,
        count=count,
        service_tier="batch",
        rate_usd=None if usd is None else Decimal(1),
        usd=None if usd is None else Decimal(usd),
        standard_rate_usd=None if standard is None else Decimal(1),
        standard_usd=None if standard is None else Decimal(standard),
        book="by hand",
        book_version="1",
    )


def a_statement(
    *charges: Charge,
    status: BatchStatus = "in_progress",
    recorded: int = 100,
    quoted: Quoted | None = None,
) -> Statement:
    return Statement(
        status=status,
        requests=1_000,
        recorded=recorded,
        succeeded=recorded,
        charges=charges,
        quoted=quoted,
    )


def test_amounts_saving_and_hit_rate_are_those_of_the_charges() -> None:
    found = a_statement(
        a_charge("input", 100, "1.5", "3"),
        a_charge("cache_write_5m", 100, "2", "2"),
        a_charge("cache_read", 600, "0.5", "0.5"),
        a_charge("output", 50, "4", "8"),
    )
    assert (found.spent_usd, found.standard_usd) == (Decimal(8), Decimal("13.5"))
    assert (found.saving_usd, found.saving_percent) == (Decimal("5.5"), Decimal("40.74"))
    assert found.cache_hit_percent == Decimal(75)


def test_the_end_is_projected_from_the_mean_with_a_range() -> None:
    # Mean 0.02; the rest 900 × 0.02 = 18; ± 2 × 0.02 × √(900 + 900² / 100) = 0.04 × √9000.
    found = a_statement(a_charge("output", 1, "2", "4")).projection
    assert found
    assert found.usd == Decimal(20)
    assert found.high_usd == Decimal("23.794733192")
    assert found.low_usd == Decimal("16.205266808")


def test_a_projection_is_never_below_what_is_spent() -> None:
    found = a_statement(a_charge("output", 1, "2", "4"), recorded=1).projection
    assert found
    assert found.low_usd == Decimal(2)


@pytest.mark.parametrize("status", ["ended", "canceling"])
def test_nothing_more_is_projected_once_nothing_more_is_sent(status: BatchStatus) -> None:
    found = a_statement(a_charge("output", 1, "2", "4"), status=status).projection
    assert found
    assert (found.low_usd, found.usd, found.high_usd) == (Decimal(2), Decimal(2), Decimal(2))


def test_before_the_first_outcome_nothing_is_projected() -> None:
    found = a_statement(recorded=0)
    assert (found.spent_usd, found.projection, found.cache_hit_percent) == (Decimal(0), None, None)


def test_an_unknown_price_makes_the_sum_a_lower_bound() -> None:
    known, unknown = a_charge("output", 1, "2", "4"), a_charge("web_search", 1, None, None)
    found = a_statement(known, unknown)
    assert (found.spent_usd, found.complete, found.saving_usd) == (Decimal(2), False, None)
    assert found.projection is None
    assert a_statement(unknown).spent_usd is None


@pytest.mark.parametrize(
    ("actual", "verdict", "difference"),
    [
        ("0.5", "below", "-0.50"),
        ("1", "within", "0.00"),
        ("3", "within", "0.00"),
        ("3.25", "above", "0.25"),
    ],
)
def test_the_actual_cost_is_compared_with_the_quote(
    actual: str, verdict: str, difference: str
) -> None:
    quoted = Quoted(id="estimate_01x", low_usd=Decimal(1), high_usd=Decimal(3))
    charge = a_charge("output", 1, actual, actual)
    shown: Any = of_statement(a_statement(charge, status="ended", quoted=quoted))["estimate"]
    assert (shown["verdict"], shown["difference_usd"]) == (verdict, difference)
    running: Any = of_statement(a_statement(charge, quoted=quoted))["estimate"]
    assert (running["actual_usd"], running["verdict"]) == (None, None)
