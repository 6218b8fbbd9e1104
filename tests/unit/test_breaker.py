"""When nobody may call: cooldowns for all, and one probe after an outage."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.breaker import AILING, EXCUSED_S, OUTAGE_BASE_S, OUTAGE_CAP_S, Breaker
from overnight.dispatch.retry import RETRY_AFTER_CAP_S
from overnight.model import Failure, FailureKind

FOREVER = float("inf")


def failure(
    kind: FailureKind = FailureKind.SERVER_ERROR,
    retry_after_s: float | None = None,
    status: int | None = None,
) -> Failure:
    return Failure(
        kind=kind, error_type="api_error", message="", status=status, retry_after_s=retry_after_s
    )


UNREACHABLE = failure(FailureKind.UNREACHABLE)


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(random=Random(1))


def fail(
    breaker: Breaker,
    what: Failure,
    now_s: float,
    *,
    times: int = 1,
    started_s: float | None = None,
    probe: bool = False,
    fresh: bool = True,
) -> None:
    started_s = now_s if started_s is None else started_s
    for _ in range(times):
        breaker.failed(what, started_s, now_s, probe=probe, fresh=fresh)


def broken(breaker: Breaker, now_s: float) -> float:
    """Make an outage; give when a probe may go."""
    fail(breaker, UNREACHABLE, now_s, times=3)
    assert breaker.out
    return now_s + breaker.wait_s(now_s)


def test_a_new_breaker_lets_everybody_go(breaker: Breaker) -> None:
    assert breaker.wait_s(0) == 0
    assert not breaker.enter()
    assert breaker.wait_s(0) == 0
    assert not breaker.out


@pytest.mark.parametrize(
    "stated",
    [
        failure(FailureKind.RATE_LIMITED, 20),
        failure(FailureKind.OVERLOADED, 20),
        failure(FailureKind.SERVER_ERROR, 20, status=503),
    ],
)
def test_a_stated_time_keeps_everybody_away(breaker: Breaker, stated: Failure) -> None:
    fail(breaker, stated, 100)
    assert breaker.wait_s(105) == pytest.approx(15)
    assert breaker.wait_s(120) == 0
    assert not breaker.out


@pytest.mark.parametrize(
    "unstated",
    [
        failure(FailureKind.RATE_LIMITED),
        failure(FailureKind.SERVER_ERROR, 20, status=500),
        failure(FailureKind.CONFLICT, 20),
    ],
)
def test_what_is_not_for_everyone_keeps_nobody_away(breaker: Breaker, unstated: Failure) -> None:
    fail(breaker, unstated, 100)
    assert breaker.wait_s(100) == 0


def test_a_shorter_time_does_not_shorten_a_longer_one(breaker: Breaker) -> None:
    fail(breaker, failure(FailureKind.RATE_LIMITED, 20), 100)
    fail(breaker, failure(FailureKind.RATE_LIMITED, 1), 100)
    breaker.answered(100)
    assert breaker.wait_s(100) == pytest.approx(20)


@pytest.mark.parametrize("retry_after_s", [1e6, 1e18, 1e300])
def test_a_time_beyond_reason_is_an_hour(breaker: Breaker, retry_after_s: float) -> None:
    fail(breaker, failure(FailureKind.RATE_LIMITED, retry_after_s), 100)
    assert breaker.wait_s(100) == pytest.approx(RETRY_AFTER_CAP_S)
    assert breaker.wait_s(100 + RETRY_AFTER_CAP_S) == 0


def test_three_calls_in_a_row_that_nobody_took_are_an_outage(breaker: Breaker) -> None:
    fail(breaker, UNREACHABLE, 10, times=2)
    breaker.answered(9)
    fail(breaker, UNREACHABLE, 10, times=2)
    assert not breaker.out
    fail(breaker, UNREACHABLE, 10)
    assert breaker.out
    assert OUTAGE_BASE_S <= breaker.wait_s(10) <= 2 * OUTAGE_BASE_S


@pytest.mark.parametrize("kind", AILING - {FailureKind.UNREACHABLE, FailureKind.OVERLOADED})
def test_sixteen_failures_in_a_row_are_an_outage(breaker: Breaker, kind: FailureKind) -> None:
    fail(breaker, failure(kind), 10, times=15)
    breaker.answered(0)
    fail(breaker, failure(kind), 10, times=15)
    assert not breaker.out
    fail(breaker, failure(kind), 10)
    assert breaker.out


def test_a_busy_backend_may_refuse_many_at_once(breaker: Breaker) -> None:
    refused = failure(FailureKind.OVERLOADED)
    fail(breaker, refused, 10, times=500)
    assert not breaker.out
    fail(breaker, refused, 11.5)
    assert breaker.out


@pytest.mark.parametrize("kind", set(FailureKind) - AILING)
def test_a_failure_of_one_request_is_no_outage(breaker: Breaker, kind: FailureKind) -> None:
    fail(breaker, failure(kind), 10, times=100)
    assert not breaker.out


def test_a_few_requests_that_fail_every_time_are_no_outage(breaker: Breaker) -> None:
    breaker.answered(0)
    fail(breaker, failure(), 59, times=100, fresh=False)
    assert not breaker.out


def test_a_few_requests_are_all_there_is_when_nobody_was_answered_for_long(
    breaker: Breaker,
) -> None:
    breaker.answered(0)
    fail(breaker, failure(), 61, times=16, fresh=False)
    assert breaker.out


def test_after_an_outage_one_call_probes_and_the_others_wait(breaker: Breaker) -> None:
    later_s = broken(breaker, 10)
    assert breaker.wait_s(later_s) == 0
    assert breaker.enter()
    assert breaker.wait_s(later_s) == FOREVER
    assert breaker.answered(later_s)
    assert breaker.wait_s(later_s) == 0
    assert not breaker.out


def test_calls_that_break_together_are_one_outage(breaker: Breaker) -> None:
    fail(breaker, UNREACHABLE, 10, times=64)
    assert breaker.wait_s(10) <= 2 * OUTAGE_BASE_S


def test_failed_probes_make_the_wait_longer_up_to_a_cap(breaker: Breaker) -> None:
    now_s = broken(breaker, 10)
    waits = []
    for _ in range(12):
        assert breaker.enter()
        fail(breaker, failure(), now_s, probe=True)
        waits.append(breaker.wait_s(now_s))
        now_s += waits[-1]
    assert waits[0] < waits[2] < waits[4]
    assert all(OUTAGE_CAP_S / 2 <= wait_s <= OUTAGE_CAP_S for wait_s in waits[-4:])


def test_an_error_of_the_request_shows_that_the_backend_is_back(breaker: Breaker) -> None:
    later_s = broken(breaker, 10)
    breaker.enter()
    assert breaker.failed(
        failure(FailureKind.INVALID_REQUEST), later_s, later_s, probe=True, fresh=True
    )
    assert not breaker.out


def test_a_probe_that_was_broken_off_leaves_its_place_to_another(breaker: Breaker) -> None:
    later_s = broken(breaker, 10)
    breaker.enter()
    breaker.abandon(later_s)
    assert breaker.wait_s(later_s) == 0
    assert breaker.out


def test_a_defect_of_ours_in_a_probe_says_nothing(breaker: Breaker) -> None:
    later_s = broken(breaker, 10)
    breaker.enter()
    fail(breaker, failure(FailureKind.INTERNAL), later_s, probe=True)
    assert breaker.out
    assert breaker.wait_s(later_s) == 0


def test_answers_to_calls_from_before_the_outage_do_not_end_it(breaker: Breaker) -> None:
    broken(breaker, 10)
    assert not breaker.answered(9)
    assert breaker.out


def test_an_answer_in_real_time_ends_the_wait_at_once(breaker: Breaker) -> None:
    later_s = broken(breaker, 10)
    for _ in range(8):
        breaker.enter()
        fail(breaker, failure(), later_s, probe=True)
        later_s += breaker.wait_s(later_s)
    assert breaker.answered(later_s - 0.5)
    assert breaker.wait_s(later_s - 0.5) == 0


def test_a_probe_of_an_earlier_outage_is_none_of_the_next(breaker: Breaker) -> None:
    first_s = broken(breaker, 10)
    breaker.enter()
    breaker.answered(first_s)
    second_s = broken(breaker, first_s + 1)
    breaker.enter()
    fail(breaker, failure(), second_s, started_s=first_s, probe=True)
    breaker.abandon(first_s)
    assert breaker.wait_s(second_s) == FOREVER


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.OVERLOADED])
def test_an_outage_explains_errors_for_a_while(breaker: Breaker, kind: FailureKind) -> None:
    assert not breaker.excuses(failure(kind), 10)
    broken(breaker, 10)
    assert breaker.excuses(failure(kind), 10 + EXCUSED_S)
    assert not breaker.excuses(failure(kind), 11 + EXCUSED_S)


@pytest.mark.parametrize("kind", [FailureKind.RESET, FailureKind.TIMEOUT, FailureKind.MALFORMED])
def test_an_outage_does_not_explain_what_a_request_may_have_done(
    breaker: Breaker, kind: FailureKind
) -> None:
    broken(breaker, 10)
    assert not breaker.excuses(failure(kind), 10)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["go", "answered", "abandon", *AILING, FailureKind.INTERNAL]),
            st.floats(0, 20),
            st.integers(0, 9),
        ),
        max_size=200,
    )
)
def test_whoever_obeys_sends_one_probe_at_a_time(
    steps: list[tuple[str | FailureKind, float, int]],
) -> None:
    breaker = Breaker(random=Random(1))
    now_s = out_since_s = 0.0
    calls: list[tuple[float, bool]] = []
    for what, passed_s, which in steps:
        now_s += passed_s
        was_out = breaker.out
        if what == "go":
            if breaker.wait_s(now_s) == 0:
                calls.append((now_s, breaker.enter()))
        elif calls:
            started_s, probe = calls.pop(which % len(calls))
            if what == "answered":
                breaker.answered(started_s)
            elif what == "abandon":
                if probe:
                    breaker.abandon(started_s)
            else:
                kind = FailureKind(what)
                fail(breaker, failure(kind), now_s, started_s=started_s, probe=probe)
        if breaker.out and not was_out:
            out_since_s = now_s
        if breaker.out:
            assert sum(probe and started_s >= out_since_s for started_s, probe in calls) <= 1
    # Nobody waits for ever for a call that came back.
    for started_s, probe in calls:
        if probe:
            breaker.abandon(started_s)
    assert breaker.wait_s(now_s) <= OUTAGE_CAP_S
