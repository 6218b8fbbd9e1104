"""How a body may arrive: codings, charsets, lengths, and what follows it.

Pins protocol.md §2.1, §2.5, §8.4.
"""

import gzip
import json
import zlib

import pytest
from tests.wire.caller import BATCHES, Answer, Caller, request
from tests.wire.conftest import ServeWith

_BODY = json.dumps({"requests": [request()]}).encode()


def _code(answer: Answer) -> tuple[int, str, str]:
    error = answer.json["error"]
    return answer.status, error["type"], error["details"]["error_code"]


def test_a_gzip_body_is_accepted(caller: Caller) -> None:
    answer = caller.post(BATCHES, gzip.compress(_BODY), headers={"content-encoding": "gzip"})
    assert answer.status == 200
    assert caller.ended(answer.json["id"])["request_counts"]["succeeded"] == 1


def test_a_body_of_several_gzip_members_is_accepted(caller: Caller) -> None:
    body = gzip.compress(_BODY[:20]) + gzip.compress(_BODY[20:])
    assert caller.post(BATCHES, body, headers={"content-encoding": "gzip"}).status == 200


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_any_other_coding_is_refused_with_its_code(caller: Caller, coding: str) -> None:
    answer = caller.post(BATCHES, zlib.compress(_BODY), headers={"content-encoding": coding})
    assert _code(answer) == (400, "invalid_request_error", "request_body_encoding_unsupported")


@pytest.mark.parametrize("body", [_BODY, gzip.compress(_BODY)[:-9], gzip.compress(_BODY) + b"x"])
def test_a_corrupt_gzip_stream_is_refused_with_its_code(caller: Caller, body: bytes) -> None:
    answer = caller.post(BATCHES, body, headers={"content-encoding": "gzip"})
    assert _code(answer) == (400, "invalid_request_error", "request_body_encoding_invalid")


def test_the_limit_counts_bytes_after_decoding(serve_with: ServeWith) -> None:
    caller = serve_with(max_batch_bytes=4096).caller()
    body = gzip.compress(b" " * 4097)
    answer = caller.post(BATCHES, body, headers={"content-encoding": "gzip"})
    assert _code(answer) == (413, "request_too_large", "request_body_too_large_after_decoding")


def test_latin_1_is_read_as_latin_1(caller: Caller) -> None:
    text = 'Zusammenfassen: "Größe"'
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"requests": [request(messages=messages)]}, ensure_ascii=False)
    answer = caller.call(
        "POST",
        BATCHES,
        body.encode("latin-1"),
        headers={"content-type": "application/json; charset=ISO-8859-1"},
    )
    assert answer.status == 200
    result = caller.results(caller.ended(answer.json["id"])["id"])["a"]
    assert "Größe" in result["message"]["content"][0]["text"]


def test_any_other_charset_is_refused_with_its_code(caller: Caller) -> None:
    content_type = {"content-type": "application/json; charset=utf-16"}
    answer = caller.call("POST", BATCHES, _BODY.decode().encode("utf-16"), headers=content_type)
    assert _code(answer) == (400, "invalid_request_error", "unsupported_charset")


def test_a_chunked_body_is_accepted(caller: Caller) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (_BODY[:7], _BODY[7:])) + b"0\r\n\r\n"
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    assert caller.call("POST", BATCHES, chunks, headers=headers).status == 200


def test_the_content_type_may_be_left_out(caller: Caller) -> None:
    assert caller.call("POST", BATCHES, _BODY).status == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_what_a_form_of_a_browser_sends_is_refused(caller: Caller, content_type: str) -> None:
    answer = caller.call("POST", BATCHES, _BODY, headers={"content-type": content_type})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].endswith("is not JSON; send application/json")
    assert caller.get(BATCHES).json["data"] == []


def test_characters_outside_ascii_need_no_escapes(caller: Caller) -> None:
    messages = [{"role": "user", "content": "日本語 \u2028 \u0085 🦉"}]
    body = json.dumps({"requests": [request(messages=messages)]}, ensure_ascii=False).encode()
    batch = caller.ended(caller.post(BATCHES, body).json["id"])
    text = caller.results(batch["id"])["a"]["message"]["content"][0]["text"]
    assert "日本語" in text and "🦉" in text


@pytest.mark.parametrize("junk", [b"x", b"{}", b"\x00", b",", b"]"])
def test_what_follows_the_object_is_refused(caller: Caller, junk: bytes) -> None:
    answer = caller.post(BATCHES, _BODY + junk)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith("The request body is not valid JSON: ")
    assert caller.get(BATCHES).json["data"] == []


@pytest.mark.parametrize("space", [b"\n", b" \r\n\t", b""])
def test_white_space_around_the_object_is_no_fault(caller: Caller, space: bytes) -> None:
    assert caller.post(BATCHES, space + _BODY + space).status == 200
