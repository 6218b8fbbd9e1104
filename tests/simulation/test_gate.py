"""The gate before backends with limits, faults, outages and slow hours, in simulated time."""

from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple

import pytest
from tests.simulation.dispatching import Moment, Outcome, simulate
from tests.simulation.serving import Limits, Request, Server, Span

from overnight.dispatch.gate import Gate
from overnight.model import FailureKind

Told = Literal["at start", "at end"]

LIMITS = Limits(requests=4_000, input_tokens=2_000_000, output_tokens=400_000)
HALF = Limits(*(limit // 2 for limit in LIMITS))
DOUBLE = Limits(*(limit * 2 for limit in LIMITS))
TOKEN_S = 0.03
# First byte, then 50 to 350 tokens at 30 ms, a fifth more or less.
SHORTEST_S, LONGEST_S = 1 + 50 * TOKEN_S * 0.8, 1 + 350 * TOKEN_S * 1.2


def asked(count: int, *, first: int = 0) -> list[Request]:
    """Make requests with about 1,000 tokens in and 200 out."""
    random = Random(1)
    return [
        Request(
            number,
            input_tokens=random.randint(500, 1_500),
            output_tokens=random.randint(50, 350),
        )
        for number in range(first, first + count)
    ]


ASKED = asked(20_000)


class Run(NamedTuple):
    outcome: Outcome
    server: Server
    gate: Gate

    @property
    def refused(self) -> float:
        """Give the share of calls that were refused for a limit."""
        return len(self.server.refused) / self.server.calls


def run(
    server: Server,
    requests: Sequence[Request] = ASKED,
    *,
    senders: int = 600,
    realtime: Sequence[tuple[float, Request]] = (),
) -> Run:
    """Send all requests through a new gate."""
    gate = Gate(ceiling=senders, random=Random(2), cuts_stragglers=True)
    outcome = simulate(requests, senders=senders, server=server, gate=gate, realtime=realtime)
    assert not outcome.errored
    assert len(outcome.sent) == len(requests)
    assert gate.in_flight == 0
    return Run(outcome, server, gate)


def least_s(requests: Sequence[Request], *schedule: tuple[float, Limits]) -> float:
    """Give the seconds that these requests need at least under limits that change at times."""
    needs = (
        len(requests),
        sum(request.input_tokens for request in requests),
        sum(request.output_tokens for request in requests),
    )
    return max(
        _least_s(need, [(from_s, limits[kind]) for from_s, limits in schedule])
        for kind, need in enumerate(needs)
    )


def _least_s(need: float, schedule: Sequence[tuple[float, int]]) -> float:
    """Give the seconds until a bucket that begins full has given so much."""
    need -= schedule[0][1]
    ends = [from_s for from_s, _ in schedule[1:]] + [float("inf")]
    for (from_s, limit), until_s in zip(schedule, ends, strict=True):
        given = (until_s - from_s) * limit / 60
        if need <= given:
            return from_s + need * 60 / limit
        need -= given
    raise AssertionError("the last limit holds for ever")


def between(outcome: Outcome, from_s: float, until_s: float) -> list[Moment]:
    return [moment for moment in outcome.moments if from_s <= moment.at_s <= until_s]


@pytest.mark.parametrize("charges", ["at start", "at end"])
@pytest.mark.parametrize("states", ["at start", "at end"])
def test_stated_limits_are_used_up_and_kept(states: Told, charges: Told) -> None:
    server = Server(token_s=TOKEN_S, limits=[(0, LIMITS)], states=states, charges=charges)
    done = run(server)
    assert done.outcome.ended_s <= 1.05 * least_s(ASKED, (0, LIMITS))
    assert done.refused <= 0.001
    assert done.outcome.cut == 0
    assert not +done.outcome.charged


# With 13 and 15 a request hangs that failed before, near the end.
@pytest.mark.parametrize("seed", [0, 1, 13, 15])
def test_faults_and_hung_calls_cost_little(seed: int) -> None:
    server = Server(
        seed=seed, token_s=TOKEN_S, limits=[(0, LIMITS)], faults=0.01, hangs=0.0005
    )  # fmt: skip
    done = run(server)
    assert done.outcome.ended_s <= 1.10 * least_s(ASKED, (0, LIMITS))
    assert done.refused <= 0.001
    # About ten hang.
    assert 5 <= done.outcome.cut <= 15


@pytest.mark.parametrize("states", ["at start", "at end"])
@pytest.mark.parametrize("limits", [HALF, DOUBLE], ids=["halved", "doubled"])
def test_a_limit_that_changes_in_the_middle_is_followed(limits: Limits, states: Told) -> None:
    schedule = [(0.0, LIMITS), (200.0, limits)]
    done = run(Server(token_s=TOKEN_S, limits=schedule, states=states))
    assert done.outcome.ended_s <= 1.05 * least_s(ASKED, *schedule)
    assert done.refused <= 0.001


def test_limits_that_others_use_too_are_found_out() -> None:
    done = run(Server(token_s=TOKEN_S, limits=[(0, LIMITS)], others=0.2))
    left = Limits(*(limit * 8 // 10 for limit in LIMITS))
    assert done.outcome.ended_s <= 1.05 * least_s(ASKED, (0, LIMITS), (0, left))
    assert done.refused <= 0.01
    assert not +done.outcome.charged


def test_limits_that_nobody_states_are_lived_with() -> None:
    done = run(Server(token_s=TOKEN_S, limits=[(0, LIMITS)], states="nothing"))
    assert done.outcome.ended_s <= 1.05 * least_s(ASKED, (0, LIMITS))
    assert done.refused <= 0.05
    assert not +done.outcome.charged


def test_small_limits_are_kept_from_the_beginning() -> None:
    small, few = Limits(50, 50_000, 10_000), ASKED[:500]
    done = run(Server(token_s=TOKEN_S, limits=[(0, small)]), few, senders=64)
    assert done.outcome.ended_s <= 1.05 * least_s(few, (0, small))
    # Estimates of single calls matter here.
    assert done.refused <= 0.01
    assert not +done.outcome.charged


def test_one_request_larger_than_a_limit_does_not_keep_the_others_from_ending() -> None:
    small = Limits(50, 30_000, 10_000)
    few = ASKED[:200]
    few[100] = few[100]._replace(input_tokens=80_000)
    done = run(Server(token_s=TOKEN_S, limits=[(0, small)]), few, senders=64)
    assert done.outcome.ended_s <= 1.05 * least_s(few, (0, small))


DEAD = Span(100, 700)


@pytest.mark.parametrize(
    ("kind", "charged"),
    [
        # Only what was under way when it began.
        (FailureKind.UNREACHABLE, 0),
        # And those by which it was noticed.
        (FailureKind.SERVER_ERROR, 16),
        (FailureKind.OVERLOADED, 32),
    ],
)
def test_a_backend_that_is_dead_for_ten_minutes(kind: FailureKind, charged: int) -> None:
    few = ASKED[:12_000]
    done = run(Server(token_s=TOKEN_S, dead=DEAD, dead_kind=kind), few, senders=300)
    under_way = between(done.outcome, 99, 100)[-1].in_flight
    assert done.outcome.charged.total() <= under_way + charged
    assert max(done.outcome.charged.values()) == 1
    # In the first second it is found out; then there are few probes.
    assert len([at_s for at_s in done.server.unheard if at_s > DEAD.from_s + 2]) <= 40
    first_s = min(one.at_s for one in done.outcome.sent if one.at_s >= DEAD.until_s)
    assert first_s <= DEAD.until_s + 30
    # A minute later a good part of the calls is under way again, three minutes later all.
    assert between(done.outcome, 790, 790)[0].in_flight >= 150
    assert between(done.outcome, 910, 910)[0].in_flight == 300


def test_a_small_batch_outlives_an_outage_that_it_begins_with() -> None:
    dead = Span(0, 600)
    done = run(Server(dead=dead, dead_kind=FailureKind.SERVER_ERROR), ASKED[:8], senders=64)
    assert done.outcome.ended_s <= 600 + 30 + 10


def test_a_backend_that_slows_down_ten_times_gets_fewer_calls_and_then_all() -> None:
    slow = Span(60, 360)
    done = run(Server(token_s=TOKEN_S, slow=slow), asked(8_000), senders=100)
    limits = {moment.at_s: moment.limit for moment in done.outcome.moments}
    assert limits[60] == 100
    assert limits[360] <= 35
    assert min(limits.values()) == 25
    # What began slowly ends slowly; then 24 windows of seven seconds bring it back.
    assert limits[360 + 10 * LONGEST_S + 24 * 7] == 100
    # Some of the first ones looked like stragglers.
    assert done.outcome.cut <= 10


def test_a_backend_that_stays_slow_gets_all_calls_again() -> None:
    few = asked(2_000)
    done = run(Server(token_s=TOKEN_S, slow=Span(60, 10**6)), few, senders=100)
    assert min(moment.limit for moment in done.outcome.moments) == 25
    assert done.outcome.moments[-1].limit == 100


@pytest.mark.parametrize("answers", ["long", "short and long"])
def test_long_answers_are_not_taken_for_a_slow_backend(answers: str) -> None:
    few = asked(3_000)
    longer = [
        request._replace(output_tokens=request.output_tokens * 30, max_tokens=16_000)
        if answers == "long" or request.number % 2
        else request
        for request in few[1_000:]
    ]
    done = run(Server(token_s=TOKEN_S), few[:1_000] + longer, senders=100)
    assert {moment.limit for moment in done.outcome.moments} == {100}
    assert done.outcome.cut == 0


def test_a_full_backend_is_not_taken_for_a_slow_one() -> None:
    """Calls of one batch after the other, each with a tail that goes fast."""
    gate = Gate(ceiling=200, random=Random(2), cuts_stragglers=True)
    for number in range(3):
        few = asked(1_000, first=1_000 * number)
        server = Server(token_s=TOKEN_S, slots=25)
        outcome = simulate(few, senders=200, server=server, gate=gate)
        assert {moment.limit for moment in outcome.moments} == {200}
        assert outcome.ended_s <= 1.1 * 1_000 * (SHORTEST_S + LONGEST_S) / 2 / 25


def test_a_backend_that_takes_so_many_calls_at_once_is_kept_busy() -> None:
    few = ASKED[:5_000]
    done = run(Server(token_s=TOKEN_S, most_at_once=100), few, senders=300)
    at_best_s = 5_000 * (SHORTEST_S + LONGEST_S) / 2 / 100
    assert done.outcome.ended_s <= 1.25 * at_best_s
    assert max(done.outcome.charged.values()) <= 2
    assert between(done.outcome, 60, 300) and all(
        moment.limit >= 60 for moment in between(done.outcome, 60, 300)
    )


def test_failures_here_and_there_do_not_cost_throughput() -> None:
    few = ASKED[:5_000]
    done = run(Server(token_s=TOKEN_S, faults=0.05), few, senders=200)
    assert min(moment.limit for moment in done.outcome.moments) == 200


def live(from_s: float, until_s: float, per_s: int) -> list[tuple[float, Request]]:
    """Make real-time calls, so many a second."""
    count = int((until_s - from_s) * per_s)
    return [
        (from_s + number / per_s, request)
        for number, request in enumerate(asked(count, first=1_000_000))
    ]


def test_batches_make_room_for_real_time_calls_within_the_time_of_one_request() -> None:
    few = ASKED[:7_000]
    done = run(Server(token_s=TOKEN_S), few, senders=200, realtime=live(100, 160, per_s=20))
    before, after = between(done.outcome, 99, 99)[0], between(done.outcome, 100, 160)
    assert before.in_flight == 200
    for moment in after:
        if moment.at_s >= 100 + LONGEST_S:
            assert moment.in_flight + moment.realtime_in_flight <= 205
    assert between(done.outcome, 300, 300)[0].in_flight >= 195
    assert len(done.outcome.realtime) == 60 * 20


def test_batches_leave_rate_limits_to_real_time_calls() -> None:
    server = Server(token_s=TOKEN_S, limits=[(0, LIMITS)])
    done = run(server, realtime=live(100, 160, per_s=15))
    assert not server.refused
    assert len(done.outcome.realtime) == 60 * 15
    assert max(seconds for _, seconds in done.outcome.realtime) <= LONGEST_S
    both = [*ASKED, *(request for _, request in live(100, 160, per_s=15))]
    assert done.outcome.ended_s <= 1.05 * least_s(both, (0, LIMITS))


def test_a_simulation_is_the_same_each_time() -> None:
    def once() -> Outcome:
        server = Server(
            seed=3, token_s=TOKEN_S, limits=[(0, LIMITS)], faults=0.01, dead=Span(10, 30)
        )
        return run(server, ASKED[:3_000]).outcome

    assert once() == once()
