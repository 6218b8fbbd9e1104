"""Counters: they add up, whatever is counted."""

from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.breaker import OUTAGE_CAP_S, Breaker
from overnight.dispatch.concurrency import Concurrency
from overnight.dispatch.gate import Gate
from overnight.dispatch.tally import Histogram
from overnight.model import Failure, FailureKind, Limit, Need, Reply, Usage
from overnight.telemetry.exposition import exposition
from overnight.telemetry.reading import Reading

BOUNDS = (0.5, 1.0, 4.0)


def failure(kind: FailureKind, retry_after_s: float | None = None) -> Failure:
    return Failure(kind=kind, error_type="x", message="x", retry_after_s=retry_after_s)


def told(breaker: Breaker, failed: Failure, now_s: float) -> None:
    breaker.failed(failed, now_s, now_s, probe=False, fresh=True)


def gate(*limits: Limit) -> Gate:
    return Gate(ceiling=8, random=Random(1), limits=limits)


@given(st.lists(st.floats(0, 10)))
def test_each_bucket_holds_what_is_at_most_its_bound(values: list[float]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.note(value)
    counted = list(accumulate(histogram.counts))
    assert counted[:-1] == [sum(value <= bound for value in values) for bound in BOUNDS]
    assert counted[-1] == len(values)
    assert histogram.sum == pytest.approx(sum(values))


@given(st.lists(st.lists(st.floats(0, 10)), min_size=1))
def test_histograms_with_the_same_labels_are_told_as_one(parts: list[list[float]]) -> None:
    reading, whole = Reading(), Histogram(BOUNDS)
    for part in parts:
        histogram = Histogram(BOUNDS)
        for value in part:
            histogram.note(value)
            whole.note(value)
        reading.add_histogram("overnight_call_seconds", histogram, "b", "1", "*", "batch")
    (shown,) = reading.histograms["overnight_call_seconds"].values()
    assert shown.counts == whole.counts
    assert shown.sum == pytest.approx(whole.sum)


def test_a_metric_that_the_table_does_not_have_cannot_be_told() -> None:
    with pytest.raises(KeyError, match="overnight_surprises_total"):
        Reading().add("overnight_surprises_total", 1)


@pytest.mark.parametrize("name", ["gpu", 'a "quoted"\nname', "größer"])
def test_any_name_of_a_backend_can_be_told(name: str) -> None:
    reading = Reading()
    reading.add("overnight_fallback_calls_total", 1, name, "1")
    assert exposition(reading).decode().count("overnight_fallback_calls_total{") == 1


def test_each_call_is_counted_once_by_what_it_came_to() -> None:
    through, need = gate(), Need(10, 5)
    usage = Usage(
        input_tokens=1, cache_write_5m_tokens=2, cache_write_1h_tokens=4, cache_read_tokens=8,
        output_tokens=16,
    )  # fmt: skip
    reply = Reply(message=b"{}", usage=usage, model="m")
    through.answered(through.enter(3, need, 0.0), reply, 2.0)
    through.failed(through.enter(3, need, 2.0), failure(FailureKind.TIMEOUT), 3.0)
    through.abandoned(through.enter(3, need, 3.0))
    through.answered(through.enter(3, need, 3.0, realtime=True), reply, 4.0)
    batch, realtime = through.tally.batch[3], through.tally.realtime[3]
    assert (batch.succeeded, batch.abandoned, realtime.succeeded) == (1, 1, 1)
    assert {kind: count for kind, count in batch.failed.items() if count} == {"timeout": 1}
    assert (batch.uncached_tokens, batch.written_tokens, batch.read_tokens) == (1, 6, 8)
    assert (batch.output_tokens, batch.seconds.sum, sum(batch.seconds.counts)) == (16, 2.0, 1)


def test_answers_within_a_cooldown_make_it_longer_and_not_many() -> None:
    breaker = Breaker(random=Random(1))
    for now_s, seconds in ((0.0, 10.0), (1.0, 9.0), (2.0, 20.0), (30.0, 5.0)):
        told(breaker, failure(FailureKind.OVERLOADED, seconds), now_s)
    assert breaker.cooldowns[FailureKind.OVERLOADED] == 2
    # From 0 to 22 and from 30 to 35.
    assert breaker.cooldown_s[FailureKind.OVERLOADED] == 27.0


def test_the_state_of_a_breaker_goes_from_closed_over_open_and_half_open_to_closed() -> None:
    breaker = Breaker(random=Random(1))
    assert breaker.state(0.0) == "closed"
    told(breaker, failure(FailureKind.RATE_LIMITED, 5.0), 0.0)
    assert (breaker.state(4.9), breaker.state(5.0)) == ("cooldown", "closed")
    while not breaker.out:
        told(breaker, failure(FailureKind.UNREACHABLE), 6.0)
    assert breaker.state(6.0) == "open"
    later_s = 6.0 + OUTAGE_CAP_S
    assert breaker.state(later_s) == "half_open"
    assert breaker.enter()
    assert breaker.state(later_s) == "half_open"
    breaker.answered(later_s)
    assert breaker.state(later_s) == "closed"
    assert (breaker.opens, breaker.probes) == (1, 1)


def test_only_changes_of_the_limit_are_counted() -> None:
    concurrency = Concurrency(ceiling=2)
    for _ in range(100):
        concurrency.answered()
    assert (concurrency.limit, concurrency.growths) == (2, 0)
    concurrency.restart()
    concurrency.restart()
    assert concurrency.cuts == {"trouble": 0, "slow": 0, "outage": 1}


def test_a_wait_is_counted_for_the_limit_that_takes_longest() -> None:
    through = gate(
        Limit(of="requests", per_minute=60, remaining=0),
        Limit(of="input_tokens", per_minute=600, remaining=0),
    )
    wait_s = through.pace_s(0, Need(100, 1), 0.0)
    assert wait_s > 10
    assert through.tally.waits == {"requests": 0, "input_tokens": 1, "output_tokens": 0}
    assert through.tally.waited_s["input_tokens"] == wait_s
