"""Charges from sums equal the cost of each request by itself."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.model import Usage, UsageKey
from overnight.pricing import shelf
from overnight.pricing.cost import cost
from overnight.pricing.tariff import Tariff

ON = date(2026, 11, 22)
# Its price depends on the length of the prompt.
LONG = "claude-sonnet-4-5"
counts = st.integers(min_value=0, max_value=400_000)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cache_write_5m_tokens=counts,
    cache_write_1h_tokens=counts,
    cache_read_tokens=counts,
    output_tokens=counts,
)


@given(
    answers=st.lists(
        st.tuples(st.sampled_from([LONG, "claude-haiku-4-5", "claude-opus-4-7", "nobody"]), usages),
        max_size=30,
    ),
    book=st.sampled_from([shelf.DEFAULT, shelf.VENDOR_FROZEN]),
)
def test_charges_sum_to_the_cost_of_every_answer(
    answers: list[tuple[str, Usage]], book: str
) -> None:
    tariff = Tariff(shelf.open_book(book))
    sums: dict[str, Usage] = {}
    for model, usage in answers:
        key = tariff.key(model, usage, on=ON)
        sums[key] = sums.get(key, Usage()) + usage
    charges = tariff.charges(sums, tier="batch", on=ON)
    costs = [
        cost(usage, model=model, tier="batch", book=tariff.book, on=ON) for model, usage in answers
    ]
    usd, standard_usd = Decimal(0), Decimal(0)
    for priced in costs:
        usd += priced.usd or 0
        standard_usd += priced.standard_usd or 0
    assert sum((c.usd for c in charges if c.usd is not None), Decimal(0)) == usd
    assert (
        sum((c.standard_usd for c in charges if c.standard_usd is not None), Decimal(0))
        == standard_usd
    )
    assert all(charge.usd is not None for charge in charges) == all(
        priced.complete or not priced.lines for priced in costs
    )


def test_a_long_prompt_is_summed_up_apart_and_costs_its_own_rate() -> None:
    tariff = Tariff(shelf.open_book(shelf.VENDOR_FROZEN))
    prices = tariff.book.prices(LONG, on=ON)
    assert prices and prices.long_prompt_tokens == 200_000
    short = Usage(input_tokens=200_000, output_tokens=1)
    long = Usage(input_tokens=200_000, cache_read_tokens=1, output_tokens=1)
    assert tariff.key(LONG, short, on=ON) == LONG
    assert tariff.key(LONG, long, on=ON) == f"{LONG} > 200000"
    sums = {tariff.key(LONG, usage, on=ON): usage for usage in (short, long)}
    rates = {
        c.over_tokens: c.standard_rate_usd
        for c in tariff.charges(sums, tier="batch", on=ON)
        if c.token_class == "input"
    }
    assert rates[200_000] == 2 * (rates[0] or 0)


@pytest.mark.parametrize("over_tokens", [100, 1_000_000])
def test_the_limit_of_any_book_decides(tmp_path: Path, over_tokens: int) -> None:
    (tmp_path / "book.toml").write_text(
        f"""
name = "steps"
dated = 2026-11-01
[source]
title = "a test"
read = 2026-11-01
[[models]]
id = "m"
[[models.prices]]
from = 2026-01-01
input = 1
output = 2
[models.prices.long_prompt]
over_tokens = {over_tokens}
input = 3
output = 4
""",
        encoding="utf-8",
    )
    tariff = Tariff(shelf.open_book(str(tmp_path / "book.toml")))
    sums: dict[str, Usage] = {}
    for tokens in (99, 101, 200_001, 1_000_001):
        usage = Usage(input_tokens=tokens)
        key = tariff.key("m", usage, on=ON)
        sums[key] = sums.get(key, Usage()) + usage
        one = cost(usage, model="m", tier="standard", book=tariff.book, on=ON)
        [alone] = tariff.charges({key: usage}, tier="standard", on=ON)
        assert alone.usd == one.usd
    assert len(sums) == 3


@pytest.mark.parametrize(
    "key",
    [
        UsageKey("m"),
        UsageKey("m", 7),
        UsageKey("a > b", 200_000),
        UsageKey("m", auto_cached=True),
        UsageKey("m (b)", 7, auto_cached=True),
    ],
)
def test_a_usage_key_is_read_as_it_was_written(key: UsageKey) -> None:
    assert UsageKey.read(str(key)) == key


@pytest.mark.parametrize("name", ["m > 007", "m > 0", "m > 99999999999999999999"])
def test_a_model_named_like_a_usage_key_is_a_model(name: str) -> None:
    assert UsageKey.read(name) == UsageKey(name)


def test_usage_that_is_summed_up_apart_for_our_breakpoints_is_one_line_of_the_ledger() -> None:
    tariff = Tariff(shelf.open_book(shelf.DEFAULT))
    usage = Usage(input_tokens=100, cache_read_tokens=1_000, output_tokens=10)
    keys = [tariff.key("claude-haiku-4-5", usage, on=ON, auto_cached=own) for own in (True, False)]
    assert keys == ["claude-haiku-4-5 (auto-cached)", "claude-haiku-4-5"]
    apart = tariff.charges(dict.fromkeys(keys, usage), tier="batch", on=ON)
    assert apart == tariff.charges({"claude-haiku-4-5": usage + usage}, tier="batch", on=ON)


def test_a_charge_knows_the_price_of_its_tokens_uncached() -> None:
    tariff = Tariff(shelf.open_book(shelf.DEFAULT))
    usage = Usage(cache_write_5m_tokens=1, cache_write_1h_tokens=1, cache_read_tokens=1,
                  output_tokens=1)  # fmt: skip
    charges = tariff.charges({"claude-haiku-4-5": usage}, tier="batch", on=ON)
    assert {c.token_class: (c.rate_usd, c.uncached_rate_usd) for c in charges} == {
        "cache_write_5m": (Decimal("1.0"), Decimal("0.4")),
        "cache_write_1h": (Decimal("1.6"), Decimal("0.4")),
        "cache_read": (Decimal("0.08"), Decimal("0.4")),
        "output": (Decimal("2.0"), Decimal("2.0")),
    }
