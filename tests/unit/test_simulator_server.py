"""The simulator behind a real socket, asked by the official SDK and byte by byte."""

import asyncio
import gzip
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from anthropic import AsyncAnthropic

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.__main__ import main
from overnight.backends.simulator.script import (
    Latency,
    Limit,
    Malformed,
    Reset,
    Rule,
    Slow,
    Status,
)
from overnight.backends.simulator.server import SimulatorServer

KEY = "sk-ant-simulated"
PARAMS: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Why?"}],
}


class Served:
    """A simulator that listens, and two ways to ask it."""

    def __init__(self, server: SimulatorServer, url: str) -> None:
        self.server = server
        self.url = url
        self.sdk = AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own and read until it closes."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def serve(*rules: Rule, **script: Any) -> Served:
            return await stack.enter_async_context(_served(SimulatorScript(rules=rules, **script)))

        yield serve


@asynccontextmanager
async def _served(script: SimulatorScript) -> AsyncGenerator[Served, None]:
    server = SimulatorServer(Simulator(script), api_key=KEY)
    served = Served(server, await server.start())
    async with served.sdk:
        yield served
    await server.close()


def http(params: dict[str, Any] | bytes, *, path: str = "/v1/messages", headers: str = "") -> bytes:
    body = params if isinstance(params, bytes) else msgspec.json.encode(params)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\n"
        f"anthropic-version: 2026-10-21\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


async def test_the_official_sdk_gets_the_answer_of_the_simulator(start: Start) -> None:
    served = await start()
    message = await served.sdk.messages.create(**PARAMS)
    assert message.model == "claude-haiku-4-5-20251001"
    assert message.content[0].type == "text"
    assert message._request_id is not None and message._request_id.startswith("req_")


async def test_the_official_sdk_assembles_the_stream_to_the_same_message(start: Start) -> None:
    served = await start()
    tool = {"name": "note", "input_schema": {"type": "object", "required": ["a", "b"]}}
    for changes in ({}, {"tools": [tool], "tool_choice": {"type": "any"}}):
        async with served.sdk.messages.stream(**PARAMS | changes) as stream:
            message = await stream.get_final_message()
        assert message.stop_reason == ("tool_use" if changes else "end_turn")
        assert message.usage.output_tokens > 1
        if message.content[0].type == "tool_use":
            assert set(message.content[0].input) == {"a", "b"}
    assert served.server.simulator.in_flight == 0


async def test_tokens_and_models_are_told(start: Start) -> None:
    served = await start()
    counted = await served.sdk.messages.count_tokens(
        model="claude-haiku-4-5", messages=PARAMS["messages"]
    )
    assert counted.input_tokens == 5
    assert (await served.sdk.models.retrieve("claude-haiku-4-5")).max_tokens == 64_000
    listed = [model.id async for model in served.sdk.models.list()]
    assert listed[0] == "claude-fable-5-2" and "claude-opus-4-7" in listed


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, anthropic.BadRequestError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.OverloadedError),
    ],
)
async def test_a_scripted_status_is_the_error_that_the_sdk_knows(
    start: Start, status: int, expected: type[anthropic.APIStatusError]
) -> None:
    fault = Status(status=status, message="Not now.", retry_after_s=3)
    served = await start(Rule(fault=fault))
    with pytest.raises(expected) as caught:
        await served.sdk.messages.create(**PARAMS)
    assert caught.value.api_message == "Not now."
    assert caught.value.response.headers["retry-after"] == "3"
    assert caught.value.request_id == caught.value.response.headers["request-id"]


async def test_a_reset_breaks_the_connection_without_a_byte(start: Start) -> None:
    served = await start(Rule(fault=Reset()))
    with pytest.raises(anthropic.APIConnectionError):
        await served.sdk.messages.create(**PARAMS)
    with pytest.raises(ConnectionResetError):
        await served.exchange(http(PARAMS))
    assert served.server.simulator.in_flight == 0


async def test_a_slow_answer_shows_its_first_half_and_then_stalls(start: Start) -> None:
    served = await start(Rule(fault=Slow(seconds=3600)))
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(http(PARAMS))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    half = await reader.readexactly(length - length // 2)
    assert half.startswith(b'{"id":"msg_')
    assert served.server.simulator.in_flight == 1
    writer.close()
    await writer.wait_closed()


async def test_who_hangs_up_ends_the_call(start: Start) -> None:
    served = await start(latency=Latency(base_s=3600))
    waiting = asyncio.create_task(served.exchange(http(PARAMS)))
    await until(lambda: served.server.simulator.in_flight == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: served.server.simulator.in_flight == 0)


async def test_a_malformed_answer_is_cut_json_with_status_200(start: Start) -> None:
    served = await start(Rule(fault=Malformed()))
    answer = await served.exchange(http(PARAMS))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)


async def test_rate_limits_are_told_in_the_headers(start: Start) -> None:
    served = await start(limits=(Limit(requests_per_minute=1),))
    answer = await served.sdk.messages.with_raw_response.create(**PARAMS)
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"
    with pytest.raises(anthropic.RateLimitError) as caught:
        await served.sdk.messages.create(**PARAMS)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert served.server.stats()["rate_limited"] == 1


async def test_stats_tell_calls_that_were_repeated(start: Start) -> None:
    served = await start(Rule(first_attempts=1, contains="Again", fault=Reset()))
    again = PARAMS | {"messages": [{"role": "user", "content": "Again?"}]}
    await served.exchange(http(PARAMS))
    with pytest.raises(ConnectionResetError):
        await served.exchange(http(again))
    await served.exchange(http(again))
    answer = await served.exchange(b"GET /stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2]) == {
        "calls": 3,
        "distinct": 2,
        "repeated": 1,
        "rate_limited": 0,
        "in_flight": 0,
        "peak_in_flight": 1,
    }


async def test_a_rule_finds_its_request_by_a_header(start: Start) -> None:
    served = await start(Rule(custom_id="row-7", fault=Status(status=529)))
    struck = await served.exchange(http(PARAMS, headers="overnight-custom-id: row-7\r\n"))
    spared = await served.exchange(http(PARAMS, headers="overnight-custom-id: row-8\r\n"))
    assert struck.startswith(b"HTTP/1.1 529 ") and spared.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("request_bytes", "status", "message"),
    [
        (http(PARAMS).replace(KEY.encode(), b"wrong"), 401, "API key is invalid."),
        (http(PARAMS).replace(b"x-api-key", b"x-other"), 401, "x-api-key header is required"),
        (http(PARAMS).replace(b"anthropic-version", b"x-version"), 400, "anthropic-version: "),
        (http(PARAMS, path="/v1/unknown"), 404, "Not found"),
        (http(PARAMS, path="/v1/models"), 405, "Method Not Allowed"),
        (http(b"{"), 400, "The request body is not valid JSON: "),
        (http(PARAMS, headers="content-encoding: br\r\n"), 400, "content-encoding: br"),
        (http(PARAMS, headers="content-encoding: gzip\r\n"), 400, "content-encoding: the body"),
        (b"nonsense\r\n\r\n", 400, "The request is not HTTP/1.1"),
    ],
)
async def test_what_is_wrong_is_said_in_the_wires_form(
    start: Start, request_bytes: bytes, status: int, message: str
) -> None:
    answer = await (await start()).exchange(request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    error = msgspec.json.decode(body)
    assert head.split()[1] == str(status).encode()
    assert error["type"] == "error" and error["error"]["message"].startswith(message)
    assert f"request-id: {error['request_id']}".encode() in head


async def test_gzip_chunks_and_several_requests_on_one_connection_are_taken(start: Start) -> None:
    served = await start()
    packed = http(gzip.compress(msgspec.json.encode(PARAMS)), headers="content-encoding: gzip\r\n")
    body = msgspec.json.encode(PARAMS)
    chunked = (
        f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
        "anthropic-version: 2023-06-01\r\ntransfer-encoding: chunked\r\n"
        f"expect: 100-continue\r\n\r\n{len(body):x}\r\n"
    ).encode()
    answers = await served.exchange(chunked + body + b"\r\n0\r\n\r\n" + packed)
    assert answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert answers.count(b'"type":"message"') == 2


def test_a_broken_script_is_one_error_line_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "script.toml"
    path.write_text("seed = 'x'", encoding="utf-8")
    assert main(["--script", str(path)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0] == f"error: {path}: simulator.seed: 'x': expected `int`, got `str`"
    assert error[1].startswith("hint: ")
    assert len(error) == 2


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until something holds; the test's own time limit ends it otherwise."""
    while not holds():
        await asyncio.sleep(0)


async def test_the_command_says_where_it_listens_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "overnight.backends.simulator", "--port", "0"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    assert line.startswith("listening on http://127.0.0.1:")
    sdk = AsyncAnthropic(base_url=line.split()[-1], api_key="any")
    async with sdk:
        message = await sdk.messages.create(
            model="claude-haiku-4-5",
            max_tokens=100,
            messages=[{"role": "user", "content": "Why?"}],
        )
    assert message.stop_reason == "end_turn"
    process.terminate()
    assert await process.wait() == 0
