"""Real-time calls are charged in groups: what a group comes to is what its calls come to."""

from datetime import date
from decimal import Decimal
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from overnight.model import Usage, WorkspaceId
from overnight.pipeline.till import Spender, Spent, sums
from overnight.pricing import shelf
from overnight.pricing.cost import cost
from overnight.pricing.tariff import Tariff

ON = date(2026, 11, 22)
TARIFFS = {name: Tariff(shelf.open_book(name)) for name in (shelf.DEFAULT, shelf.VENDOR_FROZEN)}
counts = st.integers(min_value=0, max_value=400_000)
calls = st.builds(
    Spent,
    st.sampled_from([WorkspaceId("one"), WorkspaceId("two")]),
    # The price of the first depends on the length of the prompt; one of the books knows none.
    st.sampled_from(["claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-7"]),
    st.builds(
        Usage,
        input_tokens=counts,
        cache_write_5m_tokens=counts,
        cache_write_1h_tokens=counts,
        cache_read_tokens=counts,
        output_tokens=counts,
    ),
)


@given(groups=st.lists(st.lists(calls, max_size=8), max_size=8), book=st.sampled_from([*TARIFFS]))
def test_groups_cost_what_their_calls_cost_by_each_spender(
    groups: list[list[Spent]], book: str
) -> None:
    tariff = TARIFFS[book]
    charged: dict[Spender, Decimal] = {}
    for group in groups:
        for spender, summed in sums(group, key=partial(tariff.key, on=ON)).items():
            for line in tariff.charges(summed, tier="standard", on=ON):
                charged[spender] = charged.get(spender, Decimal(0)) + (line.usd or 0)
    expected: dict[Spender, Decimal] = {}
    for call in (call for group in groups for call in group):
        usd = cost(call.usage, model=call.model, tier="standard", book=tariff.book, on=ON).usd
        expected[call.spender] = expected.get(call.spender, Decimal(0)) + (usd or 0)
    assert {k: v for k, v in charged.items() if v} == {k: v for k, v in expected.items() if v}
