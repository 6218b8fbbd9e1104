"""Every number of the published page, to the last digit: tests/golden/prices.json."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import overnight
from overnight.pricing import caching, document, shelf
from overnight.pricing.book import Tier, TokenClass
from overnight.pricing.money import exact
from overnight.pricing.quote import quote
from overnight.pricing.workload import Workload

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "prices.json").read_text(encoding="utf-8")
)
ON = date.fromisoformat(GOLDEN["on"])
CASES = [pytest.param(case, id=case["id"]) for case in GOLDEN["cases"]]
RATES = [pytest.param(rates, id=rates["model"]) for rates in GOLDEN["rates"]]


def workload(question: dict[str, Any]) -> Workload:
    return Workload(
        requests=question["requests"],
        input_tokens=Decimal(question["input_tokens"]),
        output_tokens=Decimal(question["output_tokens"]),
        shared_tokens=Decimal(question.get("shared_tokens", 0)),
        ttl=question.get("cache_ttl", "5m"),
    )


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("tier", ["standard", "batch"])
def test_every_rate_of_the_table_is_exact(rates: dict[str, Any], tier: Tier) -> None:
    prices = shelf.open_book(GOLDEN["book"]).prices(rates["model"], on=ON)
    assert prices
    assert {str(c): exact(rate.usd) for c, rate in prices.rates(tier).items()} == rates[tier]


@pytest.mark.parametrize("rates", RATES)
def test_a_dated_or_other_spelling_means_the_same_model(rates: dict[str, Any]) -> None:
    assert shelf.open_book().resolve(rates["also_named"]) == rates["model"]


@pytest.mark.parametrize("rates", RATES)
def test_standard_rates_are_exactly_twice_the_batch_rates(rates: dict[str, Any]) -> None:
    prices = shelf.open_book().prices(rates["model"], on=ON)
    assert prices
    for token_class in (TokenClass.INPUT, TokenClass.OUTPUT):
        assert prices.standard[token_class].usd == 2 * prices.batch[token_class].usd


@pytest.mark.parametrize("case", CASES)
def test_a_quote_gives_every_digit_of_the_case(case: dict[str, Any]) -> None:
    found = quote(
        workload(case["question"]),
        models=[case["question"]["model"]],
        tier="batch",
        book=shelf.open_book(GOLDEN["book"]),
        on=ON,
    )
    shown: Any = document.of_quote(found)["models"]
    expected = case["expect"]
    assert {key: shown[0][key] for key in expected if key != "lines"} == {
        key: value for key, value in expected.items() if key != "lines"
    }
    assert [
        {key: line[key] for key in expected["lines"][0]} for line in shown[0]["lines"]
    ] == expected["lines"]


@pytest.mark.parametrize("case", CASES)
def test_python_gives_the_same_amounts(case: dict[str, Any]) -> None:
    usage = workload(case["question"]).usage()
    batch = overnight.cost(usage, case["question"]["model"], on=ON, book=GOLDEN["book"])
    standard = overnight.cost(usage, case["question"]["model"], "standard", on=ON)
    expected = case["expect"]
    assert batch.usd == Decimal(expected["batch_usd"])
    assert batch.standard_usd == standard.usd == Decimal(expected["standard_usd"])
    assert batch.saving_usd == Decimal(expected["saving_usd"])


@pytest.mark.parametrize("advice", GOLDEN["caching"], ids=lambda a: f"{a['model']}-{a['ttl']}")
def test_caching_breaks_even_where_the_rule_says(advice: dict[str, Any]) -> None:
    prices = shelf.open_book().prices(advice["model"], on=ON)
    assert prices
    assert caching.break_even(prices.batch, advice["ttl"]) == advice["break_even_requests"]
    assert caching.min_hit_percent(prices.batch, advice["ttl"]) == Decimal(
        str(advice["min_hit_percent"])
    )


def test_caching_and_batch_together_save_well_above_half_on_the_input_side() -> None:
    shared = Workload(requests=1_000, input_tokens=Decimal(8_400), shared_tokens=Decimal(8_000))
    cached = overnight.cost(shared.usage(), "claude-sonnet-4-6", on=ON)
    plain = overnight.cost(shared.uncached().usage(), "claude-sonnet-4-6", "standard", on=ON)
    assert cached.usd and plain.usd
    assert cached.usd < plain.usd * Decimal("0.2")
