"""What a backend's prompt cache holds, and for whom a leader pays."""

import pytest

from overnight.dispatch.warmth import PATIENCE_S, Goes, Waits, Warmth, worth_leading
from overnight.model import Caching, Prefix

SHORT, LONG = Prefix(1, 900), Prefix(2, 5_000)
MARKED = Prefix(3, 5_000, 300)


def test_a_prefix_is_cold_then_warming_then_warm() -> None:
    warmth = Warmth()
    assert warmth.ask([MARKED], 0.0) == Goes((MARKED,))
    warmth.start([MARKED], [MARKED], 0.0)
    assert warmth.ask([MARKED], 1.0) == Waits(MARKED.key)
    warmth.begin([MARKED], 0.0)
    assert warmth.ask([MARKED], 1.0) == Goes(())


def test_time_to_live_runs_from_the_start_of_the_last_request() -> None:
    warmth = Warmth()
    warmth.begin([MARKED], 10.0)
    assert warmth.ask([MARKED], 309.0) == Goes(())
    assert warmth.ask([MARKED], 310.0) == Goes((MARKED,))
    warmth.start([MARKED], [], 309.0)
    assert warmth.ask([MARKED], 608.0) == Goes(())


def test_a_failed_leader_leaves_the_prefix_cold() -> None:
    warmth = Warmth()
    warmth.start([MARKED], [MARKED], 0.0)
    warmth.fail([MARKED])
    assert warmth.ask([MARKED], 0.0) == Goes((MARKED,))


def test_a_leader_that_is_not_heard_of_is_given_up_after_a_while() -> None:
    warmth = Warmth()
    warmth.start([MARKED], [MARKED], 0.0)
    warmth.start([LONG], [LONG], 10.0)
    assert warmth.overdue(PATIENCE_S + 1) == [MARKED.key]
    assert warmth.ask([MARKED], PATIENCE_S + 1) == Goes((MARKED,))
    assert warmth.ask([LONG], PATIENCE_S + 1) == Waits(LONG.key)


@pytest.mark.parametrize(
    ("caching", "led"),
    [
        (Caching(), ()),
        (Caching(marked=True), (MARKED,)),
        (Caching(marked=True, min_tokens=8_000), ()),
        (Caching(automatic=True), (LONG, MARKED)),
        (Caching(automatic=True, min_tokens=100), (SHORT, LONG, MARKED)),
        (Caching(automatic=True, shares_in_flight=True), ()),
    ],
)
def test_a_leader_is_sent_only_for_what_the_backend_keeps(
    caching: Caching, led: tuple[Prefix, ...]
) -> None:
    assert worth_leading((SHORT, LONG, MARKED), caching) == led
