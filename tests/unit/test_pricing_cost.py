"""Cost: exact, additive, never more in a batch, never 0 where it is unknown."""

import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import overnight
from overnight.errors import ConfigInvalid, InvalidRequest
from overnight.model import Usage
from overnight.pricing import shelf
from overnight.pricing.book import PriceBook, Tier, TokenClass
from overnight.pricing.cost import MAX_COUNT, Cost, cost
from overnight.pricing.money import exact, percent, shown, shown_small, to_cent
from overnight.pricing.workload import Workload

ON = date(2026, 11, 22)
BOOKS = [shelf.open_book(shelf.DEFAULT), shelf.open_book(shelf.VENDOR_FROZEN)]

counts = st.integers(min_value=0, max_value=10**13)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cache_write_5m_tokens=counts,
    cache_write_1h_tokens=counts,
    cache_read_tokens=counts,
    output_tokens=counts,
    web_searches=counts,
)
books = st.sampled_from(BOOKS)
priced = books.flatmap(lambda book: st.tuples(st.just(book), st.sampled_from(book.models)))
tiers: st.SearchStrategy[Tier] = st.sampled_from(["batch", "standard"])


def known(usd: Decimal | None) -> Decimal:
    assert usd is not None
    return usd


def price(usage: Usage, chosen: tuple[PriceBook, str], tier: Tier = "batch") -> Cost:
    return cost(usage, model=chosen[1], tier=tier, book=chosen[0], on=ON)


@given(usage=usages, chosen=priced, tier=tiers)
def test_the_lines_sum_to_the_total_digit_by_digit(
    usage: Usage, chosen: tuple[PriceBook, str], tier: Tier
) -> None:
    found = price(usage, chosen, tier)
    amounts = [line.usd for line in found.lines if line.usd is not None]
    if found.usd is None:
        assert amounts == []
        return
    scaled = [int(amount.scaleb(30)) for amount in amounts]
    assert sum(scaled) == int(found.usd.scaleb(30))


@given(usage=usages, chosen=priced, tier=tiers)
def test_each_amount_is_count_times_rate(
    usage: Usage, chosen: tuple[PriceBook, str], tier: Tier
) -> None:
    for line in price(usage, chosen, tier).lines:
        if line.rate_usd is not None:
            numerator, denominator = line.rate_usd.as_integer_ratio()
            amount_over, amount_under = known(line.usd).as_integer_ratio()
            assert amount_over * denominator * line.token_class.per == (
                line.count * numerator * amount_under
            )


@given(usage=usages, chosen=priced)
def test_batch_never_costs_more_than_standard(usage: Usage, chosen: tuple[PriceBook, str]) -> None:
    for line in price(usage, chosen).lines:
        if line.usd is not None:
            assert line.usd <= known(line.standard_usd)


@given(usage=usages, other=usages, model=st.sampled_from(BOOKS[0].models), tier=tiers)
def test_cost_is_additive_over_requests(usage: Usage, other: Usage, model: str, tier: Tier) -> None:
    chosen = (BOOKS[0], model)
    without_search = [msgspec.structs.replace(u, web_searches=0) for u in (usage, other)]
    both = price(without_search[0] + without_search[1], chosen, tier)
    apart = [known(price(one, chosen, tier).usd) for one in without_search]
    assert both.usd == apart[0] + apart[1]


@given(usage=usages, chosen=priced, extra=st.integers(1, 10**9), tier=tiers)
def test_more_tokens_never_cost_less(
    usage: Usage, chosen: tuple[PriceBook, str], extra: int, tier: Tier
) -> None:
    before = price(usage, chosen, tier)
    for name in ("input_tokens", "cache_read_tokens", "output_tokens"):
        more = msgspec.structs.replace(usage, **{name: getattr(usage, name) + extra})
        after = price(more, chosen, tier)
        if before.usd is not None and after.usd is not None:
            assert after.usd >= before.usd


@given(usage=usages, chosen=priced, tier=tiers)
def test_no_float_enters_a_cost(usage: Usage, chosen: tuple[PriceBook, str], tier: Tier) -> None:
    found = price(usage, chosen, tier)
    for line in found.lines:
        for amount in (line.rate_usd, line.usd, line.standard_rate_usd, line.standard_usd):
            assert amount is None or type(amount) is Decimal
    assert found.usd is None or type(found.usd) is Decimal


@given(st.decimals(min_value=0, max_value=10**15, places=9, allow_nan=False))
def test_showing_an_amount_moves_it_by_at_most_half_a_cent(usd: Decimal) -> None:
    assert abs(to_cent(usd) - usd) <= Decimal("0.005")
    assert Decimal(exact(usd)) == usd
    if usd:
        assert shown(usd) != "$0.00"
        assert Decimal(shown_small(usd).replace("$", "").replace(",", "")) > 0


@given(usage=usages, tier=tiers)
def test_an_unknown_model_has_no_price_and_never_costs_nothing(usage: Usage, tier: Tier) -> None:
    found = overnight.cost(usage, "mystery-9000", tier, on=ON)
    assert found.usd is found.standard_usd is found.saving_usd is None
    assert not found.complete
    assert shown(found.usd) == "unknown"


def test_an_unknown_class_makes_the_total_a_lower_bound() -> None:
    found = overnight.cost(Usage(input_tokens=10**6, web_searches=5), "claude-haiku-4-5", on=ON)
    assert found.unknown == (TokenClass.WEB_SEARCH,)
    assert found.usd == Decimal("0.40")
    assert not found.complete
    assert found.saving_usd is None


def test_no_usage_costs_nothing_on_a_known_model() -> None:
    found = overnight.cost(Usage(), "claude-haiku-4-5", on=ON)
    assert (found.usd, found.complete, found.saving_percent) == (Decimal(0), True, None)


def test_a_price_before_the_book_begins_is_unknown() -> None:
    assert (
        overnight.cost(Usage(input_tokens=1), "claude-haiku-4-5", on=date(2025, 12, 31)).usd is None
    )


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("claude-haiku-4", "claude-haiku-4-5"),
        ("sonet", "claude-sonnet-4-6"),
        ("claude-opus-4-9", "claude-opus-4-7"),
    ],
)
def test_near_names_are_suggested(asked: str, near: str) -> None:
    assert overnight.cost(Usage(input_tokens=1), asked, on=ON).near_models[0] == near


def test_a_name_like_nothing_gets_no_suggestion() -> None:
    assert overnight.cost(Usage(input_tokens=1), "gpt-5", on=ON).near_models == ()


WIRE: dict[str, Any] = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": None,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 5,
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "batch",
}


def test_the_usage_of_a_message_is_understood_as_it_is() -> None:
    counted = {line.token_class: line.count for line in overnight.cost(WIRE, "x", on=ON).lines}
    assert counted == {
        TokenClass.INPUT: 10,
        TokenClass.CACHE_WRITE_5M: 100,
        TokenClass.CACHE_WRITE_1H: 200,
        TokenClass.OUTPUT: 5,
        TokenClass.WEB_SEARCH: 2,
    }


def test_writes_without_a_ttl_count_as_five_minute_writes() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 7}
    found = overnight.cost(usage, "claude-haiku-4-5", on=ON)
    assert found.lines[1].token_class == TokenClass.CACHE_WRITE_5M
    assert found.lines[1].count == 7


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        ({"input_tokens": -1}, "usage.input_tokens: -1: must be a whole number from 0"),
        ({"input_tokens": 10**22}, "usage.input_tokens: 10000000000000000000000: must be"),
        ({"input_tokens": "many"}, "usage: Expected `int`, got `str`"),
        ({"web_searches": 1, "tokens": 3}, "usage: Object contains unknown field `tokens`"),
    ],
)
def test_a_bad_usage_is_refused_with_its_name_and_value(usage: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        overnight.cost(usage, "claude-haiku-4-5", on=ON)
    assert refused.value.message.startswith(message)


def test_a_bad_tier_or_book_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'fast' is not a tier"):
        overnight.cost(Usage(), "x", "fast", on=ON)  # type: ignore[arg-type]  # the point
    with pytest.raises(ConfigInvalid, match="no price book 'nowhere'"):
        overnight.cost(Usage(), "x", book="nowhere", on=ON)


def test_the_largest_usage_is_still_exact() -> None:
    found = overnight.cost(Usage(input_tokens=MAX_COUNT), "claude-haiku-4-5", on=ON)
    assert found.usd == Decimal(MAX_COUNT) * Decimal("0.40") / 10**6


@pytest.mark.parametrize(
    ("usd", "to_the_cent", "fine", "digits"),
    [
        ("18", "$18.00", "$18.00", "18.00"),
        ("0.125", "$0.13", "$0.125", "0.125"),
        ("0.0001625", "<$0.01", "$0.000163", "0.0001625"),
        ("1234567.895", "$1,234,567.90", "$1,234,567.90", "1234567.895"),
        ("0", "$0.00", "$0.00", "0.00"),
        ("0.4", "$0.40", "$0.40", "0.40"),
        ("-2.5", "-$2.50", "-$2.50", "-2.50"),
    ],
)
def test_money_is_written_one_way(usd: str, to_the_cent: str, fine: str, digits: str) -> None:
    amount = Decimal(usd)
    assert (shown(amount), shown_small(amount), exact(amount)) == (to_the_cent, fine, digits)


def test_percent_of_nothing_is_not_a_number() -> None:
    assert percent(Decimal(1), Decimal(0)) is None


@given(
    requests=st.integers(1, 10**6),
    shared=st.integers(0, 10**5),
    own=st.integers(0, 10**5),
    hit=st.decimals(0, 1, places=3),
)
def test_a_workload_counts_every_prompt_token_once(
    requests: int, shared: int, own: int, hit: Decimal
) -> None:
    work = Workload(
        requests=requests,
        input_tokens=Decimal(shared + own),
        shared_tokens=Decimal(shared),
        hit_rate=hit,
    )
    usage = work.usage()
    assert usage.input_tokens == own * requests
    assert usage.cache_write_5m_tokens + usage.cache_read_tokens == shared * requests
    assert usage.cache_write_5m_tokens >= shared


def test_the_public_door_imports_neither_server_nor_vendor_data() -> None:
    code = (
        "import sys, overnight; overnight.cost(overnight.Usage(input_tokens=1), 'claude-haiku-4-5')"
        "; print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"genai_prices", "pydantic", "rich", "click", "litestar", "asyncio", "sqlalchemy"}
    assert heavy.isdisjoint(ran.stdout.split())


def test_importing_overnight_alone_imports_nothing_of_ours() -> None:
    code = "import sys, overnight; print(*[m for m in sys.modules if m.startswith('overnight.')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
