"""Result lines: exact bytes, key order, and what becomes of `usage`."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.wire import results

FULL_USAGE = (
    '{"input_tokens":12,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
    '"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
    '"output_tokens":9,"service_tier":"standard","inference_geo":"us"}'
)


def message(usage: str) -> bytes:
    return f'{{"id":"msg_1","content":[],"usage":{usage},"extra":[1.50]}}'.encode()


def usage_of(line: bytes) -> dict[str, Any]:
    usage: dict[str, Any] = json.loads(line)["result"]["message"]["usage"]
    return usage


def test_a_succeeded_line_changes_the_service_tier_and_no_other_byte() -> None:
    line = results.succeeded_line("doc-1", message(FULL_USAGE))
    changed = message(FULL_USAGE.replace('"standard"', '"batch"'))
    head = b'{"custom_id":"doc-1","result":{"type":"succeeded","message":'
    assert line == head + changed + b"}}"


def test_missing_usage_keys_are_filled_in_behind_those_of_the_backend() -> None:
    line = results.succeeded_line("a", message('{"output_tokens":9,"input_tokens":12}'))
    assert list(usage_of(line).items()) == [
        ("output_tokens", 9),
        ("input_tokens", 12),
        ("cache_creation_input_tokens", 0),
        ("cache_read_input_tokens", 0),
        ("cache_creation", {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}),
        ("inference_geo", "not_available"),
        ("service_tier", "batch"),
    ]


@pytest.mark.parametrize("body", [b'{"id":"m"}', b'{"id":"m","usage":null}'])
def test_a_message_without_usage_gets_one(body: bytes) -> None:
    usage = usage_of(results.succeeded_line("a", body))
    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)
    assert usage["service_tier"] == "batch"


def test_null_counts_are_filled_in_and_other_keys_stay() -> None:
    given_usage = '{"input_tokens":1,"output_tokens":2,"cache_creation":null,"speed":null}'
    usage = usage_of(results.succeeded_line("a", message(given_usage)))
    assert usage["cache_creation"]["ephemeral_5m_input_tokens"] == 0
    assert usage["speed"] is None


def test_cache_writes_without_parts_count_as_five_minute_writes() -> None:
    usage = usage_of(results.succeeded_line("a", message('{"cache_creation_input_tokens":17}')))
    assert usage["cache_creation"] == {
        "ephemeral_5m_input_tokens": 17,
        "ephemeral_1h_input_tokens": 0,
    }


def test_the_parts_of_cache_writes_give_their_missing_total() -> None:
    parts = '{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}'
    usage = usage_of(results.succeeded_line("a", message(f'{{"cache_creation":{parts}}}')))
    assert usage["cache_creation_input_tokens"] == 7


def test_raw_line_breaks_between_tokens_are_taken_out_and_numbers_stay() -> None:
    pretty = b'{\r\n "id": "m\\n",\n "content": [\n1.50e3 ],\n "usage": {\n"input_tokens": 1}}'
    line = results.succeeded_line("a", pretty)
    assert b"\n" not in line and b"\r" not in line
    assert b'"message":{"id":"m\\n","content":[1.50e3],"usage":{"input_tokens":1,' in line


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"usage":[]}', b'{"id":"m"'])
def test_what_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        results.succeeded_line("a", body)


def test_an_errored_line_has_the_doubled_nesting_and_captured_key_order() -> None:
    line = results.errored_line("b", "invalid_request_error", "max_tokens: …")
    assert line.decode() == (
        '{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":'
        '{"details":null,"type":"invalid_request_error","message":"max_tokens: …"},'
        '"request_id":null}}}'
    )


def test_an_errored_line_carries_details_and_the_request_id_of_the_call() -> None:
    line = results.errored_line("b", "api_error", "x", {"error_code": "c"}, "req_1")
    assert b'{"details":{"error_code":"c"},"type":"api_error","message":"x"}' in line
    assert line.endswith(b'"request_id":"req_1"}}}')


def test_details_of_a_backend_keep_their_bytes_but_for_line_breaks() -> None:
    details = msgspec.Raw(b'{"n":1.50,\n"paths":[ ]}')
    line = results.errored_line("b", "api_error", "two\nlines", details, None)
    assert b'"details":{"n":1.50,"paths":[]}' in line
    assert b'"two\\nlines"' in line and b"\n" not in line


def test_canceled_and_expired_lines_carry_nothing_but_their_type() -> None:
    assert results.canceled_line("c") == b'{"custom_id":"c","result":{"type":"canceled"}}'
    assert results.expired_line("d") == b'{"custom_id":"d","result":{"type":"expired"}}'


def test_each_line_reads_back_as_what_it_was() -> None:
    lines = {
        results.succeeded_line("a", b"{}"): results.Succeeded,
        results.errored_line("a", "api_error", "x"): results.Errored,
        results.canceled_line("a"): results.Canceled,
        results.expired_line("a"): results.Expired,
    }
    for line, kind in lines.items():
        assert isinstance(results.read_result(line).result, kind)
        assert results.read_result(line).custom_id == "a"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)
_objects = st.dictionaries(st.text(st.characters(codec="utf-8")), _json)


@given(body=_objects, indent=st.none() | st.integers(0, 2))
def test_any_message_keeps_all_but_its_usage_on_one_line(
    body: dict[str, Any], indent: int | None
) -> None:
    body.pop("usage", None)
    line = results.succeeded_line("a", json.dumps(body, indent=indent).encode())
    assert b"\n" not in line and b"\r" not in line
    written = json.loads(line)["result"]["message"]
    assert list(written)[:-1] == list(body)
    assert written.pop("usage")["service_tier"] == "batch"
    assert written == body
