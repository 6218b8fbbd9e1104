"""When the simulator's faults strike, and how its rate limits fill."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import (
    Latency,
    Limit,
    Malformed,
    Reset,
    Rule,
    Slow,
    Status,
    Unreachable,
)
from overnight.clock import MovableClock
from overnight.model import Call, Failure, FailureKind, Reply
from overnight.tokens import prompt_tokens

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
BROKEN = Status(status=500)


def call(custom_id: str | None = None, **changes: Any) -> Call:
    params = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Why?"}],
    }
    body = msgspec.json.encode(params | changes)
    return Call(params=body, api_version="2026-10-21", custom_id=custom_id)


def simulator(*rules: Rule, seed: int = 0) -> Simulator:
    return Simulator(SimulatorScript(rules=rules, seed=seed))


async def outcomes(backend: Simulator, calls: list[Call]) -> list[str]:
    """Send one after the other; gives the status of each, "ok" for a reply."""
    results = [await backend.send(one) for one in calls]
    return ["ok" if isinstance(result, Reply) else str(result.status) for result in results]


async def test_a_rule_strikes_only_the_models_of_its_glob() -> None:
    backend = simulator(Rule(model="claude-opus-*", fault=BROKEN))
    calls = [call(model=name) for name in ("claude-opus-4-7", "claude-haiku-4-5", "claude-opus-5")]
    assert await outcomes(backend, calls) == ["500", "ok", "500"]


async def test_a_glob_for_a_dated_model_also_means_its_alias() -> None:
    backend = simulator(Rule(model="claude-haiku-4-5-20251001", fault=BROKEN))
    assert await outcomes(backend, [call(model="claude-haiku-4-5")]) == ["500"]


async def test_a_rule_strikes_only_the_requests_of_its_glob() -> None:
    backend = simulator(Rule(custom_id="row-1?", fault=BROKEN))
    calls = [call("row-1"), call("row-12"), call("row-123"), call(None)]
    assert await outcomes(backend, calls) == ["ok", "500", "ok", "ok"]


async def test_a_rule_may_ask_for_a_text_in_the_request() -> None:
    backend = simulator(Rule(contains="poison", fault=BROKEN))
    poisoned = call(messages=[{"role": "user", "content": "a poison pill"}])
    assert await outcomes(backend, [call(), poisoned]) == ["ok", "500"]


async def test_the_first_attempts_are_counted_for_each_request() -> None:
    backend = simulator(Rule(first_attempts=2, fault=BROKEN))
    calls = [call("a"), call("b"), call("a"), call("a"), call("b"), call("b")]
    assert await outcomes(backend, calls) == ["500", "500", "500", "ok", "500", "ok"]


async def test_a_rule_may_strike_a_range_of_calls() -> None:
    backend = simulator(Rule(from_call=2, until_call=3, fault=BROKEN))
    calls = [call(str(number)) for number in range(5)]
    assert await outcomes(backend, calls) == ["ok", "500", "500", "ok", "ok"]


async def test_a_rule_may_strike_every_third_call_twice() -> None:
    backend = simulator(Rule(every=3, times=2, fault=BROKEN))
    calls = [call(str(number)) for number in range(10)]
    struck = [n for n, one in enumerate(await outcomes(backend, calls), 1) if one == "500"]
    assert struck == [3, 6]


async def test_the_first_rule_that_holds_decides() -> None:
    backend = simulator(
        Rule(custom_id="a", fault=Status(status=503)), Rule(fault=Status(status=529))
    )
    assert await outcomes(backend, [call("a"), call("b")]) == ["503", "529"]


async def test_a_probability_is_kept_over_many_requests() -> None:
    backend = simulator(Rule(probability=0.3, fault=BROKEN), seed=5)
    struck = await outcomes(backend, [call(str(number)) for number in range(2000)])
    assert 520 <= struck.count("500") <= 680


async def test_a_draw_does_not_depend_on_the_order_of_the_calls() -> None:
    rule = Rule(probability=0.5, fault=BROKEN)
    calls = [call(str(number)) for number in range(100)]
    forward = await outcomes(simulator(rule, seed=1), calls)
    backward = await outcomes(simulator(rule, seed=1), calls[::-1])
    assert forward == backward[::-1]
    assert forward != await outcomes(simulator(rule, seed=2), calls)


async def test_each_attempt_of_a_request_is_drawn_anew() -> None:
    backend = simulator(Rule(probability=0.5, fault=BROKEN))
    assert set(await outcomes(backend, [call("a")] * 30)) == {"ok", "500"}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Unreachable(), FailureKind.UNREACHABLE),
        (Reset(), FailureKind.RESET),
        (Malformed(), FailureKind.MALFORMED),
    ],
)
async def test_faults_of_the_connection_have_no_status(
    fault: Unreachable | Reset | Malformed, kind: FailureKind
) -> None:
    failure = await simulator(Rule(fault=fault)).send(call())
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status, failure.retry_after_s) == (kind, None, None)


async def test_a_stalled_answer_comes_whole_in_the_end() -> None:
    clock = MovableClock(START)
    rules = (Rule(fault=Slow(seconds=30)),)
    backend = Simulator(SimulatorScript(rules=rules), clock=clock)
    waiting = asyncio.create_task(backend.send(call()))
    await settle()
    clock.advance(timedelta(seconds=29))
    await settle()
    assert not waiting.done()
    clock.advance(timedelta(seconds=1))
    assert isinstance(await waiting, Reply)


async def test_calls_under_way_are_counted_at_their_peak() -> None:
    clock = MovableClock(START)
    script = SimulatorScript(latency=Latency(base_s=1))
    backend = Simulator(script, clock=clock)
    tasks = [asyncio.create_task(backend.send(call(str(number)))) for number in range(7)]
    await settle()
    assert (backend.calls, backend.in_flight, backend.peak_in_flight) == (7, 7, 7)
    clock.advance(timedelta(seconds=1))
    await asyncio.gather(*tasks)
    assert (backend.calls, backend.in_flight, backend.peak_in_flight) == (7, 0, 7)


async def test_a_canceled_call_is_no_longer_under_way() -> None:
    script = SimulatorScript(latency=Latency(base_s=1), limits=(Limit(max_in_flight=1),))
    backend = Simulator(script, clock=MovableClock(START))
    task = asyncio.create_task(backend.send(call()))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert backend.in_flight == 0
    attempt = backend.begin(call())
    assert not isinstance(attempt.result, Failure)


async def test_more_calls_at_once_than_allowed_are_answered_with_529() -> None:
    clock = MovableClock(START)
    limits = (Limit(max_in_flight=2),)
    backend = Simulator(SimulatorScript(latency=Latency(base_s=1), limits=limits), clock=clock)
    kept = [backend.begin(call(str(number))) for number in range(2)]
    failure = await backend.send(call("c"))
    assert isinstance(failure, Failure) and failure.kind is FailureKind.OVERLOADED
    backend.end(kept[0])
    assert not isinstance(backend.begin(call("d")).result, Failure)


class Limited:
    """A simulator with one limit, on a clock that only the test moves."""

    def __init__(self, limit: Limit) -> None:
        self.clock = MovableClock(START)
        self.backend = Simulator(SimulatorScript(limits=(limit,)), clock=self.clock)

    async def wait_s(self, request: Call | None = None) -> float | None:
        """Send; gives how long to wait when the limit refuses, None for a reply."""
        result = await self.backend.send(request or call())
        if isinstance(result, Reply):
            return None
        assert (result.kind, result.status) == (FailureKind.RATE_LIMITED, 429)
        return result.retry_after_s


async def test_requests_per_minute_refill_without_pause() -> None:
    limited = Limited(Limit(requests_per_minute=60))
    assert [await limited.wait_s() for _ in range(61)] == [None] * 60 + [1.0]
    limited.clock.advance(timedelta(seconds=1))
    assert [await limited.wait_s(), await limited.wait_s()] == [None, 1.0]


async def test_a_refused_call_takes_nothing_from_the_bucket() -> None:
    limited = Limited(Limit(requests_per_minute=2))
    waits = [await limited.wait_s() for _ in range(4)]
    assert waits == [None, None, 30.0, 30.0]


async def test_whoever_waits_as_told_is_taken() -> None:
    limited = Limited(Limit(input_tokens_per_minute=7, output_tokens_per_minute=113))
    for _ in range(50):
        wait_s = await limited.wait_s()
        if wait_s is not None:
            limited.clock.advance(timedelta(seconds=wait_s))
            assert await limited.wait_s() is None


async def test_input_read_from_the_cache_is_free_of_the_limit() -> None:
    block = {"type": "text", "text": "abcd" * 5000, "cache_control": {"type": "ephemeral"}}
    request = call(system=[block])
    needed = prompt_tokens(msgspec.json.decode(request.params))
    limited = Limited(Limit(input_tokens_per_minute=needed + 100))
    assert [await limited.wait_s(request) for _ in range(5)] == [None] * 5
    unlike = call(system=[block | {"text": "efgh" * 5000}])
    assert await limited.wait_s(unlike) is not None


async def test_a_limit_is_shared_by_the_models_of_its_glob_alone() -> None:
    limited = Limited(Limit(model="claude-opus-*", requests_per_minute=1))
    waits = [
        await limited.wait_s(call(model=model))
        for model in ("claude-opus-4-7", "claude-opus-5", "claude-haiku-4-5")
    ]
    assert waits == [None, 60.0, None]


async def test_the_headers_tell_limit_rest_and_when_it_is_whole_again() -> None:
    limited = Limited(Limit(requests_per_minute=60, input_tokens_per_minute=6000))
    for _ in range(3):
        await limited.wait_s()
    headers = limited.backend.limit_headers("claude-haiku-4-5-20251001")
    assert headers == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "57",
        "anthropic-ratelimit-requests-reset": "2026-11-22T08:00:03Z",
        "anthropic-ratelimit-input-tokens-limit": "6000",
        "anthropic-ratelimit-input-tokens-remaining": "6000",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-22T08:00:00Z",
    }


async def settle() -> None:
    """Let every task run until it waits for the clock."""
    for _ in range(10):
        await asyncio.sleep(0)
