"""What every answer carries: ids, retry hints, content types.

Pins protocol.md §7, §8.5, §15.11.
"""

import re
import uuid

import pytest
from tests.wire.caller import BATCHES, Caller, request
from tests.wire.conftest import ServeWith
from tests.wire.served import HELD_S

_REQUEST_ID = re.compile(r"req_011C[1-9A-HJ-NP-Za-km-z]{20}")
_UNKNOWN = f"{BATCHES}/msgbatch_01unknown"

_CALLS = [
    ("GET", BATCHES, 200),
    ("GET", f"{BATCHES}?limit=0", 400),
    ("GET", _UNKNOWN, 404),
    ("GET", f"{_UNKNOWN}/results", 404),
    ("POST", f"{_UNKNOWN}/cancel", 404),
    ("DELETE", _UNKNOWN, 404),
    ("POST", BATCHES, 400),
    ("GET", "/v1/models", 200),
    ("GET", "/no/such/route", 404),
    ("GET", "/v1/messages/batches/a/b/c", 404),
    ("PUT", BATCHES, 405),
    ("PATCH", _UNKNOWN, 405),
    ("GET", "/v1/messages", 405),
    ("GET", f"{_UNKNOWN}/cancel", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), _CALLS)
def test_every_answer_has_a_request_id(caller: Caller, method: str, path: str, status: int) -> None:
    answer = caller.call(method, path)
    assert answer.status == status
    request_id = answer.header("request-id")
    assert request_id is not None and _REQUEST_ID.fullmatch(request_id)
    if status >= 400:
        assert answer.json["request_id"] == request_id


@pytest.mark.parametrize(("method", "path", "status"), _CALLS)
def test_a_client_error_tells_the_sdk_not_to_retry(
    caller: Caller, method: str, path: str, status: int
) -> None:
    expected = "false" if status >= 400 else None
    assert caller.call(method, path).header("x-should-retry") == expected


@pytest.mark.parametrize(("method", "path", "status"), [c for c in _CALLS if c[2] >= 400])
def test_an_error_is_this_object_in_this_order(
    caller: Caller, method: str, path: str, status: int
) -> None:
    answer = caller.call(method, path)
    assert list(answer.json) == ["type", "error", "request_id"]
    assert answer.json["type"] == "error"
    assert list(answer.json["error"])[:2] == ["type", "message"]
    assert answer.header("content-type") == "application/json"


def test_two_answers_never_have_the_same_request_id(caller: Caller) -> None:
    seen = {caller.get(BATCHES).header("request-id") for _ in range(20)}
    assert len(seen) == 20


def test_an_answer_names_the_organization_and_the_workspace(caller: Caller) -> None:
    for path in (BATCHES, _UNKNOWN, "/v1/models"):
        answer = caller.get(path)
        assert answer.header("anthropic-workspace-id") == caller.workspace_id
        organization = answer.header("anthropic-organization-id")
        assert organization is not None and str(uuid.UUID(organization)) == organization


def test_a_stranger_learns_no_organization_and_no_workspace(caller: Caller) -> None:
    answer = caller.get(BATCHES, headers={"authorization": "Bearer wrong"})
    assert answer.status == 401
    assert answer.header("anthropic-workspace-id") is None
    assert answer.header("anthropic-organization-id") is None
    assert answer.header("request-id") is not None
    assert answer.header("x-should-retry") == "false"


def test_a_poll_hints_at_10_seconds_while_the_batch_runs_and_not_after(
    serve_with: ServeWith,
) -> None:
    served = serve_with()
    caller = served.caller()
    path = f"{BATCHES}/{caller.create(request('held'))['id']}"
    served.sending(1)
    assert caller.get(path).header("retry-after") == "10"
    caller.call("POST", f"{path}/cancel")
    canceling = caller.get(path)
    assert canceling.json["processing_status"] == "canceling"
    assert canceling.header("retry-after") == "10"
    served.advance(HELD_S)
    caller.ended(path.rpartition("/")[2])
    assert caller.get(path).header("retry-after") is None


def test_only_a_poll_hints_when_to_come_back(caller: Caller) -> None:
    created = caller.post(BATCHES, {"requests": [request("held")]})
    assert created.header("retry-after") is None
    assert caller.get(BATCHES).header("retry-after") is None
    path = f"{BATCHES}/{created.json['id']}"
    assert caller.call("POST", f"{path}/cancel").header("retry-after") is None


def test_results_that_are_not_ready_are_a_404_that_is_not_retried(caller: Caller) -> None:
    batch_id = caller.create(request("held"))["id"]
    answer = caller.get(f"{BATCHES}/{batch_id}/results")
    text = f"Message Batch {batch_id} has no available results."
    assert answer.error == (404, "not_found_error", text)
    assert answer.header("x-should-retry") == "false"
    assert answer.header("retry-after") is None


def test_an_unknown_route_says_not_found(caller: Caller) -> None:
    assert caller.get("/v1/nothing").error == (404, "not_found_error", "Not found")


def test_a_wrong_method_says_so_and_names_the_right_ones(caller: Caller) -> None:
    answer = caller.call("PUT", BATCHES)
    assert answer.error == (405, "invalid_request_error", "Method Not Allowed")
    assert answer.header("allow") is not None


def test_a_body_above_the_limit_is_the_bare_413_of_the_edge(serve_with: ServeWith) -> None:
    caller = serve_with(max_batch_bytes=2048).caller()
    answer = caller.post(BATCHES, b" " * 2049)
    assert answer.status == 413
    assert list(answer.json) == ["error"]
    assert answer.json["error"]["type"] == "request_too_large"
    assert answer.json["error"]["message"].startswith("Request exceeds the maximum size")
    assert answer.header("request-id") is not None
    assert answer.header("x-should-retry") == "false"


def test_an_announced_body_above_the_limit_is_refused_before_it_is_sent(
    serve_with: ServeWith,
) -> None:
    caller = serve_with().caller()
    length = {"content-length": str(268_435_457), "content-type": "application/json"}
    assert caller.call("POST", BATCHES, headers=length).status == 413
    assert caller.get(BATCHES).json["data"] == []
