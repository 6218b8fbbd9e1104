"""What stands before a backend: one cooldown for all, one probe after an outage."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from overnight.dispatch.gate import OUTAGE_BASE_S, OUTAGE_CAP_S, PROBE_POLL_S, Gate
from overnight.dispatch.retry import RETRY_AFTER_CAP_S
from overnight.model import Failure, FailureKind

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def failure(kind: FailureKind, retry_after_s: float | None = None) -> Failure:
    return Failure(kind=kind, error_type="api_error", message="", retry_after_s=retry_after_s)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


@pytest.fixture
def gate() -> Gate:
    return Gate(random=Random(1))


def test_a_new_gate_is_open(gate: Gate) -> None:
    assert gate.open
    assert gate.wait_s(NOW) == 0


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.OVERLOADED])
def test_a_stated_time_closes_the_gate_for_everyone(gate: Gate, kind: FailureKind) -> None:
    gate.failed(failure(kind, 20), NOW)
    assert not gate.open
    assert gate.wait_s(NOW + seconds(5)) == pytest.approx(15)
    assert gate.wait_s(NOW + seconds(20)) == 0
    assert gate.open


def test_a_shorter_time_does_not_shorten_a_longer_one(gate: Gate) -> None:
    gate.failed(failure(FailureKind.RATE_LIMITED, 20), NOW)
    gate.failed(failure(FailureKind.RATE_LIMITED, 1), NOW)
    gate.answered()
    assert gate.wait_s(NOW) == pytest.approx(20)


@pytest.mark.parametrize(
    "kind",
    set(FailureKind) - {FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.UNREACHABLE},
)
def test_a_failure_of_one_request_holds_nobody_back(gate: Gate, kind: FailureKind) -> None:
    gate.failed(failure(kind, 20), NOW)
    assert gate.open


def test_a_limit_without_a_time_holds_nobody_else_back(gate: Gate) -> None:
    gate.failed(failure(FailureKind.RATE_LIMITED), NOW)
    assert gate.open


def test_after_an_outage_one_sender_probes_and_the_others_wait(gate: Gate) -> None:
    gate.failed(failure(FailureKind.UNREACHABLE), NOW)
    wait_s = gate.wait_s(NOW)
    assert OUTAGE_BASE_S <= wait_s <= 2 * OUTAGE_BASE_S
    later = NOW + seconds(wait_s)
    assert gate.wait_s(later) == 0
    assert gate.wait_s(later) == PROBE_POLL_S
    assert not gate.open
    gate.answered()
    assert gate.open
    assert gate.wait_s(later) == 0


def test_a_probe_that_went_away_leaves_its_place_to_another(gate: Gate) -> None:
    gate.failed(failure(FailureKind.UNREACHABLE), NOW)
    later = NOW + seconds(2 * OUTAGE_BASE_S)
    assert gate.wait_s(later) == 0
    gate.abandoned()
    assert gate.wait_s(later) == 0


def test_calls_that_break_together_are_one_outage(gate: Gate) -> None:
    for _ in range(64):
        gate.failed(failure(FailureKind.UNREACHABLE), NOW)
    assert gate.wait_s(NOW) <= 2 * OUTAGE_BASE_S


def test_failed_probes_wait_longer_up_to_a_cap(gate: Gate) -> None:
    now = NOW
    waits: list[float] = []
    for _ in range(12):
        gate.failed(failure(FailureKind.UNREACHABLE), now)
        waits.append(gate.wait_s(now))
        now += seconds(waits[-1])
        assert gate.wait_s(now) == 0
    assert waits[0] < waits[2] < waits[4]
    assert all(OUTAGE_CAP_S / 2 <= wait <= OUTAGE_CAP_S for wait in waits[-4:])


def test_an_error_answer_ends_an_outage_too(gate: Gate) -> None:
    gate.failed(failure(FailureKind.UNREACHABLE), NOW)
    gate.wait_s(NOW + seconds(10))
    gate.failed(failure(FailureKind.SERVER_ERROR), NOW)
    assert gate.wait_s(NOW + seconds(10)) == 0
    assert gate.open


@pytest.mark.parametrize("retry_after_s", [1e6, 1e18, 1e300])
def test_a_time_beyond_reason_closes_the_gate_for_an_hour_and_no_longer(
    gate: Gate, retry_after_s: float
) -> None:
    gate.failed(failure(FailureKind.RATE_LIMITED, retry_after_s), NOW)
    assert gate.wait_s(NOW) == RETRY_AFTER_CAP_S
    assert gate.wait_s(NOW + seconds(RETRY_AFTER_CAP_S)) == 0


def test_a_clock_that_is_set_back_does_not_keep_the_gate_closed(gate: Gate) -> None:
    gate.failed(failure(FailureKind.RATE_LIMITED, 20), NOW)
    assert gate.wait_s(NOW - seconds(86_400)) == 0
    assert gate.open
