"""The results: headers, lines, order, bytes.

Pins protocol.md §3.5–3.7, §6, §15.5.
"""

import json
import re

import pytest
from tests.wire.caller import BATCHES, Answer, Caller, Object, request
from tests.wire.conftest import NewCaller

_COUNT = 700


@pytest.fixture(scope="module")
def ended(new_caller: NewCaller) -> tuple[Caller, Object]:
    """A batch of several shards with results of two kinds, and its caller."""
    caller = new_caller()
    rows = [request(f"doc-{n}", max_tokens=0 if n % 7 == 0 else 32) for n in range(_COUNT)]
    rows.append(request("odd", messages=[{"role": "user", "content": "a\r\nb\u2028c\u0085d\n"}]))
    return caller, caller.run(*rows)


@pytest.fixture(scope="module")
def download(ended: tuple[Caller, Object]) -> Answer:
    caller, batch = ended
    return caller.get(f"{BATCHES}/{batch['id']}/results")


def test_the_headers_are_those_of_a_file_of_known_length(
    ended: tuple[Caller, Object], download: Answer
) -> None:
    _, batch = ended
    assert download.status == 200
    assert download.header("content-type") == "application/x-jsonl"
    name = f'attachment; filename="{batch["id"]}_results.jsonl"'
    assert download.header("content-disposition") == name
    assert download.header("transfer-encoding") is None
    assert download.header("content-length") == str(len(download.body))
    assert download.header("content-encoding") is None
    assert download.header("request-id") is not None


def test_the_file_is_not_compressed_although_the_client_offers_it(
    ended: tuple[Caller, Object], download: Answer
) -> None:
    caller, batch = ended
    answer = caller.get(
        f"{BATCHES}/{batch['id']}/results", headers={"accept-encoding": "gzip, deflate"}
    )
    assert answer.header("content-encoding") is None
    assert answer.body == download.body


def test_lines_end_with_one_lf_and_none_is_empty(download: Answer) -> None:
    assert b"\r" not in download.body
    assert b"\n\n" not in download.body
    assert not download.body.startswith(b"\n")
    lines = download.body.removesuffix(b"\n").split(b"\n")
    assert len(lines) == _COUNT + 1
    for line in lines:
        assert line == line.strip()
        json.loads(line)


def test_there_is_exactly_one_line_per_custom_id(download: Answer) -> None:
    ids = [json.loads(line)["custom_id"] for line in download.body.splitlines() if line]
    assert sorted(ids) == sorted([f"doc-{n}" for n in range(_COUNT)] + ["odd"])


def test_two_downloads_have_identical_bytes(ended: tuple[Caller, Object], download: Answer) -> None:
    caller, batch = ended
    assert caller.get(f"{BATCHES}/{batch['id']}/results").body == download.body


def test_the_lines_agree_with_the_counts(ended: tuple[Caller, Object], download: Answer) -> None:
    _, batch = ended
    kinds = [json.loads(line)["result"]["type"] for line in download.body.splitlines() if line]
    assert batch["request_counts"] == {
        kind: kinds.count(kind)
        for kind in ("processing", "succeeded", "errored", "canceled", "expired")
    }


def test_a_succeeded_line_has_these_keys(download: Answer) -> None:
    line = next(json.loads(x) for x in download.body.splitlines() if b'"succeeded"' in x)
    assert list(line) == ["custom_id", "result"]
    assert list(line["result"]) == ["type", "message"]
    message = line["result"]["message"]
    assert {"id", "type", "role", "model", "content", "stop_reason", "usage"} <= set(message)
    assert message["stop_sequence"] is None
    assert re.fullmatch(r"msg_01[1-9A-HJ-NP-Za-km-z]{22}", message["id"])
    assert message["type"] == "message" and message["role"] == "assistant"
    assert message["stop_reason"] in {"end_turn", "max_tokens"}


def test_usage_says_that_it_is_a_batch(download: Answer) -> None:
    line = next(json.loads(x) for x in download.body.splitlines() if b'"succeeded"' in x)
    usage = line["result"]["message"]["usage"]
    assert usage["service_tier"] == "batch"
    assert set(usage) >= {
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "output_tokens",
        "inference_geo",
    }
    parts = usage["cache_creation"]
    assert list(parts) == ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]
    assert usage["cache_creation_input_tokens"] == sum(parts.values())
    for key in ("input_tokens", "output_tokens"):
        assert type(usage[key]) is int and usage[key] > 0


def test_the_model_of_a_message_is_the_dated_one(caller: Caller) -> None:
    batch = caller.run(request(model="claude-haiku-4-5"))
    message = caller.results(batch["id"])["a"]["message"]
    assert message["model"] == "claude-haiku-4-5-20251001"


def test_a_refusal_is_a_succeeded_result(caller: Caller) -> None:
    batch = caller.run(request("refusing"))
    assert batch["request_counts"]["succeeded"] == 1
    message = caller.results(batch["id"])["refusing"]["message"]
    assert message["stop_reason"] == "refusal"
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    assert message["stop_details"] == details


def test_a_forced_tool_is_used(caller: Caller) -> None:
    tool = {"name": "get", "input_schema": {"type": "object", "properties": {}}}
    choice = {"type": "tool", "name": "get"}
    batch = caller.run(request("a", max_tokens=512, tools=[tool], tool_choice=choice))
    message = caller.results(batch["id"])["a"]["message"]
    assert message["stop_reason"] == "tool_use"
    block = message["content"][-1]
    assert (block["type"], block["name"]) == ("tool_use", "get")
    assert block["id"].startswith("toolu_") and isinstance(block["input"], dict)


def test_structured_output_is_json_of_the_schema(caller: Caller) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "integer"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    batch = caller.run(request("a", max_tokens=512, output_config=config))
    text = caller.results(batch["id"])["a"]["message"]["content"][0]["text"]
    assert type(json.loads(text)["answer"]) is int


def test_cached_tokens_are_counted_apart(caller: Caller) -> None:
    block = {"type": "text", "text": "word " * 6000, "cache_control": {"type": "ephemeral"}}
    first = caller.run(request("a", model="claude-haiku-4-5", system=[block]))
    again = caller.run(request("b", model="claude-haiku-4-5", system=[block]))
    written = caller.results(first["id"])["a"]["message"]["usage"]
    read = caller.results(again["id"])["b"]["message"]["usage"]
    tokens = written["cache_creation_input_tokens"]
    assert tokens > 4096 and written["cache_read_input_tokens"] == 0
    assert written["cache_creation"]["ephemeral_5m_input_tokens"] == tokens
    assert (read["cache_read_input_tokens"], read["cache_creation_input_tokens"]) == (tokens, 0)
    assert read["input_tokens"] == written["input_tokens"] < 100


def test_an_errored_line_is_these_bytes(caller: Caller) -> None:
    batch = caller.run(request("b", messages=[]))
    body = caller.get(f"{BATCHES}/{batch['id']}/results").body
    assert body.removesuffix(b"\n").decode() == (
        '{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":'
        '{"details":null,"type":"invalid_request_error",'
        '"message":"messages: at least one message is required"},"request_id":null}}}'
    )


def test_unknown_ids_have_no_results(caller: Caller) -> None:
    answer = caller.get(f"{BATCHES}/msgbatch_01nothing/results")
    text = "Message Batch msgbatch_01nothing not found."
    assert answer.error == (404, "not_found_error", text)
