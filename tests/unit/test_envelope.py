"""The create body: each fault's text, its place, and what of the caller's bytes is kept."""

import json
import mmap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.errors import InvalidRequest
from overnight.wire.envelope import read_envelope

ROW: dict[str, Any] = {"custom_id": "a", "params": {}}
NOT_JSON = "The request body is not valid JSON: "


def fault(body: Any, max_requests: int = 10) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as refused:
        read_envelope(raw, max_requests=max_requests)
    return refused.value.message


def row(**changes: Any) -> dict[str, Any]:
    return {"requests": [ROW | changes]}


def with_params(params: bytes) -> bytes:
    return b'{"requests":[{"custom_id":"a","params":' + params + b"}]}"


def test_params_stay_the_callers_bytes() -> None:
    params = '{ "b" : 1.50, "a":"\\u0061é",\n"big":123456789012345678901234567890 }'.encode()
    envelope = read_envelope(with_params(params), max_requests=1)
    assert bytes(envelope.requests[0].params) == params
    assert envelope.requests[0].custom_id == "a"


FAULTS: list[tuple[Any, str]] = [
    ({}, "requests: Field required"),
    (
        {"requests": []},
        "requests: List should have at least 1 item after validation, not 0",
    ),
    ({"requests": [ROW], "foo": 1}, "foo: Extra inputs are not permitted"),
    (row(foo=1), "requests.0.foo: Extra inputs are not permitted"),
    ({"requests": [{"params": {}}]}, "requests.0.custom_id: Field required"),
    ({"requests": [{"custom_id": "a"}]}, "requests.0.params: Field required"),
    (
        row(custom_id="x" * 65),
        "requests.0.custom_id: String should have at most 64 characters",
    ),
    (row(custom_id=""), "requests.0.custom_id: String should have at least 1 character"),
    (
        row(custom_id="a b"),
        "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    (
        row(custom_id="a\n"),
        "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    (row(custom_id=7), "requests.0.custom_id: Input should be a valid string"),
    (
        {"requests": [ROW, ROW | {"custom_id": "dup"}, ROW | {"custom_id": "dup"}, ROW]},
        "requests: custom_id's must be unique within a batch. Duplicate custom_id found: dup",
    ),
    ({"requests": {}}, "requests: Input should be a valid list"),
    ({"requests": [5]}, "requests.0: Input should be a valid dictionary"),
    (row(params=5), "requests.0.params: Input should be a valid dictionary"),
    (row(params=None), "requests.0.params: Input should be a valid dictionary"),
    ([], "Input should be a valid dictionary"),
    (b"null", "Input should be a valid dictionary"),
]


@pytest.mark.parametrize(("body", "message"), FAULTS)
def test_a_fault_of_the_envelope_has_the_documented_text(body: Any, message: str) -> None:
    assert fault(body) == message


def test_too_many_requests_names_the_limit_and_the_number() -> None:
    rows: list[Any] = [{"custom_id": str(i), "params": {}} for i in range(4)]
    assert fault({"requests": rows}, max_requests=3) == (
        "requests: List should have at most 3 items after validation, not 4"
    )
    assert len(read_envelope(json.dumps({"requests": rows}).encode(), max_requests=4).requests) == 4


def test_the_first_fault_in_document_order_is_reported() -> None:
    bad: list[Any] = [ROW, {"custom_id": "b c", "params": 5}, {"params": {}}]
    assert fault({"requests": bad}).startswith("requests.1.custom_id: ")
    assert fault({"foo": 1, "requests": bad}).startswith("foo: ")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "unexpected end of data: line 1 column 1 (char 0)"),
        (b'{"requests":[', "unexpected end of data: line 1 column 14 (char 13)"),
        (b'{"requests":\n\n [x]}', "invalid character: line 3 column 3 (char 16)"),
        (b'{"\xc3\xa9":\n"\xc3\xa9" x', "expected ',' or '}': line 2 column 5 (char 10)"),
        (b'{"requests":[]} x', "trailing characters: line 1 column 17 (char 16)"),
        (b'\xef\xbb\xbf{"requests":[]}', "invalid character: line 1 column 1 (char 0)"),
        (b"\x00", "invalid character: line 1 column 1 (char 0)"),
        (b'{"requests":5, "x": NaN}', "invalid character: line 1 column 21 (char 20)"),
        (b'{"requests":5, "x": "\xff"}', "invalid UTF-8: line 1 column 22 (char 21)"),
        (b'{"\xff":5}', "invalid UTF-8: line 1 column 3 (char 2)"),
        (
            b'{"requests":[{"custom_id":"\xff","params":{}}]}',
            "invalid UTF-8: line 1 column 28 (char 27)",
        ),
    ],
)
def test_a_syntax_fault_names_its_line_column_and_character(body: bytes, place: str) -> None:
    assert fault(body) == NOT_JSON + place


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (b'{"x":"\xff"}', "invalid UTF-8"),
        (b'{"\xed\xa0\x80":1}', "invalid UTF-8"),
        (b'{"x":"\xc3"}', "invalid UTF-8"),
        (b'{"x":NaN}', "invalid character"),
        (b'{"x":-Infinity}', "invalid character"),
        (b'{"x":01}', "invalid number"),
        (b'{"x":"a\x00"}', "invalid character"),
        (b'{"x":"a\n"}', "invalid character"),
        (b'{"x":"\\q"}', "invalid escaped character"),
        (b'{"x":"\\ud800, and more text"}', "no low surrogate in string"),
        (b'{"x":"\\udc00, and more text"}', "no low surrogate in string"),
        (b'{"x":1,}', "trailing comma in object"),
        (b'{"x":[1,]}', "trailing comma in array"),
        (b"{1:2}", "expected '\"'"),
    ],
)
def test_params_that_are_not_json_are_refused_at_create(params: bytes, text: str) -> None:
    assert fault(with_params(params)).startswith(f"{NOT_JSON}{text}: line 1 column ")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_endless_nesting_is_refused_and_not_a_crash(opening: bytes) -> None:
    nested = opening * 200_000
    too_deep = NOT_JSON + "arrays or objects are nested too deeply"
    assert fault(with_params(nested)) == too_deep
    assert fault(nested) == too_deep
    assert fault(b'{"foo":' + nested) == too_deep


def test_invalid_utf8_is_found_across_the_edges_of_a_long_body() -> None:
    for length in range((1 << 20) - 50, (1 << 20) - 40):
        text = b"x" * length + "é€😀".encode()
        good = with_params(b'{"x":"' + text + b'"}')
        assert len(read_envelope(good, max_requests=1).requests) == 1
        bad = good.replace("😀".encode(), b"\xf0\x9f\x98")
        # Each of é and € is one character of several bytes.
        character = bad.index(b"\xf0") - 3
        assert f"(char {character})" in fault(bad)


def test_huge_numbers_in_params_are_let_through_as_they_are() -> None:
    params = b'{"x":1e999,"y":' + b"9" * 5000 + b"}"
    assert bytes(read_envelope(with_params(params), max_requests=1).requests[0].params) == params


def test_of_a_repeated_key_the_last_counts() -> None:
    body = b'{"requests":[],"requests":[{"custom_id":"a","custom_id":"b","params":{}}]}'
    assert read_envelope(body, max_requests=1).requests[0].custom_id == "b"


def test_a_repeated_key_with_a_wrong_value_is_refused() -> None:
    body = b'{"requests":5,"requests":[{"custom_id":"a","params":{}}]}'
    assert "key twice" in fault(body)


@pytest.mark.parametrize("content", [b'{"requests":[{"custom_id":"a","params":5}]}', b"[\xff]"])
def test_a_refused_mapped_file_can_be_closed_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "body"
    path.write_bytes(content)
    with (
        path.open("rb") as file,
        pytest.raises(InvalidRequest),
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        read_envelope(mapped, max_requests=1)


def test_a_mapped_file_and_a_view_read_like_bytes(tmp_path: Path) -> None:
    body = with_params(b'{"a":1}')
    path = tmp_path / "body"
    path.write_bytes(body)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        envelope = read_envelope(mapped, max_requests=1)
        assert bytes(envelope.requests[0].params) == b'{"a":1}'
        del envelope
    assert len(read_envelope(memoryview(body), max_requests=1).requests) == 1


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_no_bytes_make_it_raise_anything_else(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_envelope(body, max_requests=1)


_VALID = b'{"requests":[{"custom_id":"a","params":{"m":"\xc3\xa9","n":[1,2.5,null]}}]}'


@given(st.integers(0, len(_VALID)), st.integers(0, 4), st.binary(max_size=3))
def test_a_body_cut_or_changed_anywhere_is_read_or_refused(at: int, cut: int, put: bytes) -> None:
    body = _VALID[:at] + put + _VALID[at + cut :]
    try:
        envelope = read_envelope(body, max_requests=1)
    except InvalidRequest as refused:
        assert refused.message
    else:
        # What was accepted is what any other parser accepts.
        assert len(json.loads(body)["requests"]) == len(envelope.requests) == 1
