"""What a request costs lies between its bounds, however its prompt is billed."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.model import Usage
from overnight.pricing import shelf
from overnight.pricing.bounds import Asked, Bounder, Bounds, asked, total
from overnight.pricing.cost import cost
from overnight.pricing.estimate import band

BOOK = shelf.open_book(shelf.DEFAULT)
ON = date(2026, 11, 22)
HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-7"
HOUR = {"type": "ephemeral", "ttl": "1h"}


@given(
    model=st.sampled_from([HAIKU, OPUS]),
    counted=st.integers(1, 100_000),
    off=st.decimals(0, 1, places=2),
    shares=st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)),
    output=st.integers(1, 500),
)
def test_a_marked_prompt_costs_no_less_and_no_more(
    model: str, counted: int, off: Decimal, shares: tuple[int, int, int], output: int
) -> None:
    low, high = band(model)
    tokens = int(counted * (low + (high - low) * off))
    parts = [tokens * share // (sum(shares) or 1) for share in shares]
    used = Usage(
        input_tokens=tokens - sum(parts),
        cache_write_5m_tokens=parts[0],
        cache_write_1h_tokens=parts[1],
        cache_read_tokens=parts[2],
        output_tokens=output,
    )
    usd = cost(used, model=model, tier="batch", book=BOOK, on=ON).usd
    bounds = Bounder(BOOK).of(model, counted, 500, tier="batch", on=ON, ttl_s=3_600)
    assert usd is not None and bounds is not None
    assert bounds.low_usd <= usd <= bounds.high_usd


def test_a_prompt_without_marks_is_bounded_by_its_plain_price() -> None:
    found = Bounder(BOOK).of(HAIKU, 1_000, 100, tier="standard", on=ON, ttl_s=0)
    # 0.80 USD for a million tokens in, 4.00 out; 15 % fewer of them to 35 % more.
    assert found == Bounds(Decimal("0.000684"), Decimal("0.00148"))


def test_whoever_may_answer_is_paid_for() -> None:
    names = {"fast": (HAIKU, OPUS, "house"), "house": ("house",)}
    bounder = Bounder(BOOK, lambda model: names.get(model, (model,)))
    one, other, both = (
        bounder.of(model, 100, 10, tier="batch", on=ON, ttl_s=0) for model in (HAIKU, OPUS, "fast")
    )
    assert one and other and both == Bounds(one.low_usd, other.high_usd)
    assert bounder.of("house", 100, 10, tier="batch", on=ON, ttl_s=0) is None


@pytest.mark.parametrize(
    ("changes", "ttl_s"),
    [({}, 0), ({"cache_control": {"type": "ephemeral"}}, 300), ({"cache_control": HOUR}, 3_600)],
)
def test_params_say_what_decides_their_cost(changes: dict[str, object], ttl_s: int) -> None:
    params = {"model": HAIKU, "max_tokens": 9, "messages": [{"role": "user", "content": "abcd"}]}
    assert asked(msgspec.json.encode(params | changes)) == Asked(HAIKU, 5, 9, ttl_s)


@pytest.mark.parametrize("body", ["[]", "{}", '{"model": 1, "max_tokens": 1}', "{"])
def test_params_at_fault_are_free(body: str) -> None:
    assert asked(body.encode()) is None


def test_sums_name_the_models_without_a_price() -> None:
    one = Asked(HAIKU, 1_000, 100, 0)
    found = total({one: 2, Asked("house", 1, 1, 0): 1}, Bounder(BOOK), tier="standard", on=ON)
    assert found.bounds == Bounds(Decimal("0.001368"), Decimal("0.00296"))
    assert found.unpriced == {"house"}
