"""What stands before a backend: its four parts together, and real-time calls."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.breaker import OUTAGE_CAP_S
from overnight.dispatch.gate import Gate, Pass
from overnight.model import Failure, FailureKind, Limit, Need, Reply, Usage

FOREVER = float("inf")
NEED = Need(1_000, 1_024)


def reply(*limits: Limit, tokens: int = 200) -> Reply:
    usage = Usage(input_tokens=1_000, output_tokens=tokens)
    return Reply(message=b"{}", usage=usage, model="model", limits=limits)


def failure(
    kind: FailureKind, *limits: Limit, retry_after_s: float | None = None, status: int | None = None
) -> Failure:
    return Failure(
        kind=kind, error_type="api_error", message="", limits=limits,
        retry_after_s=retry_after_s, status=status,
    )  # fmt: skip


def requests_limit(per_minute: int, remaining: int | None = None) -> Limit:
    return Limit(
        of="requests",
        per_minute=per_minute,
        remaining=per_minute if remaining is None else remaining,
    )


def make(ceiling: int = 8, *limits: Limit, cuts_stragglers: bool = False) -> Gate:
    """Make a gate whose first call was answered."""
    gate = Gate(
        ceiling=ceiling, random=Random(1), limits=limits, cuts_stragglers=cuts_stragglers
    )  # fmt: skip
    gate.answered(gate.enter(0, NEED, 0), reply(), 1)
    return gate


def fill(gate: Gate, now_s: float) -> list[Pass]:
    """Send as many batch calls as may be under way."""
    sent = []
    while gate.wait_s(now_s) == 0:
        sent.append(gate.enter(0, NEED, now_s))
    return sent


def answer(gate: Gate, now_s: float, times: int, seconds: float = 2.0) -> None:
    for _ in range(times):
        gate.answered(gate.enter(0, NEED, now_s - seconds), reply(), now_s)


def away(gate: Gate, now_s: float) -> float:
    """Make an outage; give when a probe may go."""
    for _ in range(3):
        gate.failed(gate.enter(0, NEED, now_s), failure(FailureKind.UNREACHABLE), now_s)
    assert gate.breaker.out
    return now_s + gate.wait_s(now_s)


def test_as_many_calls_go_as_the_ceiling_says() -> None:
    gate = make(8)
    assert len(fill(gate, 1)) == 8
    assert gate.wait_s(1) == FOREVER


def test_before_the_first_answer_calls_double_every_two_seconds() -> None:
    gate = Gate(ceiling=100, random=Random(1))
    first = fill(gate, 10.25)
    assert len(first) == 16
    assert gate.wait_s(10.75) == pytest.approx(1.5)
    assert len(fill(gate, 12.25)) == 16
    assert len(fill(gate, 14.25)) == 32
    gate.answered(first[0], reply(), 14.5)
    assert len(fill(gate, 14.5)) == 37


def test_where_no_limits_are_to_be_learned_all_calls_go_at_once() -> None:
    gate = Gate(ceiling=100, random=Random(1), careful=False)
    assert len(fill(gate, 10)) == 100


def test_nobody_waits_for_more_calls_when_the_ceiling_is_reached() -> None:
    gate = Gate(ceiling=8, random=Random(1))
    assert len(fill(gate, 10)) == 8
    assert gate.wait_s(10) == FOREVER


def test_a_first_refusal_tells_of_limits_as_well_as_an_answer() -> None:
    gate = Gate(ceiling=100, random=Random(1))
    refused = fill(gate, 0)[0]
    limited = failure(FailureKind.RATE_LIMITED, requests_limit(60, 0), retry_after_s=1)
    gate.failed(refused, limited, 0.1)
    # The others were counted as well.
    assert gate.pace_s(0, NEED, 1.1) == pytest.approx(15, abs=1)
    assert gate.concurrency.limit == 100


def test_limits_that_answers_state_hold_for_their_group() -> None:
    gate = make(8)
    gate.answered(gate.enter(7, NEED, 1), reply(requests_limit(60, 0)), 2)
    assert gate.pace_s(7, NEED, 2) == pytest.approx(1.3)
    assert gate.pace_s(8, NEED, 2) == 0


def test_configured_limits_hold_for_all_groups_together() -> None:
    gate = make(8, requests_limit(60))
    for group in range(59):
        assert gate.pace_s(group, NEED, 1) == 0
        gate.enter(group, NEED, 1)
    assert gate.pace_s(99, NEED, 1) > 0


def test_a_stated_limit_does_not_lift_a_configured_one() -> None:
    gate = make(8, requests_limit(60))
    gate.answered(gate.enter(0, NEED, 1), reply(requests_limit(6_000)), 2)
    for _ in range(60):
        gate.enter(0, NEED, 2)
    assert gate.pace_s(0, NEED, 2) > 0


def test_cached_input_is_not_taken_from_limits() -> None:
    limit = Limit(of="input_tokens", per_minute=60_000, remaining=60_000)
    gate = make(8, limit)
    used = Usage(input_tokens=100, cache_write_5m_tokens=400, cache_read_tokens=90_000)
    told = Reply(message=b"{}", usage=used, model="model")
    gate.answered(gate.enter(0, Need(500, 10), 60), told, 60)
    # 500 were needed and taken, beside the margin.
    assert gate.pace_s(0, Need(59_199, 10), 60) == 0
    assert gate.pace_s(0, Need(59_201, 10), 60) > 0


def test_a_call_that_nobody_took_took_nothing() -> None:
    gate = make(8, requests_limit(60))
    for _ in range(3):
        gate.failed(gate.enter(0, NEED, 1), failure(FailureKind.RESET), 1)
    for _ in range(100):
        gate.failed(gate.enter(0, NEED, 1), failure(FailureKind.UNREACHABLE), 1)
    assert gate.pace_s(0, NEED, 1) == 0
    for _ in range(56):
        gate.enter(0, NEED, 1)
    assert gate.pace_s(0, NEED, 1) > 0


def test_a_call_that_was_not_sent_after_all_leaves_its_place() -> None:
    gate = make(1)
    (passed,) = fill(gate, 1)
    gate.abandoned(passed)
    assert gate.in_flight == 0
    assert gate.wait_s(1) == 0


def test_real_time_calls_never_wait_and_batches_leave_them_room() -> None:
    gate = make(8)
    batch = fill(gate, 10)
    live = [gate.enter(0, NEED, 10, realtime=True) for _ in range(5)]
    assert gate.in_flight == 13
    for passed in batch[:5]:
        gate.answered(passed, reply(), 11)
    # Three of eight are left, and those are under way.
    assert gate.wait_s(11) == FOREVER
    gate.answered(batch[5], reply(), 11)
    assert gate.wait_s(11) == 0
    for passed in live:
        gate.answered(passed, reply(), 11)
    # More of them may come any time, but not for ever.
    assert len(fill(gate, 11)) <= 2
    assert gate.wait_s(200) == 0


def test_one_batch_request_is_always_under_way() -> None:
    gate = make(8)
    for _ in range(50):
        gate.enter(0, NEED, 10, realtime=True)
    assert len(fill(gate, 10)) == 1


def test_real_time_calls_have_a_tenth_of_each_limit_to_themselves() -> None:
    gate = make(8, requests_limit(600))
    assert gate.pace_s(0, NEED, 100) == 0
    for _ in range(550):
        gate.enter(0, NEED, 100)
    assert gate.pace_s(0, NEED, 100) == 0
    gate.enter(0, NEED, 100, realtime=True)
    assert gate.pace_s(0, NEED, 100) == pytest.approx(1.5)
    # A minute after the last one it is given up.
    for _ in range(550):
        gate.enter(0, NEED, 160)
    assert gate.pace_s(0, NEED, 160) == 0


def test_after_an_outage_one_request_probes_and_then_few_go() -> None:
    gate = make(160)
    later_s = away(gate, 10)
    (probe,) = fill(gate, later_s)
    assert gate.wait_s(later_s) == FOREVER
    gate.answered(probe, reply(), later_s + 5)
    assert gate.concurrency.limit == 10
    assert len(fill(gate, later_s + 5)) == 10


def test_an_error_of_the_request_ends_an_outage_as_an_answer_does() -> None:
    gate = make(160)
    later_s = away(gate, 10)
    (probe,) = fill(gate, later_s)
    assert gate.failed(probe, failure(FailureKind.INVALID_REQUEST), later_s)
    assert gate.concurrency.limit == 10
    assert gate.wait_s(later_s) == 0


def test_a_real_time_call_is_no_probe() -> None:
    gate = make(8)
    later_s = away(gate, 10)
    live = gate.enter(0, NEED, later_s, realtime=True)
    assert len(fill(gate, later_s)) == 1
    gate.failed(live, failure(FailureKind.UNREACHABLE), later_s)
    assert gate.wait_s(later_s) == FOREVER


def test_a_probe_that_is_broken_off_lets_another_one_go() -> None:
    gate = make(8)
    later_s = away(gate, 10)
    (probe,) = fill(gate, later_s)
    gate.abandoned(probe)
    assert len(fill(gate, later_s)) == 1


CHARGES = {
    FailureKind.UNREACHABLE: False,
    FailureKind.RATE_LIMITED: True,
    FailureKind.OVERLOADED: True,
    FailureKind.SERVER_ERROR: True,
    FailureKind.RESET: True,
    FailureKind.TIMEOUT: True,
    FailureKind.MALFORMED: True,
    FailureKind.INVALID_REQUEST: True,
}


@pytest.mark.parametrize("kind", CHARGES)
def test_a_failure_is_charged_by_its_kind(kind: FailureKind) -> None:
    gate = make(8)
    assert gate.failed(gate.enter(0, NEED, 1), failure(kind), 2) == CHARGES[kind]


@pytest.mark.parametrize(
    "cooldown",
    [
        failure(FailureKind.RATE_LIMITED, retry_after_s=5),
        failure(FailureKind.OVERLOADED, retry_after_s=5),
        failure(FailureKind.SERVER_ERROR, retry_after_s=5, status=503),
    ],
)
def test_a_cooldown_is_charged_to_nobody(cooldown: Failure) -> None:
    gate = make(8)
    assert not gate.failed(gate.enter(0, NEED, 1), cooldown, 2)
    assert gate.wait_s(2) == pytest.approx(5)


def test_errors_during_an_outage_are_charged_to_nobody() -> None:
    gate = make(8)
    later_s = away(gate, 10)
    (probe,) = fill(gate, later_s)
    assert not gate.failed(probe, failure(FailureKind.SERVER_ERROR), later_s)


def test_a_request_that_no_limit_will_ever_allow_is_charged() -> None:
    gate = make(8, Limit(of="input_tokens", per_minute=30_000, remaining=30_000))
    passed = gate.enter(0, Need(50_000, 10), 60)
    limited = failure(FailureKind.RATE_LIMITED, retry_after_s=5)
    assert gate.failed(passed, limited, 60)


def test_refusals_for_an_unknown_limit_cut_the_concurrency() -> None:
    gate = make(40)
    for passed in fill(gate, 1)[:6]:
        gate.failed(passed, failure(FailureKind.RATE_LIMITED, retry_after_s=1), 2)
    assert gate.concurrency.limit == 28


def test_refusals_that_a_stated_limit_explains_do_not() -> None:
    gate = make(40)
    told = failure(FailureKind.RATE_LIMITED, requests_limit(60, 0), retry_after_s=1)
    for passed in fill(gate, 1):
        gate.failed(passed, told, 2)
    assert gate.concurrency.limit == 40


def test_a_refusal_although_much_is_left_is_for_too_many_at_once() -> None:
    gate = make(40)
    told = failure(FailureKind.RATE_LIMITED, requests_limit(6_000, 5_000))
    for passed in fill(gate, 1)[:6]:
        gate.failed(passed, told, 2)
    assert gate.concurrency.limit == 28


def test_a_backend_that_becomes_slow_gets_fewer_calls() -> None:
    gate = make(40)
    answer(gate, 10, 200)
    assert gate.concurrency.limit == 40
    answer(gate, 100, 60, seconds=20.0)
    assert gate.concurrency.limit < 40


def test_a_backend_that_stays_slow_gets_its_calls_back() -> None:
    gate = make(40)
    answer(gate, 10, 200)
    limits = set()
    for second in range(100, 400):
        answer(gate, float(second), 4, seconds=20.0)
        limits.add(gate.concurrency.limit)
    assert min(limits) == 10
    assert gate.concurrency.limit == 40


def test_hung_calls_are_named_once_and_cost_no_attempt() -> None:
    gate = make(8, cuts_stragglers=True)
    answer(gate, 10, 200)
    hung = gate.enter(0, NEED, 20)
    assert gate.stragglers(29.9) == []
    assert gate.stragglers(30.1) == [hung]
    assert gate.stragglers(31) == []
    assert not gate.failed(hung, failure(FailureKind.TIMEOUT), 31)
    assert gate.concurrency.limit == 8


def test_real_time_calls_are_not_cut() -> None:
    gate = make(8, cuts_stragglers=True)
    answer(gate, 10, 200)
    gate.enter(0, NEED, 20, realtime=True)
    assert gate.stragglers(900) == []


def test_nobody_is_cut_where_that_was_not_asked_for() -> None:
    gate = make(8)
    answer(gate, 10, 200)
    gate.enter(0, NEED, 20)
    assert gate.stragglers(900) == []


def test_a_backend_that_hangs_altogether_is_cut_a_few_times_only() -> None:
    gate = make(100, cuts_stragglers=True)
    answer(gate, 10, 400)
    fill(gate, 20)
    cut = sum(len(gate.stragglers(float(second))) for second in range(20, 600))
    # One to begin with and one for a hundred answers.
    assert cut == 5


def test_a_request_that_needs_long_has_more_time_from_its_third_attempt_on() -> None:
    gate = make(8, cuts_stragglers=True)
    answer(gate, 10, 200, seconds=8)
    second = gate.enter(0, NEED, 20, attempts=1)
    third = gate.enter(0, NEED, 20, attempts=2)
    assert gate.stragglers(36.1) == [second]
    assert gate.stragglers(83.9) == []
    assert gate.stragglers(84.1) == [third]


EVENTS = st.tuples(
    st.sampled_from(["send", "send", "live", "answered", "abandoned", "cut", *FailureKind]),
    st.floats(0, 30),
    st.integers(0, 99),
)


@given(
    ceiling=st.integers(1, 40),
    limits=st.none() | st.integers(1, 100),
    events=st.lists(EVENTS, max_size=150),
    seed=st.integers(0, 9),
)
def test_whatever_happens_batches_go_on(
    ceiling: int, limits: int | None, events: list[tuple[str | FailureKind, float, int]], seed: int
) -> None:
    random = Random(seed)
    gate = Gate(ceiling=ceiling, random=random, cuts_stragglers=True)
    now_s = 0.0
    under_way: list[Pass] = []
    for what, passed_s, which in events:
        now_s += passed_s
        stated = () if limits is None else (requests_limit(limits, random.randint(0, limits)),)
        if what == "send":
            if gate.wait_s(now_s) == 0 and gate.pace_s(0, NEED, now_s) == 0:
                under_way.append(gate.enter(0, NEED, now_s, attempts=which % 3))
        elif what == "live":
            under_way.append(gate.enter(0, NEED, now_s, realtime=True))
        elif what == "cut":
            for passed in gate.stragglers(now_s):
                under_way.remove(passed)
                gate.failed(passed, failure(FailureKind.TIMEOUT), now_s)
        elif under_way:
            passed = under_way.pop(which % len(under_way))
            if what == "answered":
                gate.answered(passed, reply(*stated), now_s)
            elif what == "abandoned":
                gate.abandoned(passed)
            else:
                retry_after_s = random.choice([None, 0.0, 7.0])
                gate.failed(
                    passed, failure(FailureKind(what), *stated, retry_after_s=retry_after_s), now_s
                )
        assert 1 <= gate.concurrency.limit <= ceiling
        assert gate.wait_s(now_s) >= 0
        assert len(under_way) == gate.in_flight >= gate.realtime_in_flight
    for passed in under_way:
        gate.abandoned(passed)
    assert gate.in_flight == gate.realtime_in_flight == 0
    # Nothing is under way: a request goes as soon as the backend and its limits let it.
    now_s += (wait_s := gate.wait_s(now_s))
    assert wait_s <= OUTAGE_CAP_S
    assert gate.wait_s(now_s + 1e-6) == 0
    pace_s = gate.pace_s(0, NEED, now_s)
    assert pace_s < 1_000_000
    assert gate.pace_s(0, NEED, now_s + pace_s) == 0
