"""The `messages` backend against a server that answers with scripted bytes."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.raw_server import Answer, RawServer, Step, answer, chunk, chunked_head

from overnight.backends.messages import MAX_ANSWER_BYTES, MessagesBackend, credential_headers
from overnight.clock import MovableClock
from overnight.errors import ConfigInvalid
from overnight.model import Call, Failure, FailureKind, Reply, Usage

NOW = datetime(2026, 11, 22, 6, 40, 25, tzinfo=UTC)
MESSAGE = (
    b'{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929",'
    b'"content":[{"type":"text","text":"Gr\xc3\xbc\xc3\x9fe"}],"stop_reason":"end_turn",'
    b'"stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":30,'
    b'"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":10,'
    b'"ephemeral_1h_input_tokens":20},"output_tokens":9,'
    b'"server_tool_use":{"web_search_requests":2}}}'
)
# White space, key order and the escape are the caller's own.
PARAMS = (
    b'{ "model" : "m", "max_tokens":8,"messages":[{"role":"user","content":"\\u00fc \xc3\xbc"}]}'
)
CALL = Call(params=PARAMS, api_version="2023-06-01")
HALF_MESSAGE = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + MESSAGE[:100]


@asynccontextmanager
async def started(url: str, **options: float | str) -> AsyncGenerator[MessagesBackend, None]:
    backend = MessagesBackend(url=url, clock=MovableClock(NOW), **options)  # type: ignore[arg-type]  # options are named by each test
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


async def sent(*steps: bytes | Step, call: Call = CALL, **options: float) -> Reply | Failure:
    """Send one call to a server with this answer."""
    async with RawServer(steps) as server, started(server.url, **options) as backend:
        return await backend.send(call)


async def failure(*steps: bytes | Step, call: Call = CALL, **options: float) -> Failure:
    outcome = await sent(*steps, call=call, **options)
    assert isinstance(outcome, Failure)
    return outcome


async def test_a_message_comes_back_byte_for_byte_with_its_usage_and_model() -> None:
    reply = await sent(answer(MESSAGE))
    assert reply == Reply(
        message=MESSAGE,
        model="claude-sonnet-4-5-20250929",
        usage=Usage(
            input_tokens=12,
            cache_write_5m_tokens=10,
            cache_write_1h_tokens=20,
            cache_read_tokens=5,
            output_tokens=9,
            web_searches=2,
        ),
    )


async def test_the_callers_bytes_and_headers_are_forwarded_unchanged() -> None:
    call = Call(
        params=PARAMS, api_version="2026-10-21", betas=("one-1", "two-2"), user_profile_id="up_1"
    )
    async with RawServer([answer(MESSAGE)]) as server, started(server.url) as backend:
        await backend.send(call)
    received = server.requests[0]
    assert (received.method, received.target, received.body) == ("POST", "/v1/messages", PARAMS)
    assert received.headers["content-type"] == "application/json"
    assert received.headers["anthropic-version"] == "2026-10-21"
    assert received.headers["anthropic-beta"] == "one-1,two-2"
    assert received.headers["anthropic-user-profile-id"] == "up_1"
    assert received.headers["user-agent"].startswith("overnight/")
    assert not {"x-api-key", "authorization", "accept-encoding"} & set(received.headers)


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/v1/messages"),
        ("/", "/v1/messages"),
        ("/v1", "/v1/messages"),
        ("/v1/", "/v1/messages"),
        ("/team/llm", "/team/llm/v1/messages"),
        ("/team/llm/v1/", "/team/llm/v1/messages"),
    ],
)
async def test_a_url_may_have_a_prefix_and_may_end_in_v1(suffix: str, path: str) -> None:
    async with RawServer([answer(MESSAGE)]) as server, started(server.url + suffix) as backend:
        await backend.send(CALL)
    assert server.requests[0].target == path


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://h", "http://", "http://user:secret@h", "http://h/?a=1"]
)
def test_a_url_that_cannot_be_a_backend_is_refused_without_showing_secrets(url: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        MessagesBackend(url=url)
    assert refused.value.message.startswith("backend: ")
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("https://api.anthropic.com", {"x-api-key": "k"}),
        ("http://localhost:8000", {"x-api-key": "k", "authorization": "Bearer k"}),
        ("https://notanthropic.com", {"x-api-key": "k", "authorization": "Bearer k"}),
    ],
)
def test_the_key_travels_in_the_headers_that_the_server_reads(
    url: str, headers: dict[str, str]
) -> None:
    assert credential_headers(url, "k") == headers
    assert credential_headers(url, None) == {}


async def test_the_key_is_sent_with_each_call() -> None:
    async with RawServer([answer(MESSAGE)]) as server, started(server.url, api_key="k") as backend:
        await backend.send(CALL)
    assert server.requests[0].headers["authorization"] == "Bearer k"
    assert server.requests[0].headers["x-api-key"] == "k"


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b", "日"])
async def test_a_value_that_would_end_its_header_is_never_sent(value: str) -> None:
    with pytest.raises(ConfigInvalid):
        MessagesBackend(url="http://localhost", api_key=value)
    call = Call(params=PARAMS, api_version="2023-06-01", user_profile_id=value)
    async with RawServer([answer(MESSAGE)]) as server, started(server.url) as backend:
        result = await backend.send(call)
    assert isinstance(result, Failure) and result.kind is FailureKind.INVALID_REQUEST
    assert not server.requests


@pytest.mark.parametrize("indent", [1, 4])
async def test_a_pretty_printed_message_becomes_one_line_of_the_same_json(indent: int) -> None:
    pretty = msgspec.json.format(MESSAGE, indent=indent)
    reply = await sent(answer(pretty.replace(b"\n", b"\r\n") + b"\n"))
    assert isinstance(reply, Reply)
    assert reply.message == MESSAGE


async def test_a_chunked_message_is_put_together() -> None:
    parts = [chunk(MESSAGE[:40]), chunk(MESSAGE[40:300]), chunk(MESSAGE[300:]), chunk(b"")]
    reply = await sent(chunked_head(), *parts)
    assert isinstance(reply, Reply)
    assert reply.message == MESSAGE


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(input_tokens=3, output_tokens=4)),
        (
            {"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": 7},
            Usage(input_tokens=3, output_tokens=4, cache_write_5m_tokens=7),
        ),
        (
            {"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 5}},
            Usage(cache_write_5m_tokens=2, cache_write_1h_tokens=5),
        ),
        (
            {"input_tokens": None, "cache_creation": None, "server_tool_use": None},
            Usage(),
        ),
        ({}, Usage()),
        (None, Usage()),
    ],
)
async def test_usage_keys_may_be_absent_or_null(
    usage: dict[str, object] | None, expected: Usage
) -> None:
    body: dict[str, object] = {"type": "message", "model": "m", "content": [], "usage": usage}
    reply = await sent(answer(json.dumps(body).encode()))
    assert isinstance(reply, Reply)
    assert reply.usage == expected


@pytest.mark.parametrize(
    ("told", "kept"), [("a\0b\nc", "abc"), ("m" * 9_000, "m" * 256), ("Qwen/通义 3", "Qwen/通义 3")]
)
async def test_a_models_name_is_one_that_the_ledger_can_keep(told: str, kept: str) -> None:
    body: dict[str, object] = {"type": "message", "model": told, "content": []}
    reply = await sent(answer(json.dumps(body).encode()))
    assert isinstance(reply, Reply)
    assert reply.model == kept
    assert json.loads(reply.message)["model"] == told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        MESSAGE[:-1],
        b"[]",
        b'{"type":"error","error":{"type":"api_error","message":"no"}}',
        b'{"type":"message","model":"m","content":"text"}',
        b'{"type":"message","content":[]}',
        b'{"type":"message","model":"m","content":[],"usage":{"input_tokens":"many"}}',
        b'{"type":"message","model":"m","content":["\xff"]}',
        b'{"type":"message","model":"m","content":[],"deep":' + b"[" * 100_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
async def test_what_is_no_messages_object_is_malformed(body: bytes) -> None:
    result = await failure(answer(body, request_id="req_7"))
    assert result.kind is FailureKind.MALFORMED
    assert (result.status, result.request_id) == (200, "req_7")
    assert result.message == "The backend answered 200 without a Messages object"


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
        (503, FailureKind.SERVER_ERROR, "api_error"),
        (504, FailureKind.SERVER_ERROR, "timeout_error"),
        (529, FailureKind.OVERLOADED, "overloaded_error"),
    ],
)
async def test_a_status_without_an_error_object_names_kind_type_and_status(
    status: int, kind: FailureKind, error_type: str
) -> None:
    result = await failure(answer(b"the secret prompt", status=status, content_type="text/plain"))
    assert (result.kind, result.error_type, result.status) == (kind, error_type, status)
    assert result.message == f"The backend answered with HTTP status {status}"


async def test_an_error_object_gives_type_message_details_and_request_id() -> None:
    body = (
        b'{"type":"error","error":{"details":{"error_code":"x"},"type":"overloaded_error",'
        b'"message":"Overloaded"},"request_id":"req_1"}'
    )
    result = await failure(answer(body, status=529, request_id="req_1"))
    assert result == Failure(
        kind=FailureKind.OVERLOADED,
        error_type="overloaded_error",
        message="Overloaded",
        status=529,
        request_id="req_1",
        details=msgspec.Raw(b'{"error_code":"x"}'),
    )


async def test_an_error_object_that_is_far_too_long_is_cut() -> None:
    error = {"type": "api_error", "message": "x" * 100_000, "details": {"x": "x" * 100_000}}
    body = msgspec.json.encode({"type": "error", "error": error})
    result = await failure(answer(body, status=500, request_id="r" * 1_000))
    assert result.message == "x" * 4_096 + "…"
    assert (result.details, result.request_id) == (None, "r" * 256)


async def test_an_error_type_that_clients_do_not_know_becomes_that_of_the_status() -> None:
    body = b'{"error":{"code":400,"type":"exceed_context_size_error","message":"too long"}}'
    result = await failure(answer(body, status=400))
    assert (result.error_type, result.message) == ("invalid_request_error", "too long")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "9", "retry_after_ms": "250"}, 0.25),
        ({"retry_after": (NOW + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")}, 90),
        ({"retry_after": "Sun, 22 Nov 2015 06:40:25 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read_in_each_of_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    result = await failure(answer(b"{}", status=429, **headers))
    assert result.retry_after_s == seconds


async def test_a_redirect_is_not_followed() -> None:
    async with (
        RawServer([answer(b"", status=307, location="/elsewhere")]) as server,
        started(server.url) as backend,
    ):
        result = await backend.send(CALL)
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.MALFORMED
    assert "redirects are not followed" in result.message
    assert len(server.requests) == 1


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert isinstance(await sent(answer(MESSAGE)), Reply)


async def test_a_closed_port_is_unreachable_and_start_does_not_mind() -> None:
    async with RawServer([answer(MESSAGE)]) as server:
        pass
    async with started(server.url) as backend:
        result = await backend.send(CALL)
    assert isinstance(result, Failure)
    assert (result.kind, result.status) == (FailureKind.UNREACHABLE, None)
    assert result.message.startswith("The backend cannot be reached: Connection refused")


async def test_a_port_that_never_accepts_is_unreachable() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            port = listener.getsockname()[1]
            async with started(f"http://127.0.0.1:{port}", connect_timeout_s=0.1) as backend:
                result = await backend.send(CALL)
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.UNREACHABLE


@pytest.mark.parametrize(
    "steps",
    [
        [Step.RESET],
        [Step.CLOSE],
        [b"HTTP/1.1 200 OK\r\nconte", Step.RESET],
        [HALF_MESSAGE, Step.RESET],
        [HALF_MESSAGE, Step.CLOSE],
        [chunked_head(), chunk(MESSAGE[:40]), Step.CLOSE],
        [chunked_head(), chunk(MESSAGE[:40]), Step.RESET],
    ],
    ids=["reset", "close", "in-head", "in-body", "short-body", "short-chunks", "in-chunks"],
)
async def test_a_connection_that_breaks_after_the_request_is_a_reset(
    steps: list[bytes | Step],
) -> None:
    result = await failure(*steps)
    assert (result.kind, result.error_type) == (FailureKind.RESET, "api_error")


@pytest.mark.parametrize(
    "steps",
    [
        [b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Step.CLOSE],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n", Step.CLOSE],
        [b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", Step.CLOSE],
    ],
    ids=["no-http", "bad-chunk", "bad-length"],
)
async def test_an_answer_that_is_not_http_is_malformed(steps: list[bytes | Step]) -> None:
    assert (await failure(*steps)).kind is FailureKind.MALFORMED


@pytest.mark.parametrize("steps", [[Step.HANG], [HALF_MESSAGE, Step.HANG]], ids=["head", "body"])
@pytest.mark.parametrize(
    ("call", "options"),
    [
        (CALL, {"first_byte_timeout_s": 0.05, "idle_timeout_s": 0.05}),
        (CALL, {"request_timeout_s": 0.05}),
        (Call(params=PARAMS, api_version="2023-06-01", timeout_s=0.05), {}),
    ],
    ids=["silence", "request", "call"],
)
async def test_silence_ends_in_a_timeout_and_a_closed_connection(
    steps: list[bytes | Step], call: Call, options: dict[str, float]
) -> None:
    async with RawServer(steps) as server, started(server.url, **options) as backend:
        result = await backend.send(call)
        await server.client_left.wait()
    assert isinstance(result, Failure)
    assert (result.kind, result.error_type) == (FailureKind.TIMEOUT, "timeout_error")


async def test_an_answer_that_announces_too_much_is_not_read() -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {MAX_ANSWER_BYTES + 1}\r\n\r\n".encode()
    result = await failure(head + b" " * 100_000, Step.HANG)
    assert result.kind is FailureKind.MALFORMED
    assert str(MAX_ANSWER_BYTES) in result.message


async def test_an_answer_that_grows_too_much_is_cut() -> None:
    piece = chunk(b" " * (1024 * 1024))
    result = await failure(chunked_head(), *[piece] * 65, Step.HANG)
    assert result.kind is FailureKind.MALFORMED
    assert str(MAX_ANSWER_BYTES) in result.message


async def test_a_canceled_call_leaves_the_server_at_once() -> None:
    async with RawServer([Step.HANG]) as server, started(server.url) as backend:
        sending = asyncio.create_task(backend.send(CALL))
        await server.request_came.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.client_left.wait()


async def test_a_call_in_flight_at_close_is_a_failure() -> None:
    async with RawServer([Step.HANG]) as server, started(server.url) as backend:
        sending = asyncio.create_task(backend.send(CALL))
        await server.request_came.wait()
        await backend.close()
        result = await sending
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.RESET


async def test_close_may_be_called_twice() -> None:
    backend = MessagesBackend(url="http://127.0.0.1:1")
    await backend.close()
    await backend.start()
    await backend.close()
    await backend.close()


# Streaming

EVENT = b'event: message_start\ndata: {"type":"message_start"}\n\n'
SSE = "text/event-stream; charset=utf-8"


async def events(backend: MessagesBackend) -> AsyncIterator[bytes]:
    stream = await backend.stream(CALL)
    assert not isinstance(stream, Failure)
    return stream


async def test_events_pass_through_as_they_come() -> None:
    second = asyncio.Event()
    steps: Answer = [chunked_head(SSE), chunk(EVENT), second, chunk(b": ping\n\n"), chunk(b"")]
    async with RawServer(steps) as server, started(server.url) as backend:
        stream = await events(backend)
        assert await anext(stream) == EVENT
        second.set()
        assert [data async for data in stream] == [b": ping\n\n"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_consumer_that_goes_away_ends_the_upstream_call(begun: bool) -> None:
    steps: Answer = [chunked_head(SSE), chunk(EVENT), Step.HANG]
    async with RawServer(steps) as server, started(server.url) as backend:
        stream = await events(backend)
        if begun:
            await anext(stream)
        del stream
        await server.client_left.wait()


@pytest.mark.parametrize(
    ("last", "gap"), [(EVENT, b""), (EVENT[:-9], b"\n\n"), (EVENT[:-1], b"\n\n")]
)
async def test_a_stream_that_breaks_ends_with_an_error_event(last: bytes, gap: bytes) -> None:
    steps: Answer = [chunked_head(SSE), chunk(EVENT), chunk(last), Step.RESET]
    async with RawServer(steps) as server, started(server.url) as backend:
        received = b"".join([data async for data in await events(backend)])
    passed, error = received.split(b"event: error\ndata: ")
    assert passed == EVENT + last + gap
    assert error.endswith(b"\n\n")
    assert json.loads(error)["error"]["type"] == "api_error"


async def test_a_stream_without_end_ends_with_an_error_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("overnight.backends.messages.MAX_ANSWER_BYTES", 1_000)
    steps = [chunked_head(SSE), *[chunk(b"data: " + b"x" * 500)] * 3]
    async with RawServer(steps) as server, started(server.url) as backend:
        events = await backend.stream(CALL)
        assert not isinstance(events, Failure)
        told = b"".join([event async for event in events])
    assert told.endswith(b"\n\n") and b"it is larger than 1000 bytes" in told


async def test_a_refused_stream_is_a_failure() -> None:
    async with (
        RawServer([answer(b"{}", status=429, retry_after="3")]) as server,
        started(server.url) as backend,
    ):
        result = await backend.stream(CALL)
    assert isinstance(result, Failure)
    assert (result.kind, result.retry_after_s) == (FailureKind.RATE_LIMITED, 3.0)


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([answer(MESSAGE)], FailureKind.MALFORMED),
        ([Step.RESET], FailureKind.RESET),
    ],
)
async def test_what_is_no_event_stream_is_a_failure(steps: Answer, kind: FailureKind) -> None:
    async with RawServer(steps) as server, started(server.url) as backend:
        result = await backend.stream(CALL)
    assert isinstance(result, Failure)
    assert result.kind is kind


# Counting and models


async def test_tokens_are_counted_by_the_server() -> None:
    async with RawServer([answer(b'{"input_tokens":14}')]) as server, started(server.url) as back:
        assert await back.count_tokens(CALL) == 14
    assert server.requests[0].target == "/v1/messages/count_tokens"
    assert server.requests[0].body == PARAMS


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"detail":"Not Found"}'),
        (404, b"404 page not found"),
        (404, b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}'),
        (405, b""),
        (501, b""),
    ],
)
async def test_a_server_that_cannot_count_is_named(status: int, body: bytes) -> None:
    async with RawServer([answer(body, status=status)]) as server, started(server.url) as backend:
        result = await backend.count_tokens(CALL)
    assert isinstance(result, Failure)
    assert (result.kind, result.status) == (FailureKind.NOT_FOUND, 404)
    assert result.message == "This server's backend (messages) cannot count tokens"


async def test_an_unknown_model_is_not_taken_for_missing_counting() -> None:
    body = b'{"type":"error","error":{"type":"not_found_error","message":"model: nope"}}'
    async with RawServer([answer(body, status=404)]) as server, started(server.url) as backend:
        result = await backend.count_tokens(CALL)
    assert isinstance(result, Failure)
    assert result.message == "model: nope"


@pytest.mark.parametrize("body", [b'{"input_tokens":"14"}', b"{}", b"no"])
async def test_a_count_that_is_none_is_malformed(body: bytes) -> None:
    async with RawServer([answer(body)]) as server, started(server.url) as backend:
        result = await backend.count_tokens(CALL)
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.MALFORMED


async def test_models_are_listed_through_all_pages_newest_first() -> None:
    old = {
        "type": "model",
        "id": "old",
        "display_name": "Old",
        "created_at": "2025-01-01T00:00:00Z",
    }
    new = {
        "type": "model",
        "id": "new",
        "display_name": "New",
        "created_at": "2026-01-01T00:00:00Z",
        "line": "sonnet",
        "max_tokens": 64000,
        "capabilities": {"batch": {"supported": True}, "thinking": {"supported": True}},
    }
    pages = [
        {"data": [old], "has_more": True, "first_id": "old", "last_id": "old"},
        {"data": [new], "has_more": False, "first_id": "new", "last_id": "new"},
    ]
    answers = [[answer(json.dumps(page).encode())] for page in pages]
    async with RawServer(*answers) as server, started(server.url) as backend:
        assert backend.model("new") is None
        models = await backend.models()
        assert not isinstance(models, Failure)
        assert [(model.id, model.line) for model in models] == [("new", "sonnet"), ("old", None)]
        assert backend.model("new") == models[0]
    assert [request.target for request in server.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=old",
    ]


async def test_a_list_of_models_in_the_openai_shape_is_understood() -> None:
    body = (
        b'{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","created":1700000000,'
        b'"owned_by":"vllm","max_model_len":40960}]}'
    )
    async with RawServer([answer(body)]) as server, started(server.url) as backend:
        models = await backend.models()
    assert not isinstance(models, Failure)
    assert models[0].id == models[0].display_name == "Qwen/Qwen3-8B"
    assert models[0].created_at == datetime.fromtimestamp(1700000000, UTC)
    assert models[0].max_input_tokens == 40960


async def test_a_list_of_models_that_never_ends_is_left() -> None:
    body = b'{"data":[{"id":"same"}],"has_more":true,"last_id":"same"}'
    async with RawServer([answer(body)]) as server, started(server.url) as backend:
        models = await backend.models()
    assert not isinstance(models, Failure)
    assert [model.id for model in models] == ["same"]


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([answer(b"[]")], FailureKind.MALFORMED),
        ([answer(b"", status=404)], FailureKind.NOT_FOUND),
        ([Step.RESET], FailureKind.RESET),
    ],
)
async def test_models_that_cannot_be_listed_are_a_failure(steps: Answer, kind: FailureKind) -> None:
    async with RawServer(steps) as server, started(server.url) as backend:
        result = await backend.models()
    assert isinstance(result, Failure)
    assert result.kind is kind
