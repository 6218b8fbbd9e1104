"""What nobody sends by accident: each gets a clear 4xx in the documented shape, and nothing more.

Against a real process on either database, over raw sockets.
"""

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # the wheel has no types
import pytest
from tests.support.process import Server
from tests.wire.caller import BATCHES, Caller, request
from tests.wire.raw import Answer, chunked, exchange, flood, written

from overnight.access.keys import workspace_id

MIB = 1024 * 1024
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_PRICE, _ESTIMATES = "/overnight/v1/price", "/overnight/v1/estimates"
_WEBHOOKS, _KEYS = "/v1/organizations/webhooks", "/overnight/v1/keys"
_WORKSPACES, _REPORT = "/v1/organizations/workspaces", "/v1/organizations/usage_report/messages"
# Every call that reads JSON.
_READERS = (
    BATCHES, _MESSAGES, _COUNT, _PRICE, _ESTIMATES, _WORKSPACES, f"{_WORKSPACES}/x",
    f"{_WORKSPACES}/default/rate_limits/batch", "/v1/organizations/api_keys/x", _KEYS,
    f"{_KEYS}/x", _WEBHOOKS, f"{_WEBHOOKS}/x", f"{_WEBHOOKS}/x/regenerate_signing_secret",
)  # fmt: skip
_WEBHOOKS_BETA = "anthropic-beta: webhooks-2026-10-07"
_PARAMS = b'"model":"claude-sonnet-4-6","max_tokens":8,"messages":[{"role":"user","content":"x"}]'
_LONG = "x" * 2_000
_DEEP = b"[" * 100_000 + b"]" * 100_000
# As deep as a small body can be.
_DEEP_ENOUGH = b"[" * 30_000 + b"]" * 30_000
_MANY_KEYS = b"{" + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}"


class Target(NamedTuple):
    server: Server
    caller: Caller

    @property
    def port(self) -> int:
        return self.caller.port

    def sent(self, *parts: bytes) -> Answer:
        return exchange(self.port, *parts)

    def refused(self, *parts: bytes) -> str:
        """Send it; give the message with which it is refused."""
        answer = self.sent(*parts)
        assert 400 <= answer.status < 500, answer
        return answer.error

    @property
    def resident_bytes(self) -> int:
        assert self.server.process is not None
        resident: int = psutil.Process(self.server.process.pid).memory_info().rss
        return resident


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    if request.param == "sqlite":
        yield from _serving(tmp_path_factory)
        return
    with request.getfixturevalue("postgres").database() as url:
        yield from _serving(tmp_path_factory, "--database-url", url)


def _serving(folders: pytest.TempPathFactory, *options: str) -> Iterator[Target]:
    server = Server(folders.mktemp("hostile") / "data", *options)
    try:
        url = asyncio.run(server.start())
        port = int(url.rpartition(":")[2])
        yield Target(server, Caller(port, "not-needed", workspace_id("default")))
        assert server.process is not None and server.process.exit_code is None
        assert "defect" not in server.output and "database failed" not in server.output
    finally:
        server.kill()


# Heads


_TOO_MANY = b"".join(b"a%d: b\r\n" % n for n in range(201))
_HEADS = {
    "many headers": (431, b"GET / HTTP/1.1\r\nhost: x\r\n" + _TOO_MANY, "or more than 200"),
    "large headers": (431, written("GET", "/", b"", *[f"a: {_LONG}"] * 40), "than 65,536 bytes"),
    "one endless header": (431, b"GET / HTTP/1.1\r\na: " + b"x" * MIB, "A header or the extension"),
    "long URL": (414, written("GET", "/" + "x" * 17_000), "longer than 16,384 bytes"),
    "endless URL": (414, b"GET /" + b"x" * MIB, "longer than 16,384 bytes"),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not HTTP/1.1"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not HTTP/1.1"),
    "unknown method": (400, written("BREW", "/"), "not HTTP/1.1: "),
    "bare LF": (400, b"GET / HTTP/1.1\nhost: x\n\n", "not HTTP/1.1"),
    "folded header": (400, written("GET", "/", b"", "a: b", " c"), "not HTTP/1.1"),
    "blank before colon": (400, written("GET", "/", b"", "a : b"), "not HTTP/1.1"),
    "NUL in a header": (400, written("GET", "/", b"", b"a: b\0c"), "not HTTP/1.1"),
    "relative path": (400, written("GET", "v1/models"), "not HTTP/1.1"),
    "bytes in the path": (400, written("GET", "/v1/models/\xe9"), "not HTTP/1.1"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n", "host: sent 0 times"),
    "two hosts": (400, written("GET", "/", b"", "host: y"), "host: sent 2 times"),
    "an address that is none": (403, b"GET / HTTP/1.1\r\nhost: [::::]\r\n\r\n", "host"),
    "a host that is none": (400, b"GET / HTTP/1.1\r\nhost: a/b@c\r\n\r\n", "nvalid host"),
}  # fmt: skip


@pytest.mark.parametrize("name", _HEADS)
def test_a_head_that_cannot_be_taken_is_refused(target: Target, name: str) -> None:
    status, request, said = _HEADS[name]
    answer = target.sent(request)
    assert answer.status == status
    assert said in answer.error


# Where a request ends


_SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
_CHUNKED = "transfer-encoding: chunked"
_LENGTHS = {
    "both lengths": written("POST", BATCHES, _SMUGGLED, _CHUNKED),
    "chunked, then not": written("POST", BATCHES, _SMUGGLED, _CHUNKED + ", identity", length=False),
    "unknown coding": written(
        "POST", BATCHES, _SMUGGLED, "transfer-encoding: xchunked", length=False
    ),
    "two lengths": written("POST", BATCHES, b"{}", "content-length: 3"),
    "the same twice": written("POST", BATCHES, b"{}", "content-length: 2"),
    **{
        f"length {text}": written("POST", BATCHES, b"{}", f"content-length: {text}", length=False)
        for text in ("-1", "+2", "0x2", "2, 2", "two", "9" * 40)
    },
    "chunk of 2^64": written("POST", BATCHES, b"FFFFFFFFFFFFFFFFF\r\n{}", _CHUNKED, length=False),
    "negative chunk": written("POST", BATCHES, b"-2\r\n{}\r\n", _CHUNKED, length=False),
    "endless extension": written("POST", BATCHES, b"2;" + b"x" * MIB, _CHUNKED, length=False),
    "many trailers": written(
        "POST", BATCHES, chunked(b"{}") + b"0\r\n" + _TOO_MANY, _CHUNKED, length=False
    ),
    "endless trailer": written(
        "POST", BATCHES, chunked(b"{}") + b"0\r\na: " + b"x" * MIB, _CHUNKED, length=False
    ),
}


@pytest.mark.parametrize("name", _LENGTHS)
def test_a_request_without_a_certain_end_is_refused_and_ends_its_connection(
    target: Target, name: str
) -> None:
    answer = target.sent(_LENGTHS[name])
    assert answer.status in (400, 431)
    assert answer.error
    assert answer.headers["connection"] == "close"


def test_a_length_above_the_limit_is_refused_unread(target: Target) -> None:
    request = written("POST", BATCHES, b"", f"content-length: {2**64 - 1}", length=False)
    assert target.refused(request) == "Request exceeds the maximum size: at most 268435456 bytes"


# JSON


_NONSENSE = (
    b"", b"null", b"1", b'"x"', b"[]", b"{", b"NaN", b"{} {}", b'{"name":"\xff"}',
    b'{"model":"\xff"}', b'{"name":"\\ud800"}', b'{"\\u0000":1}', b'{"name":"a\0b"}',
    b'{"a":1,"a":2}', b'{"price":{"model":"\xff"}}', _DEEP_ENOUGH,
    b'{"name":%b}' % _DEEP_ENOUGH, b'{"price":%b}' % _DEEP_ENOUGH,
    b'{"name":%b,"requests":%b}' % (b"9" * 5_000, b"9" * 5_000),
    b'{"model":"claude-haiku-4-5","requests":1e999,"usage":{"input_tokens":1e308}}',
    b'{"low_usd":"1e999999","high_usd":"1e9999999"}',
    b'{"name":"\\u0000","workspace_id":"\\u0000","roles":["read"],"url":"https://a.example"}',
)  # fmt: skip


@pytest.mark.parametrize("path", _READERS)
def test_json_that_makes_no_sense_is_refused(target: Target, path: str) -> None:
    for body in _NONSENSE:
        assert target.refused(written("POST", path, body, _WEBHOOKS_BETA)), body[:60]


@pytest.mark.parametrize(
    ("path", "around"),
    [
        (BATCHES, b'{"requests":%b}'),
        (BATCHES, b'{"requests":[{"custom_id":"a","params":%b}]}'),
        (BATCHES, b'{"requests":[{"custom_id":"a","params":{%b,"metadata":%%b}}]}' % _PARAMS),
        (BATCHES, b'{"requests":[{"custom_id":"a","params":{%b,"unknown":%%b}}]}' % _PARAMS),
        (_MESSAGES, b'{%b,"tools":[{"name":"a","input_schema":%%b}]}' % _PARAMS),
        (_MESSAGES, b'{%b,"unknown":%%b}' % _PARAMS),
        (_COUNT, b'{"model":"claude-sonnet-4-6","messages":%b}'),
    ],
)
def test_json_that_is_too_deep_is_refused(target: Target, path: str, around: bytes) -> None:
    message = target.refused(written("POST", path, around % _DEEP))
    assert message == (
        "The request body is not valid JSON: arrays or objects are nested too deeply"
    )


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (b'"metadata":%b' % _MANY_KEYS, "metadata.k0: Extra inputs are not permitted"),
        (b'"model":"\\u0000"', "model: \0"),
        (b'"model":"%b"' % (b"m" * MIB), "model: mmmm"),
        (b'"temperature":1e999', "a number that is out of range"),
        (b'"max_tokens":%b' % (b"9" * 5_000), "a number that is out of range"),
        (b'"max_tokens":%b' % (b"9" * 400), "max_tokens: 9999"),
        (b'"max_tokens":-1', "max_tokens: must be greater than"),
        (b'"tools":[{"name":"a","input_schema":{"x":1e999}}]', "a number that is out of range"),
        # Of a key that is there twice the last one counts, here and for whoever is asked.
        (b'"model":"nobody"', "model: nobody"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_params_that_make_no_sense_are_an_errored_result_or_refused(
    target: Target, extra: bytes, said: str
) -> None:
    params = b"{%b,%b}" % (_PARAMS, extra)
    message = target.refused(written("POST", _MESSAGES, params))
    assert said in message and len(message) < 2_000
    batch = target.caller.post(BATCHES, b'{"requests":[{"custom_id":"a","params":%b}]}' % params)
    target.caller.ended(batch.json["id"])
    result = target.caller.results(batch.json["id"])["a"]
    assert result["type"] == "errored"
    assert said in result["error"]["error"]["message"]


# Paths, queries, headers


_LISTS = [BATCHES, "/v1/models", _WORKSPACES, _WEBHOOKS, _KEYS]


@pytest.mark.parametrize("path", _LISTS)
def test_an_id_that_cannot_be_one_is_not_found(target: Target, path: str) -> None:
    for name in (
        "%00", "%ff", "%c0%ae%c0%ae", "%ed%a0%80", "%0d%0aset-cookie:a", ";", "..", "%2e%2e",
        "a%2f..%2fb", "a\\b", "%", "%zz", "'--", "x" * 9_000,
    ):  # fmt: skip
        answer = target.sent(written("GET", f"{path}/{name}", b"", _WEBHOOKS_BETA))
        assert answer.status == 404, name
        assert answer.error
        assert "set-cookie" not in answer.headers


def test_no_path_leads_out_of_the_service(target: Target) -> None:
    for path in (
        "/../etc/passwd", "/static/../../x", "/static/%2e%2e/%2e%2e/x", "/static/x/..%2f..%2fx",
        "/static/x/%00", "//etc/passwd", "/price/../../x", "*",
    ):  # fmt: skip
        assert target.sent(written("GET", path)).status == 404, path


@pytest.mark.parametrize("path", _LISTS)
def test_a_query_that_makes_no_sense_is_refused(target: Target, path: str) -> None:
    for query in (
        "limit=1e9", f"limit={'9' * 400}", "limit=-1", "limit=%00", "after_id=%00", "after_id=%ff",
        f"before_id={'x' * 9_000}", "after_id=a&before_id=b",
    ):  # fmt: skip
        assert target.refused(written("GET", f"{path}?{query}", b"", _WEBHOOKS_BETA)), query


@pytest.mark.parametrize("name", ["models[]", "workspace_ids[]", "page", "starting_at", "limit"])
def test_a_report_of_what_cannot_be_is_empty_or_refused(target: Target, name: str) -> None:
    path = f"{_REPORT}?starting_at=2026-01-01T00:00:00Z&{name}=%00"
    assert target.sent(written("GET", path)).status in (200, 400)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("idempotency-key: " + _LONG, "idempotency-key: 2000 characters"),
        ("anthropic-user-profile-id: " + _LONG, "anthropic-user-profile-id: "),
        ("anthropic-user-profile-id: \xff", "anthropic-user-profile-id: "),
        ("anthropic-beta: \xff", "anthropic-beta: "),
        ("anthropic-beta: " + ",".join(f"beta-{n}" for n in range(5_000)), "anthropic-beta: "),
        ("content-type: multipart/form-data; boundary=x", "multipart/form-data is not JSON"),
        ("content-encoding: zstd", "content-encoding: zstd is not supported"),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_header_that_makes_no_sense_is_refused(target: Target, line: str, said: str) -> None:
    body = b'{"requests":[{"custom_id":"a","params":{%b}}]}' % _PARAMS
    assert said in target.refused(written("POST", BATCHES, body, line))


def test_no_header_that_is_echoed_adds_a_line_or_a_foreign_address(target: Target) -> None:
    batch = target.caller.run(request())["id"]
    forged = ("x-forwarded-proto: javascript", "x-forwarded-host: a b<script>")
    shown = json.loads(target.sent(written("GET", f"{BATCHES}/{batch}", b"", *forged)).body)
    assert shown["results_url"] == f"http://localhost{BATCHES}/{batch}/results"


# Memory


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_floods_leave_the_memory_flat(target: Target) -> None:
    bomb = gzip.compress(bytes(300 * MIB), compresslevel=1)
    floods = (
        (b"GET / HTTP/1.1\r\na: ", *[b"x" * MIB] * 20),
        (b"GET /", *[b"x" * MIB] * 20),
        (written("POST", BATCHES, b"2;", _CHUNKED, length=False), *[b"x" * MIB] * 20),
        (written("POST", _MESSAGES, bomb, "content-encoding: gzip"),),
        (written("POST", BATCHES, b'{"requests":%b}' % _DEEP),),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 100_000,),
        # What threads have used they keep for the next time.
        *((written("POST", _COUNT, _MANY_KEYS),) for _ in range(3)),
    )
    for parts in floods:
        flood(target.port, *parts)
    before = target.resident_bytes
    for parts in floods:
        flood(target.port, *parts)
    assert target.resident_bytes - before < 64 * MIB
    assert target.sent(written("GET", "/healthz")).status == 200
