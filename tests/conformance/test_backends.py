"""What every backend does, whatever stands behind it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from tests.conformance.backend import IMPLEMENTATIONS

from overnight.backends.protocol import Backend
from overnight.backends.simulator import SimulatorScript
from overnight.backends.simulator.script import (
    Fault,
    Latency,
    Limit,
    Malformed,
    Refusal,
    Reset,
    Rule,
    Slow,
    Status,
)
from overnight.model import Call, Failure, FailureKind, Reply, Usage
from overnight.tokens import prompt_tokens

PARAMS: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Why is the sky dark at night?"}],
}
Start = Callable[..., Awaitable[Backend]]


@pytest.fixture(params=IMPLEMENTATIONS)
async def start(request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    """Start the implementation under test with a script; it is closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_backend(**script: Any) -> Backend:
            opened = IMPLEMENTATIONS[request.param](SimulatorScript(**script))
            return await stack.enter_async_context(opened)

        yield open_backend


def call(timeout_s: float | None = 30.0, **changes: Any) -> Call:
    params = PARAMS | changes
    return Call(params=msgspec.json.encode(params), api_version="2026-10-21", timeout_s=timeout_s)


async def reply_to(backend: Backend, request: Call) -> Reply:
    outcome = await backend.send(request)
    assert isinstance(outcome, Reply), outcome
    return outcome


async def failure_of(backend: Backend, request: Call) -> Failure:
    outcome = await backend.send(request)
    assert isinstance(outcome, Failure), outcome
    return outcome


def always(fault: Fault) -> dict[str, Any]:
    return {"rules": (Rule(fault=fault),)}


async def test_a_reply_is_one_line_of_json_that_names_the_full_model_id(start: Start) -> None:
    reply = await reply_to(await start(), call())
    message = msgspec.json.decode(reply.message)
    assert b"\n" not in reply.message and b"\r" not in reply.message
    assert message["type"] == "message" and message["role"] == "assistant"
    assert message["model"] == reply.model == "claude-haiku-4-5-20251001"
    assert message["stop_reason"] == "end_turn" and message["stop_sequence"] is None
    assert message["content"][0]["type"] == "text" and message["content"][0]["text"]


async def test_the_reply_counts_what_its_message_says_it_used(start: Start) -> None:
    reply = await reply_to(await start(), call())
    said = msgspec.json.decode(reply.message)["usage"]
    assert reply.usage == Usage(
        input_tokens=said["input_tokens"], output_tokens=said["output_tokens"]
    )
    assert reply.usage.input_tokens == prompt_tokens(PARAMS)


async def test_cache_writes_and_reads_are_counted_by_class(start: Start) -> None:
    backend = await start()
    shared = {
        "type": "text",
        "text": "The rules of the house. " * 3000,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    first = await reply_to(backend, call(system=[shared]))
    second = await reply_to(backend, call(system=[shared]))
    assert first.usage.cache_write_1h_tokens > 4096 and first.usage.cache_read_tokens == 0
    assert first.usage.cache_write_5m_tokens == second.usage.cache_write_5m_tokens == 0
    assert second.usage.cache_read_tokens == first.usage.cache_write_1h_tokens
    assert second.usage.cache_write_1h_tokens == 0
    assert second.usage.input_tokens == first.usage.input_tokens


@pytest.mark.parametrize(
    ("status", "kind", "error_type"),
    [
        (400, FailureKind.INVALID_REQUEST, "invalid_request_error"),
        (401, FailureKind.AUTHENTICATION, "authentication_error"),
        (402, FailureKind.BILLING, "billing_error"),
        (403, FailureKind.PERMISSION, "permission_error"),
        (404, FailureKind.NOT_FOUND, "not_found_error"),
        (408, FailureKind.CONFLICT, "invalid_request_error"),
        (409, FailureKind.CONFLICT, "conflict_error"),
        (413, FailureKind.TOO_LARGE, "request_too_large"),
        (422, FailureKind.INVALID_REQUEST, "invalid_request_error"),
        (429, FailureKind.RATE_LIMITED, "rate_limit_error"),
        (500, FailureKind.SERVER_ERROR, "api_error"),
        (502, FailureKind.SERVER_ERROR, "api_error"),
        (503, FailureKind.SERVER_ERROR, "api_error"),
        (504, FailureKind.SERVER_ERROR, "timeout_error"),
        (529, FailureKind.OVERLOADED, "overloaded_error"),
    ],
)
async def test_each_status_is_the_failure_that_it_means(
    start: Start, status: int, kind: FailureKind, error_type: str
) -> None:
    fault = Status(status=status, message="Not this time.")
    failure = await failure_of(await start(**always(fault)), call())
    assert (failure.status, failure.kind, failure.error_type) == (status, kind, error_type)
    assert failure.message == "Not this time."
    assert failure.retry_after_s is None


async def test_retry_after_is_passed_on_in_seconds(start: Start) -> None:
    backend = await start(**always(Status(status=529, retry_after_s=7)))
    assert (await failure_of(backend, call())).retry_after_s == 7


async def test_an_error_type_of_the_upstream_is_kept(start: Start) -> None:
    backend = await start(**always(Status(status=500, error_type="overloaded_error")))
    failure = await failure_of(backend, call())
    assert failure.kind is FailureKind.SERVER_ERROR
    assert failure.error_type == "overloaded_error"


async def test_a_broken_connection_is_a_failure_without_a_status(start: Start) -> None:
    failure = await failure_of(await start(**always(Reset())), call())
    assert (failure.kind, failure.status) == (FailureKind.RESET, None)


async def test_an_answer_that_is_no_message_is_malformed(start: Start) -> None:
    failure = await failure_of(await start(**always(Malformed())), call())
    assert failure.kind is FailureKind.MALFORMED


@pytest.mark.parametrize(
    "script",
    [always(Slow(seconds=60)), {"latency": Latency(base_s=60)}],
    ids=["a stalled body", "a late first byte"],
)
async def test_an_answer_that_takes_longer_than_allowed_is_cut(
    start: Start, script: dict[str, Any]
) -> None:
    failure = await failure_of(await start(**script), call(timeout_s=0.05))
    assert (failure.kind, failure.status) == (FailureKind.TIMEOUT, None)


async def test_a_backend_does_not_retry_by_itself(start: Start) -> None:
    rule = Rule(fault=Status(status=500), first_attempts=1)
    backend = await start(rules=(rule,))
    assert (await failure_of(backend, call())).status == 500
    assert (await reply_to(backend, call())).model


async def test_a_refusal_is_a_reply(start: Start) -> None:
    backend = await start(**always(Refusal(category="bio", explanation="Not that.")))
    reply = await reply_to(backend, call())
    message = msgspec.json.decode(reply.message)
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"] == {
        "type": "refusal",
        "category": "bio",
        "explanation": "Not that.",
    }


async def test_a_rate_limit_says_when_to_come_back(start: Start) -> None:
    backend = await start(limits=(Limit(requests_per_minute=1),))
    await reply_to(backend, call())
    failure = await failure_of(backend, call())
    assert failure.kind is FailureKind.RATE_LIMITED
    assert failure.retry_after_s is not None and 1 <= failure.retry_after_s <= 60


async def test_an_unknown_model_is_not_found(start: Start) -> None:
    failure = await failure_of(await start(), call(model="claude-imaginary-9"))
    assert (failure.kind, failure.status) == (FailureKind.NOT_FOUND, 404)
    assert failure.message == "model: claude-imaginary-9"


async def test_tokens_are_counted_without_an_answer(start: Start) -> None:
    backend = await start()
    assert await backend.count_tokens(call()) == prompt_tokens(PARAMS)
    counted = await backend.count_tokens(call(model="claude-imaginary-9"))
    assert isinstance(counted, Failure) and counted.kind is FailureKind.NOT_FOUND


async def test_models_are_listed_with_their_limits(start: Start) -> None:
    models = await (await start()).models()
    assert isinstance(models, list)
    by_id = {model.id: model for model in models}
    assert by_id["claude-haiku-4-5-20251001"].max_tokens == 64_000
    assert by_id["claude-opus-4-7"].display_name == "Claude Opus 4.7"


async def test_a_stream_is_the_message_event_by_event(start: Start) -> None:
    backend = await start()
    stream = await backend.stream(call(stream=True))
    assert not isinstance(stream, Failure), stream
    text = b"".join([chunk async for chunk in stream]).decode()
    names = [line.removeprefix("event: ") for line in text.split("\n") if line[:6] == "event:"]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"]
    assert names.count("content_block_start") == names.count("content_block_stop") == 1
    assert "ping" in names
    data = [msgspec.json.decode(line[6:]) for line in text.split("\n") if line[:6] == "data: "]
    assert [event["type"] for event in data] == names
    said = "".join(event["delta"]["text"] for event in data if "text" in event.get("delta", {}))
    assert "Why is the sky dark at night?" in said
    assert data[-2]["usage"]["output_tokens"] > 1


async def test_a_stream_that_is_refused_is_a_failure_before_its_first_event(start: Start) -> None:
    backend = await start(**always(Status(status=529)))
    stream = await backend.stream(call(stream=True))
    assert isinstance(stream, Failure) and stream.kind is FailureKind.OVERLOADED


async def test_a_backend_says_what_it_is(start: Start) -> None:
    backend = await start()
    assert backend.name.isidentifier()
    assert backend.describes


async def test_close_may_be_called_twice(start: Start) -> None:
    backend = await start()
    await backend.close()
    await backend.close()
