"""Whatever comes in is read, or refused in our own words: no other exception, and no hang.

Inputs are nearly right, see `tests.support.mutation`. OVERNIGHT_FUZZ_EXAMPLES makes runs long.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.test_messages_backend import CALL, MESSAGE, started
from tests.raw_server import RawServer, Step, answer, chunk, chunked_head
from tests.support.mutation import changed_bytes, changed_lines, documents, fuzzed
from tests.unit import params_cases
from tests.unit.test_fleet import WHOLE
from tests.unit.test_params_shapes import RICH

from overnight.backends import answers
from overnight.backends.account import Account
from overnight.backends.assembly import Assembly
from overnight.backends.simulator.script import load_script
from overnight.cli import body
from overnight.errors import MAX_MESSAGE, ConfigInvalid, InvalidRequest
from overnight.fleet import load_fleet
from overnight.model import Failure, Reply
from overnight.pricing import asked, book_file, rows
from overnight.settings import load
from overnight.wire import (
    envelope,
    keys,
    organization,
    rate_limits,
    results,
    spend_limits,
    webhooks,
)
from overnight.wire.params import Checked, Refusal, check_params

NOW = datetime(2026, 11, 22, 6, 40, 25, tzinfo=UTC)
BOOK = Path(book_file.__file__).parent / "books" / "published-2026.toml"

REQUEST = {"custom_id": "a", "params": params_cases.VALID}
ENVELOPE = {"requests": [REQUEST, {"custom_id": "b", "params": RICH}]}
WORKLOAD = {
    "models": ["claude-haiku-4-5", "claude-sonnet-4-6"],
    "requests": "10k",
    "input_tokens": 2000,
    "shared_tokens": 1500,
    "output_tokens": 50.5,
    "hit_rate": "90%",
    "cache_ttl": "1h",
    "on": "2026-11-22",
}
USAGE = {
    "model": "claude-haiku-4-5",
    "usage": {
        "input_tokens": 12,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
        "cache_read_input_tokens": 3,
        "output_tokens": 9,
        "server_tool_use": {"web_search_requests": 1},
    },
}
KEY = {
    "name": "ci",
    "workspace_id": "wrkspc_01",
    "roles": ["submit"],
    "expires_in_s": 60,
    "limits": {"requests_per_minute": 10, "uploads": None},
}
KEY_UNTIL = {"name": "n", "roles": ["admin"], "expires_at": "2027-01-31T00:00:00Z"}
SPEND_LIMIT = {
    "amount": "5000",
    "scope": {"type": "workspace", "workspace_id": "wrkspc_01"},
    "period": "weekly",
}
ENDPOINT = {
    "url": "https://receiver.example/x",
    "enabled_events": ["message_batch.ended"],
    "name": "n",
    "description": "d",
}
EVENTS = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_01",'
    b'"type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":5}}}\n\n'
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H"}}\n\n'
    b'data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t",'
    b'"name":"n","input":{}}}\n\n'
    b'data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta",'
    b'"partial_json":"{\\"a\\":1}"}}\n\ndata: {"type":"content_block_stop","index":1}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
    b'{"output_tokens":7,"server_tool_use":{"web_search_requests":1}}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)
FAILED = {"type": "error", "error": {"type": "overloaded_error", "message": "m", "details": {}}}
MODELS = {
    "data": [
        {"id": "m", "created": 1_700_000_000, "max_model_len": 10, "object": "model"},
        {"id": "n", "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active", "line": "opus"},
    ],
    "has_more": True,
    "last_id": "n",
}
RESULT = {"custom_id": "a", "result": {"type": "errored", "error": FAILED | {"request_id": None}}}
SETTINGS = """\
host = "127.0.0.1"
port = 8484
backend = "http://127.0.0.1:8000"
api_keys = ["team=sk-ant-api03-key", "admin=other"]
workspace_weights = ["team=2"]
max_batch_bytes = 1000000
concurrency = 8
auto_cache = true
webhooks_allow = ["10.0.0.0/8"]
simulator_script = "script.toml"
public_url = "https://batches.example/x"
[simulator]
seed = 1
"""
SCRIPT = """\
seed = 7
models = ["my-*"]
[latency]
first_byte_s = 0.1
[answer]
min_tokens = 1
max_tokens = 9
[[limits]]
of = "requests"
per_minute = 100
[[rules]]
custom_id = "a*"
probability = 0.5
fault = { type = "status", status = 529 }
"""


class Reader(NamedTuple):
    """A door for bytes from outside: what comes to it, and what reads that."""

    inputs: st.SearchStrategy[bytes]
    read: Callable[[bytes], object]


TABLE = b'id,prompt\r\n1,"Hello, you"\r\n2,Gr\xc3\xbc\xc3\x9fe\r\n'
HTTP = (
    answer(MESSAGE, anthropic_ratelimit_requests_limit="50", retry_after="1"),
    answer(EVENTS, content_type="text/event-stream"),
    answer(msgspec.json.encode(FAILED), status=529, retry_after="Sun, 22 Nov 2026 06:40:26 GMT"),
    answer(msgspec.json.encode(MODELS), request_id="req_01"),
    chunked_head("text/event-stream") + chunk(EVENTS[:99]) + chunk(EVENTS[99:]) + chunk(b""),
)


def nothing(name: str) -> str | None:
    return None


def read_reply(data: bytes) -> None:
    """Whatever is taken for a message must fit a line of results."""
    reply = answers.reply(data, nothing)
    if isinstance(reply, Reply):
        line = results.succeeded_line("a", reply.message)
        assert b"\n" not in line
        results.read_result(line)


def read_refusal(data: bytes) -> None:
    for status in (302, 400, 404, 529):
        failure = answers.refusal(status, data, nothing, now=NOW)
        assert failure.message
        answers.cannot_count(status, data)
        results.errored_line("a", failure.error_type, failure.message, failure.details)


def read_events(data: bytes) -> None:
    assembly, account = Assembly(), Account()
    for start in range(0, len(data), 50):
        assembly.feed(data[start : start + 50])
        account.feed(data[start : start + 50])
    outcome = assembly.outcome(nothing)
    assert account.usage.input_tokens >= 0
    if isinstance(outcome, Reply):
        results.succeeded_line("a", outcome.message)


def read_params(data: bytes) -> None:
    for rules in (params_cases.BATCH, params_cases.OLD_BATCH, params_cases.COUNTING):
        checked = check_params(data, rules)
        assert isinstance(checked, Checked | Refusal)


def read_result(data: bytes) -> None:
    try:
        results.read_result(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # As documented: who reads knows where the line came from.
        return


READERS: Mapping[str, Reader] = {
    "envelope": Reader(
        documents([ENVELOPE]), lambda data: envelope.read_envelope(data, max_requests=3)
    ),
    "params": Reader(documents([params_cases.VALID, RICH]), read_params),
    "price question": Reader(documents([WORKLOAD, USAGE]), asked.answer),
    "new key": Reader(
        documents([KEY, KEY_UNTIL]), lambda data: keys.read_key_question(data, now=NOW)
    ),
    "key limits": Reader(documents([{"limits": KEY["limits"]}]), keys.read_limits_change),
    "key change": Reader(
        documents([{"name": "n", "status": "inactive"}]), organization.read_api_key_question
    ),
    "workspace": Reader(
        documents([{"name": "n", "display_color": "#6C5BB9", "tags": {}}]),
        lambda data: organization.read_workspace_question(data, organization.NewWorkspace),
    ),
    "workspace limits": Reader(
        documents([{"limits": [{"type": "requests_per_minute", "value": 5}]}]),
        rate_limits.read_new_limits,
    ),
    "spend limit": Reader(
        documents([SPEND_LIMIT, {"amount": None, "scope": {"type": "organization"}}]),
        lambda data: spend_limits.read_spend_limit(data, now=NOW),
    ),
    "webhook": Reader(
        documents([ENDPOINT]), lambda data: webhooks.read_body(data, webhooks.CreateEndpoint)
    ),
    "webhook change": Reader(
        documents([ENDPOINT | {"state": "disabled"}]),
        lambda data: webhooks.read_body(data, webhooks.UpdateEndpoint),
    ),
    "answer": Reader(documents([msgspec.json.decode(MESSAGE)]), read_reply),
    "answer that refuses": Reader(documents([FAILED, {"error": "text"}]), read_refusal),
    "answer in events": Reader(changed_bytes([EVENTS]), read_events),
    "token count": Reader(
        documents([{"input_tokens": 5}]), lambda data: answers.token_count(data, nothing)
    ),
    "list of models": Reader(documents([MODELS]), lambda data: answers.model_list(data, nothing)),
    "result line": Reader(documents([RESULT]), read_result),
}


def read_settings(path: Path) -> None:
    load({}, {}, path)


def read_rows(path: Path) -> None:
    table = path.with_suffix(".csv")
    table.write_bytes(path.read_bytes())
    for file, prompt in ((path, None), (table, "Say: {prompt}")):
        problems = rows.Problems(file.name)
        for _ in rows.rows(str(file), problems=problems, prompt=prompt):
            pass
        problems.refuse()


FILES: Mapping[str, tuple[st.SearchStrategy[bytes], Callable[[Path], object]]] = {
    "settings": (changed_lines([SETTINGS]), read_settings),
    "routing": (changed_lines([WHOLE]), lambda path: load_fleet(path, {"CLAUDE_KEY": "k"})),
    "simulator script": (changed_lines([SCRIPT]), load_script),
    "price book": (changed_lines([BOOK.read_text()]), lambda path: book_file.read(str(path))),
    "batch file": (
        documents([ENVELOPE, [REQUEST], REQUEST]),
        lambda path: body.read(str(path)).discard(),
    ),
    "estimate file": (
        documents([ENVELOPE, REQUEST, params_cases.VALID]) | changed_bytes([TABLE]),
        read_rows,
    ),
}


def refuses_well(read: Callable[[], object]) -> None:
    """Let a reader read. Raises: what is not ours; AssertionError for words that help nobody."""
    try:
        read()
    except (InvalidRequest, ConfigInvalid) as error:
        assert 5 < len(error.message) <= MAX_MESSAGE, error.message[:200]
        assert "maximum recursion depth" not in error.message
        error.message.encode()


DEEP = b"[" * 20_000
# What once was answered with something else than a value or our own error.
FOUND: Sequence[tuple[str, bytes]] = (
    ("price question", b"\xff"),
    ("price question", b'{"models":' + DEEP),
    ("new key", b'{"name":"\xff"}'),
    ("new key", b'{"name":' + DEEP),
    ("new key", b'{"name":"n","roles":["admin"],"expires_at":"9999-12-31T23:59:59-14:00"}'),
    ("key change", b"\xc3"),
    ("key limits", DEEP),
    ("workspace limits", DEEP),
    ("workspace", b'{"' + b"x" * 50_000 + b'":1}'),
    ("envelope", b'{"' + b"x" * 50_000 + b'":1}'),
    ("list of models", b'{"data":[{"id":"m","created":9007199254740993}]}'),
    ("list of models", b'{"data":[{"id":"m","created":%d}]}' % (10**30)),
    ("list of models", b'{"data":[{"id":"m","created_at":"0001-01-01T00:00:00+14:00"}]}'),
    (
        "answer",
        b'{"type":"message","model":"m","content":[],"usage":{"cache_creation":{"a":[]}}}',
    ),
    ("settings", b"port = " + DEEP),
    ("settings", b"port = " + b"9" * 5_000),
    ("settings", b"concurrency = " + b"9" * 400),
    ("settings", b"idle_timeout_s = " + b"9" * 400),
    ("routing", b"backends = " + DEEP),
    ("routing", b"backends = " + b"9" * 5_000),
    ("routing", b'[backends.a]\nurl = "http://[::1"'),
    ("simulator script", b"seed = " + DEEP),
    ("simulator script", b"seed = " + b"9" * 5_000),
    ("price book", b"format = " + DEEP),
    ("price book", b"format = " + b"9" * 5_000),
    ("batch file", b"\x80"),
    ("batch file", DEEP),
    ("batch file", b'{"custom_id":"a","params":{"model":' + DEEP),
    ("estimate file", b'{"messages":' + DEEP),
    ("estimate file", b'{"requests":[{"messages":"\xff"}]}'),
)


@pytest.mark.parametrize(("door", "data"), FOUND, ids=[door for door, _ in FOUND])
def test_what_was_found_once_is_read_or_refused(door: str, data: bytes, tmp_path: Path) -> None:
    if door in READERS:
        refuses_well(lambda: READERS[door].read(data))
    else:
        path = tmp_path / "file.toml"
        path.write_bytes(data)
        refuses_well(lambda: FILES[door][1](path))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("door", READERS)
def test_bytes_are_read_or_refused(door: str) -> None:
    inputs, read = READERS[door]

    @given(inputs)
    def is_read_or_refused(data: bytes) -> None:
        refuses_well(lambda: read(data))

    fuzzed(is_read_or_refused, short=60)()


@pytest.mark.timeout(0)
@pytest.mark.parametrize("file", FILES)
def test_files_are_read_or_refused(file: str, tmp_path: Path) -> None:
    inputs, read = FILES[file]
    path = tmp_path / "file.toml"

    @given(inputs)
    def is_read_or_refused(data: bytes) -> None:
        path.write_bytes(data)
        refuses_well(lambda: read(path))

    fuzzed(is_read_or_refused, short=60)()


@pytest.mark.timeout(0)
def test_whatever_a_backend_sends_is_a_reply_or_a_failure() -> None:
    server = RawServer()

    @given(changed_bytes(HTTP))
    def is_reply_or_failure(data: bytes) -> None:
        server.answers = ((data, Step.CLOSE),)
        runner.run(asked_of(server.url))

    with asyncio.Runner() as runner:
        runner.run(server.__aenter__())
        fuzzed(is_reply_or_failure, short=60)()
        runner.run(server.__aexit__(None, None, None))


async def asked_of(url: str) -> None:
    """Ask for a message, for a stream, for tokens and for models."""
    async with started(url, idle_timeout_s=5, first_byte_timeout_s=5) as backend:
        assert isinstance(await backend.send(CALL), Reply | Failure)
        assert isinstance(await backend.count_tokens(CALL), int | Failure)
        assert isinstance(await backend.models(), list | Failure)
        assert isinstance(await backend.send(CALL, lambda: None), Reply | Failure)
        events = await backend.stream(CALL)
        if not isinstance(events, Failure):
            async for data in events:
                assert isinstance(data, bytes)
