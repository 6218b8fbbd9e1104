"""Rate limits mirrored: nothing is sent to be refused, and answers correct the mirror."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overnight.dispatch.bucket import Bucket
from overnight.dispatch.pacer import Pacer, Paid
from overnight.model import Limit, Need

Of = Literal["requests", "input_tokens", "output_tokens"]
NONE = Need(0, 0)


def limit(of: Of, per_minute: int, remaining: int | None = None) -> Limit:
    return Limit(
        of=of, per_minute=per_minute, remaining=per_minute if remaining is None else remaining
    )


def pacer(*limits: Limit) -> Pacer:
    """Make a pacer that heard of these limits when nothing was under way."""
    pacer = Pacer()
    hear(pacer, *limits, asked_s=-1, now_s=0)
    return pacer


def hear(
    pacer: Pacer, *limits: Limit, asked_s: float, now_s: float, calls: int = 0, each: Need = NONE
) -> None:
    pacer.learn(limits, asked_s, now_s, unheard=each, calls=calls)


def send(pacer: Pacer, now_s: float, need: Need = NONE) -> list[Paid]:
    """Send all that may be sent now."""
    sent = []
    while pacer.wait_s(need, now_s) == 0:
        sent.append(pacer.take(need, now_s))
    return sent


def test_who_knows_of_no_limit_waits_for_none() -> None:
    assert Pacer().wait_s(Need(10**9, 10**9), 0) == 0


def test_a_full_bucket_gives_a_minutes_worth_at_once_and_then_its_rate() -> None:
    mine = pacer(limit("requests", 600))
    # A little is left for errors.
    assert len(send(mine, 0)) == 597
    assert mine.wait_s(NONE, 0) == pytest.approx(0.1)
    assert len(send(mine, 1)) == 10
    assert len(send(mine, 601)) == 597


def test_the_scarcest_limit_counts() -> None:
    mine = pacer(limit("requests", 600), limit("input_tokens", 60_000), limit("output_tokens", 6))
    mine.take(Need(70_000, 1), 0)
    assert mine.wait_s(Need(1_000, 1), 0) == pytest.approx(11.3)
    assert mine.wait_s(Need(0, 0), 0) == pytest.approx(10.3)


def test_a_request_larger_than_a_bucket_goes_when_it_is_full_and_is_paid_for() -> None:
    mine = pacer(limit("input_tokens", 60_000))
    mine.take(Need(30_000, 0), 0)
    large = Need(150_000, 0)
    assert mine.wait_s(large, 0) == pytest.approx(30)
    paid = mine.take(large, 30)
    assert mine.too_large(paid)
    assert mine.wait_s(Need(600, 0), 30) == pytest.approx(90.9)


def test_a_share_is_left_for_others() -> None:
    mine = pacer(limit("requests", 600))
    while mine.wait_s(NONE, 0, reserve=0.1) == 0:
        mine.take(NONE, 0)
    assert len(send(mine, 0)) == 60


def test_estimates_follow_what_came_of_them() -> None:
    mine = pacer(limit("output_tokens", 60_000))
    for _ in range(100):
        mine.settle(mine.take(Need(0, 1_000), 0), Need(0, 100))
    # 10,000 were used; each call is now expected to take 100.
    assert len(send(mine, 0, Need(0, 1_000))) == 497


def test_estimates_are_learned_from_calls_that_paid_for_nothing_too() -> None:
    mine = pacer(limit("output_tokens", 60_000))
    mine.settle(Paid(Need(0, 1_000)), Need(0, 100))
    assert len(send(mine, 0, Need(0, 1_000))) == 597


def test_groups_share_configured_limits_and_estimate_for_themselves() -> None:
    shared = [Bucket(limit("output_tokens", 60_000), 0)]
    talkative, brief = Pacer(shared), Pacer(shared)
    brief.settle(Paid(Need(0, 1_000)), Need(0, 100))
    assert len(send(talkative, 0, Need(0, 10_000))) == 5
    assert len(send(brief, 0, Need(0, 1_000))) == 97


@pytest.mark.parametrize("sent", [True, False])
def test_a_failed_call_wrote_nothing_and_took_nothing_when_it_was_not_sent(sent: bool) -> None:
    mine = pacer(
        limit("requests", 600), limit("input_tokens", 60_000), limit("output_tokens", 60_000)
    )
    for paid in [mine.take(Need(5_000, 5_000), 0) for _ in range(10)]:
        mine.refund(paid, sent=sent)
    assert mine.wait_s(Need(0, 59_000), 0) == 0
    assert (mine.wait_s(Need(20_000, 0), 0) == 0) is not sent
    assert len(send(mine, 0)) == (587 if sent else 597)


def test_calls_that_were_under_way_before_the_limit_was_known_are_counted() -> None:
    mine = Pacer()
    hear(mine, limit("requests", 50, 49), asked_s=0, now_s=5, calls=31, each=Need(900, 100))
    hear(
        mine, limit("input_tokens", 50_000, 49_000), asked_s=0, now_s=6, calls=31,
        each=Need(900, 100),
    )  # fmt: skip
    assert len(send(mine, 6)) == 18
    assert mine.wait_s(Need(22_000, 0), 6) > 0


def test_a_limit_that_was_thought_too_low_is_put_right_by_a_later_call() -> None:
    mine = Pacer()
    hear(mine, limit("requests", 600, 500), asked_s=0, now_s=5, calls=100)
    # The answer had counted them already.
    hear(mine, limit("requests", 600, 500), asked_s=5, now_s=6)
    assert len(send(mine, 6)) in (496, 497)


def test_what_others_take_is_seen() -> None:
    mine = pacer(limit("requests", 600))
    hear(mine, limit("requests", 600, 200), asked_s=0, now_s=1)
    assert len(send(mine, 1)) in (197, 198)


def test_an_answer_that_was_stated_long_ago_fills_nothing() -> None:
    mine = pacer(limit("requests", 600))
    for _ in range(500):
        mine.take(NONE, 1)
    # Of a call that was sent before them, and had its headers before them too.
    hear(mine, limit("requests", 600, 599), asked_s=0.5, now_s=2)
    assert len(send(mine, 2)) in range(105, 109)


def test_an_answer_that_was_stated_long_ago_takes_nothing() -> None:
    mine = pacer(limit("requests", 600))
    send(mine, 0)
    for second in range(1, 31):
        mine.wait_s(NONE, second)
    hear(mine, limit("requests", 600, 3), asked_s=0, now_s=30)
    assert len(send(mine, 30)) == 300


def test_of_two_stated_limits_that_of_the_later_call_counts() -> None:
    mine = pacer(limit("requests", 600))
    hear(mine, limit("requests", 60, 60), asked_s=10, now_s=11)
    hear(mine, limit("requests", 600, 600), asked_s=9, now_s=12)
    assert len(send(mine, 12)) == 59
    hear(mine, limit("requests", 6_000, 1), asked_s=12, now_s=13)
    assert mine.wait_s(NONE, 13) == pytest.approx(0.3, abs=0.02)


def test_nothing_remaining_may_be_a_debt() -> None:
    mine = pacer(limit("input_tokens", 60_000))
    mine.take(Need(180_000, 0), 0)
    hear(mine, limit("input_tokens", 60_000, 0), asked_s=1, now_s=2)
    assert mine.wait_s(Need(0, 0), 2) == pytest.approx(118.3)


def test_output_that_a_server_counts_when_it_is_there_is_counted_when_it_is_expected() -> None:
    mine = pacer(limit("output_tokens", 60_000))
    under_way = [mine.take(Need(0, 1_000), 0) for _ in range(40)]
    stated = limit("output_tokens", 60_000, 60_000)
    hear(mine, stated, asked_s=1, now_s=2)
    assert len(send(mine, 2, Need(0, 1_000))) == 21
    for paid in under_way:
        mine.settle(paid, Need(0, 1_000))
    # They are still missing, although it could count them now.
    hear(mine, limit("output_tokens", 60_000, 40_000), asked_s=3, now_s=4)
    assert 16 <= len(send(mine, 4, Need(0, 1_000))) <= 20


def test_a_limit_that_was_halved_leaves_no_more_than_a_minutes_worth() -> None:
    mine = pacer(limit("requests", 600))
    hear(mine, limit("requests", 300, 300), asked_s=1, now_s=2)
    assert len(send(mine, 2)) == 298


def test_answers_within_a_moment_correct_once() -> None:
    mine = pacer(limit("requests", 600))
    hear(mine, limit("requests", 600, 200), asked_s=1, now_s=2)
    hear(mine, limit("requests", 600, 10), asked_s=1, now_s=2.001)
    assert len(send(mine, 2)) > 190


def test_after_a_refusal_there_is_what_the_call_needed_when_it_was_told() -> None:
    mine = pacer(limit("input_tokens", 60_000))
    paid = mine.take(Need(5_000, 0), 0)
    mine.refund(paid, sent=False)
    assert not mine.refused(paid, (), 10.0, 0)
    # A margin beside the 5,000.
    assert mine.wait_s(Need(5_000, 0), 0) == pytest.approx(10.3)


def test_a_refusal_without_a_time_empties_the_bucket() -> None:
    mine = pacer(limit("input_tokens", 60_000))
    paid = mine.take(Need(5_000, 0), 0)
    mine.refund(paid, sent=False)
    mine.refused(paid, (), 0.0, 0)
    assert mine.wait_s(Need(5_000, 0), 0) == pytest.approx(5.3)


def test_a_refusal_is_explained_by_a_limit_that_is_used_up() -> None:
    mine = pacer(limit("requests", 600), limit("input_tokens", 60_000))
    paid = mine.take(Need(5_000, 0), 0)
    mine.refund(paid, sent=False)
    used_up, left = limit("requests", 600, 0), limit("requests", 600, 300)
    assert mine.refused(paid, (used_up, limit("input_tokens", 60_000, 40_000)), 1.0, 0)
    assert not mine.refused(paid, (left, limit("input_tokens", 60_000, 40_000)), 1.0, 0)
    # Where there was enough left, nothing was wrong.
    assert mine.wait_s(Need(59_000, 0), 1.5) == 0


def test_what_is_told_of_the_time_before_a_refusal_is_old() -> None:
    mine = pacer(limit("requests", 600))
    paid = mine.take(NONE, 1)
    mine.refund(paid, sent=False)
    mine.refused(paid, (limit("requests", 600, 0),), 10.0, 2)
    hear(mine, limit("requests", 600, 500), asked_s=1, now_s=3)
    assert mine.wait_s(NONE, 3) > 9
    hear(mine, limit("requests", 600, 500), asked_s=2.5, now_s=4)
    assert mine.wait_s(NONE, 4) == 0


def test_a_clock_that_stands_still_fills_nothing() -> None:
    mine = pacer(limit("requests", 600))
    assert len(send(mine, 100)) == 597
    assert mine.wait_s(NONE, 100) == mine.wait_s(NONE, 50)


class Server:
    """Buckets that begin full; refuses what it has not."""

    def __init__(self, **per_minute: int) -> None:
        self.per_minute = per_minute
        self.level = {of: float(full) for of, full in per_minute.items()}
        self.at_s = 0.0

    def fill(self, now_s: float) -> None:
        for of, full in self.per_minute.items():
            passed_s = now_s - self.at_s
            self.level[of] = min(float(full), self.level[of] + passed_s * full / 60)
        self.at_s = now_s

    def admits(self, need: Need, now_s: float) -> bool:
        self.fill(now_s)
        amounts = {"requests": 1, **need._asdict()}
        # A rounding error must not refuse a call that waited until a bucket was full.
        if any(
            self.level[of] + 1e-5 * full < min(amounts[of], full)
            for of, full in self.per_minute.items()
        ):
            return False
        for of in self.per_minute:
            self.level[of] -= amounts[of]
        return True

    def states(self, now_s: float) -> tuple[Limit, ...]:
        self.fill(now_s)
        kinds: tuple[Of, ...] = ("requests", "input_tokens", "output_tokens")
        return tuple(
            limit(
                of,
                self.per_minute[of],
                int(max(0, self.level[of] if of == "requests" else round(self.level[of], -3))),
            )
            for of in kinds
        )


@given(
    per_minute=st.tuples(
        st.integers(1, 5_000), st.integers(1, 2_000_000), st.integers(1, 400_000)
    ),
    calls=st.lists(
        st.tuples(
            st.integers(0, 60_000), st.integers(1, 8_000), st.floats(0, 3), st.floats(0, 90),
            st.floats(0, 1),
        ),
        max_size=60,
    ),
)  # fmt: skip
@example(per_minute=(50, 30_000, 8_000), calls=[(1_000, 200, 0.0, 4.0, 0.5)] * 60)
def test_a_server_that_is_mirrored_from_the_beginning_refuses_nothing(
    per_minute: tuple[int, int, int], calls: list[tuple[int, int, float, float, float]]
) -> None:
    requests, taken, given = per_minute
    server = Server(requests=requests, input_tokens=taken, output_tokens=given)
    mine = pacer(*server.states(0))
    events: list[tuple[float, int, Callable[[], None]]] = []
    numbers, now_s = count(), 0.0
    for input_tokens, output_tokens, gap_s, life_s, stated_at in calls:
        need = Need(input_tokens, output_tokens)
        now_s += gap_s
        while True:
            while events and events[0][0] <= now_s:
                heapq.heappop(events)[2]()
            wait_s = mine.wait_s(need, now_s)
            if wait_s == 0:
                break
            now_s = min(now_s + wait_s, events[0][0]) if events else now_s + wait_s
        paid = mine.take(need, now_s)
        assert server.admits(need, now_s)

        # The headers are made at some moment in the call's life, the answer is read at its end.
        stated: list[Limit] = []

        def state(at_s: float = now_s + life_s * stated_at, into: list[Limit] = stated) -> None:
            into += server.states(at_s)

        def end(
            paid: Paid = paid, asked_s: float = now_s, at_s: float = now_s + life_s,
            stated: list[Limit] = stated,
        ) -> None:  # fmt: skip
            mine.settle(paid, paid.need)
            hear(mine, *stated, asked_s=asked_s, now_s=at_s)

        heapq.heappush(events, (now_s + life_s * stated_at, next(numbers), state))
        heapq.heappush(events, (now_s + life_s, next(numbers), end))
