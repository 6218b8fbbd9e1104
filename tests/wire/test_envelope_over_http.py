"""Faults of the envelope: 400 at once, in these words, and nothing is stored.

Pins protocol.md §4.1. Rows marked INF there are our wording of a rule that is documented.
"""

import json
import re
from typing import Any

import pytest
from tests.wire.caller import BATCHES, Caller, request
from tests.wire.conftest import ServeWith

_GOOD = request("good")
_PARAMS = _GOOD["params"]
_PATTERN = "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
_DUPLICATE = "requests: custom_id's must be unique within a batch. Duplicate custom_id found: dup"


def _one(**row: Any) -> dict[str, Any]:
    return {"requests": [row]}


def _id(custom_id: Any) -> dict[str, Any]:
    return _one(custom_id=custom_id, params=_PARAMS)


_FAULTS: dict[str, tuple[Any, str]] = {
    "requests missing": ({}, "requests: Field required"),
    "requests empty": (
        {"requests": []},
        "requests: List should have at least 1 item after validation, not 0",
    ),
    "requests no list": ({"requests": {}}, "requests: Input should be a valid list"),
    "body no object": ([_GOOD], "Input should be a valid dictionary"),
    "key of the body unknown": (
        {"requests": [_GOOD], "webhook_url": "x"},
        "webhook_url: Extra inputs are not permitted",
    ),
    "key of a request unknown": (
        {"requests": [_GOOD, {**_GOOD, "custom_id": "b", "priority": 1}]},
        "requests.1.priority: Extra inputs are not permitted",
    ),
    "request no object": (
        {"requests": ["x"]},
        "requests.0: Input should be a valid dictionary",
    ),
    "custom_id missing": (_one(params=_PARAMS), "requests.0.custom_id: Field required"),
    "custom_id no string": (_id(7), "requests.0.custom_id: Input should be a valid string"),
    "custom_id null": (_id(None), "requests.0.custom_id: Input should be a valid string"),
    "custom_id empty": (_id(""), "requests.0.custom_id: String should have at least 1 character"),
    "custom_id of 65 characters": (
        _id("x" * 65),
        "requests.0.custom_id: String should have at most 64 characters",
    ),
    "custom_id with a dot": (_id("a.b"), f"requests.0.custom_id: {_PATTERN}"),
    "custom_id with a blank": (_id("a b"), f"requests.0.custom_id: {_PATTERN}"),
    "custom_id with a line break": (_id("a\n"), f"requests.0.custom_id: {_PATTERN}"),
    "custom_id with an umlaut": (_id("ä"), f"requests.0.custom_id: {_PATTERN}"),
    "custom_id twice": ({"requests": [request("dup"), _GOOD, request("dup")]}, _DUPLICATE),
    "params missing": (_one(custom_id="a"), "requests.0.params: Field required"),
    "params no object": (
        _one(custom_id="a", params=[]),
        "requests.0.params: Input should be a valid dictionary",
    ),
    "several faults: the first counts": (
        {"requests": [{"custom_id": "a b"}, {"params": 1}]},
        f"requests.0.custom_id: {_PATTERN}",
    ),
}


@pytest.mark.parametrize("name", _FAULTS)
def test_a_fault_of_the_envelope_is_refused_at_once(caller: Caller, name: str) -> None:
    body, message = _FAULTS[name]
    answer = caller.post(BATCHES, body)
    assert answer.error == (400, "invalid_request_error", message)
    assert answer.header("x-should-retry") == "false"
    assert caller.get(BATCHES).json["data"] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"not json", b'{"requests":[}', b'{"requests":[NaN]}', b"\xff\xfe"]
)
def test_what_is_no_json_is_refused_at_once(caller: Caller, body: bytes) -> None:
    answer = caller.post(BATCHES, body)
    assert answer.error[:2] == (400, "invalid_request_error")
    if body:
        text = r"The request body is not valid JSON: .+: line \d+ column \d+ \(char \d+\)"
        assert re.fullmatch(text, answer.error[2])
    assert caller.get(BATCHES).json["data"] == []


def test_the_longest_custom_id_and_all_its_characters_are_accepted(caller: Caller) -> None:
    longest = "abcxyzABCXYZ0189_-".ljust(64, "-")
    assert list(caller.results(caller.run(request(longest))["id"])) == [longest]


def test_one_request_more_than_the_limit_is_refused(serve_with: ServeWith) -> None:
    caller = serve_with(max_requests_per_batch=3).caller()
    four = {"requests": [request(str(n)) for n in range(4)]}
    text = "requests: List should have at most 3 items after validation, not 4"
    assert caller.post(BATCHES, four).error == (400, "invalid_request_error", text)
    assert caller.run(*four["requests"][:3])["request_counts"]["succeeded"] == 3


def test_the_default_limit_is_10000_requests(caller: Caller) -> None:
    params = json.dumps(_PARAMS)
    rows = ",".join(f'{{"custom_id":"{n}","params":{params}}}' for n in range(10_001))
    text = "requests: List should have at most 10000 items after validation, not 10001"
    answer = caller.post(BATCHES, f'{{"requests":[{rows}]}}'.encode())
    assert answer.error == (400, "invalid_request_error", text)


@pytest.mark.parametrize("params", [{}, {"model": 1}, {"messages": "x", "stream": True}])
def test_params_are_not_read_when_the_batch_is_created(
    caller: Caller, params: dict[str, Any]
) -> None:
    batch = caller.run({"custom_id": "a", "params": params})
    assert batch["request_counts"]["errored"] == 1
