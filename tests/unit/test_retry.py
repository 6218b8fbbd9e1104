"""What is done about each kind of failure."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.retry import (
    BACKOFF_BASE_S,
    BACKOFF_CAP_S,
    POLICIES,
    GiveUp,
    Retry,
    decide,
    policy_of,
)
from overnight.model import Failure, FailureKind

GIVEN_UP = {
    FailureKind.INVALID_REQUEST,
    FailureKind.AUTHENTICATION,
    FailureKind.BILLING,
    FailureKind.PERMISSION,
    FailureKind.NOT_FOUND,
    FailureKind.TOO_LARGE,
    FailureKind.INTERNAL,
}


def failure(
    kind: FailureKind, retry_after_s: float | None = None, status: int | None = None
) -> Failure:
    return Failure(
        kind=kind, error_type="api_error", message="", status=status, retry_after_s=retry_after_s
    )


def test_every_kind_of_failure_has_a_policy() -> None:
    assert POLICIES.keys() == set(FailureKind)


@pytest.mark.parametrize("kind", FailureKind)
def test_only_what_may_pass_is_tried_again(kind: FailureKind) -> None:
    decision = decide(failure(kind), attempts=1, max_attempts=5, random=Random(1))
    assert isinstance(decision, GiveUp) == (kind in GIVEN_UP)


@pytest.mark.parametrize("kind", set(FailureKind) - GIVEN_UP)
def test_attempts_that_are_charged_run_out(kind: FailureKind) -> None:
    decision = decide(failure(kind), attempts=5, max_attempts=5, random=Random(1))
    assert isinstance(decision, GiveUp) == policy_of(failure(kind)).charged


def test_an_unreachable_backend_uses_up_no_attempts() -> None:
    decision = decide(
        failure(FailureKind.UNREACHABLE), attempts=1_000, max_attempts=1, random=Random(1)
    )
    assert isinstance(decision, Retry) and not decision.charged


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.OVERLOADED])
def test_a_cooldown_that_says_when_it_ends_uses_up_no_attempts(kind: FailureKind) -> None:
    assert not policy_of(failure(kind, 3.0)).charged
    assert policy_of(failure(kind)).charged


def test_a_server_that_is_unavailable_for_a_stated_time_uses_up_no_attempts() -> None:
    assert not policy_of(failure(FailureKind.SERVER_ERROR, 3.0, status=503)).charged
    assert policy_of(failure(FailureKind.SERVER_ERROR, 3.0, status=500)).charged


def test_what_is_not_charged_never_runs_out() -> None:
    decision = decide(
        failure(FailureKind.SERVER_ERROR),
        attempts=5,
        max_attempts=5,
        random=Random(1),
        charged=False,
    )
    assert isinstance(decision, Retry) and not decision.charged


def test_what_is_charged_against_its_kind_runs_out() -> None:
    limited = failure(FailureKind.RATE_LIMITED, 3.0)
    decision = decide(limited, attempts=5, max_attempts=5, random=Random(1), charged=True)
    assert isinstance(decision, GiveUp)


def test_a_refusal_of_the_request_is_final_whatever_is_charged() -> None:
    refused = failure(FailureKind.INVALID_REQUEST)
    decision = decide(refused, attempts=0, max_attempts=5, random=Random(1), charged=False)
    assert isinstance(decision, GiveUp)


@given(
    attempts=st.integers(0, 200),
    retry_after_s=st.none() | st.floats(0, 3_600),
    seed=st.integers(0, 1_000),
)
def test_a_wait_is_bounded_and_never_undercuts_what_the_backend_asked_for(
    attempts: int, retry_after_s: float | None, seed: int
) -> None:
    decision = decide(
        failure(FailureKind.OVERLOADED, retry_after_s),
        attempts=attempts,
        max_attempts=1_000,
        random=Random(seed),
    )
    assert isinstance(decision, Retry)
    asked = retry_after_s or 0.0
    assert asked <= decision.after_s <= asked + BACKOFF_CAP_S
    if attempts <= 1:
        assert decision.after_s <= asked + BACKOFF_BASE_S


def test_waits_are_spread_over_the_whole_range() -> None:
    random = Random(7)
    waits = [
        decision.after_s
        for _ in range(1_000)
        if isinstance(
            decision := decide(
                failure(FailureKind.RESET), attempts=4, max_attempts=9, random=random
            ),
            Retry,
        )
    ]
    ceiling = BACKOFF_BASE_S * 8
    assert len(waits) == 1_000
    # Full jitter: each quarter of the range gets about its share.
    for quarter in range(4):
        share = [w for w in waits if quarter * ceiling / 4 <= w < (quarter + 1) * ceiling / 4]
        assert 200 <= len(share) <= 300
