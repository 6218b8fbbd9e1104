"""How many calls a backend is given at once."""

from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.concurrency import Concurrency


def window(concurrency: Concurrency, *, slow: bool = False) -> bool:
    """Answer as many calls as make a window; tell whether slowness is to be accepted."""
    answers = ceil(concurrency.limit)
    return [concurrency.answered(slow=slow) for _ in range(answers)][-1]


def trouble(concurrency: Concurrency, now_s: float, times: int) -> None:
    for _ in range(times):
        concurrency.troubled(now_s, now_s)


def test_it_begins_at_the_ceiling_and_goes_no_higher() -> None:
    concurrency = Concurrency(ceiling=64)
    window(concurrency)
    assert concurrency.limit == 64


def test_a_window_with_much_trouble_cuts_the_limit_once() -> None:
    concurrency = Concurrency(ceiling=100)
    for _ in range(100):
        concurrency.troubled(0.0, 10.0)
    # All of them began before the cut.
    assert concurrency.limit == pytest.approx(70)
    trouble(concurrency, 11, 8)
    assert concurrency.limit == pytest.approx(49)


def test_it_grows_by_a_step_for_each_window_without_trouble() -> None:
    concurrency = Concurrency(ceiling=320)
    trouble(concurrency, 1, 33)
    limits = [concurrency.limit]
    for _ in range(5):
        window(concurrency)
        limits.append(concurrency.limit)
    assert [after - before for before, after in pairwise(limits)] == [pytest.approx(10)] * 5


def test_a_small_share_of_failures_is_chance() -> None:
    concurrency = Concurrency(ceiling=100)
    for _ in range(20):
        trouble(concurrency, 1, 10)
        window(concurrency)
    assert concurrency.limit == 100


def test_many_failures_bring_it_to_one_and_answers_back_to_the_ceiling() -> None:
    concurrency = Concurrency(ceiling=100)
    for second in range(60):
        trouble(concurrency, float(second), 12)
    assert concurrency.limit == 1
    windows = 0
    while concurrency.limit < 100:
        window(concurrency)
        windows += 1
    assert windows <= 40


def test_two_failures_at_one_call_at_a_time_do_not_hold_it_there() -> None:
    concurrency = Concurrency(ceiling=8)
    concurrency.limit = 1.0
    trouble(concurrency, 1, 2)
    window(concurrency)
    window(concurrency)
    assert concurrency.limit > 1


def test_after_an_outage_it_doubles_from_a_sixteenth_up_to_half() -> None:
    concurrency = Concurrency(ceiling=320)
    concurrency.restart()
    limits = [concurrency.limit]
    for _ in range(5):
        window(concurrency)
        limits.append(concurrency.limit)
    assert limits == [20, 40, 80, 160, 170, 180]


def test_slow_windows_cut_no_further_than_to_a_quarter() -> None:
    concurrency = Concurrency(ceiling=100)
    window(concurrency, slow=True)
    assert concurrency.limit == 70
    for _ in range(5):
        window(concurrency, slow=True)
    assert concurrency.limit == 25


def test_a_window_with_some_slow_answers_is_not_slow() -> None:
    concurrency = Concurrency(ceiling=10)
    for number in range(10):
        concurrency.answered(slow=number < 5)
    assert concurrency.limit == 10


def test_slowness_that_fewer_calls_do_not_cure_is_accepted() -> None:
    concurrency = Concurrency(ceiling=100)
    told = [window(concurrency, slow=True) for _ in range(8)]
    # Four windows down to a quarter, and four there.
    assert told == [False] * 7 + [True]
    window(concurrency)
    window(concurrency)
    assert concurrency.limit == 100


def test_a_slow_backend_that_quickens_gets_its_calls_back() -> None:
    concurrency = Concurrency(ceiling=100)
    for _ in range(6):
        window(concurrency, slow=True)
    for _ in range(24):
        window(concurrency)
    assert concurrency.limit == 100


@given(
    ceiling=st.integers(1, 5_000),
    events=st.lists(st.sampled_from(["answer", "slow", "trouble", "restart"]), max_size=300),
    many=st.integers(1, 300),
)
def test_the_limit_stays_between_one_and_the_ceiling(
    ceiling: int, events: list[str], many: int
) -> None:
    concurrency = Concurrency(ceiling=ceiling)
    for second, event in enumerate(events):
        if event == "restart":
            concurrency.restart()
        elif event == "trouble":
            trouble(concurrency, float(second), many)
        else:
            for _ in range(many):
                concurrency.answered(slow=event == "slow")
        assert 1 <= concurrency.limit <= ceiling
