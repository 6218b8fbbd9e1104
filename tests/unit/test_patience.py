"""From when on a call is a straggler, and how many may be cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.patience import EXTRA_SHARE, MAX_AT_ONCE, MIN_PATIENCE_S, Patience


def answered(patience: Patience, times: int, seconds: float, max_tokens: int = 1_024) -> None:
    for _ in range(times):
        patience.answered(max_tokens, seconds)


def test_nobody_is_cut_before_enough_is_known() -> None:
    patience = Patience()
    answered(patience, 99, 8.0)
    assert patience.limit_s(1_024) is None
    answered(patience, 1, 8.0)
    assert patience.limit_s(1_024) == 16.0


def test_a_short_wait_is_never_too_long() -> None:
    patience = Patience()
    answered(patience, 1_000, 0.01)
    assert patience.limit_s(1_024) == MIN_PATIENCE_S


def test_one_answer_in_a_thousand_may_take_as_long_as_it_will() -> None:
    patience = Patience()
    for _ in range(4):
        answered(patience, 1_500, 8.0)
        patience.answered(1_024, 900.0)
        answered(patience, 500, 8.0)
    assert patience.limit_s(1_024) == 16.0


def test_what_one_in_five_hundred_takes_is_waited_for() -> None:
    patience = Patience()
    for _ in range(10):
        answered(patience, 499, 8.0)
        patience.answered(1_024, 100.0)
    assert patience.limit_s(1_024) == 200.0


def test_what_was_slow_long_ago_is_forgotten() -> None:
    patience = Patience()
    answered(patience, 500, 80.0)
    answered(patience, 1_600, 8.0)
    assert patience.limit_s(1_024) == 160.0
    answered(patience, 4_000, 8.0)
    assert patience.limit_s(1_024) == 16.0


def test_calls_that_may_answer_at_length_are_waited_for_longer() -> None:
    patience = Patience()
    answered(patience, 200, 8.0, max_tokens=1_024)
    answered(patience, 200, 300.0, max_tokens=32_000)
    assert patience.limit_s(1_500) == 16.0
    assert patience.limit_s(20_000) == 600.0
    assert patience.limit_s(100) is None


def test_a_request_that_needs_long_gets_there() -> None:
    patience = Patience()
    answered(patience, 200, 8.0)
    limits = [patience.limit_s(1_024, attempts) for attempts in range(5)]
    assert limits == [16, 16, 64, 256, 1_024]


@pytest.mark.parametrize("attempts", [9, 1_000_000])
def test_any_number_of_attempts_has_a_limit(attempts: int) -> None:
    patience = Patience()
    answered(patience, 200, 8.0)
    limit_s = patience.limit_s(1_024, attempts)
    assert limit_s is not None and 1_024 < limit_s < 10**7


@given(st.lists(st.booleans() | st.integers(1, 3_000), max_size=200))
def test_cuts_are_a_bounded_share_and_never_many_at_once(events: list[bool | int]) -> None:
    patience = Patience()
    answers = cuts = at_once = 0
    for event in events:
        if event is True or event is False:
            while patience.may_cut and event:
                patience.cut()
                cuts += 1
                at_once += 1
            assert at_once <= MAX_AT_ONCE
        else:
            answered(patience, event, 1.0)
            answers += event
            at_once = 0
        assert cuts <= 1 + EXTRA_SHARE * answers + 1e-6


def test_calls_that_ran_out_of_time_by_themselves_cost_no_more_than_a_while_of_cutting() -> None:
    patience = Patience()
    for _ in range(1_000):
        patience.cut()
    assert not patience.may_cut
    answered(patience, 1_101, 1.0)
    assert patience.may_cut
