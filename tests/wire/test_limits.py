"""Limits over HTTP: what is told, what is refused, and that it comes back.

Pins protocol.md §7, §8.5, §9, §13.4.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import anthropic
import pytest
from tests.wire.caller import BATCHES, Answer, Caller, request, until
from tests.wire.conftest import SdkEnvironment, ServeWith
from tests.wire.interpreters import PYTHONS, run_with
from tests.wire.organization import ADMIN, KEYS, WORKSPACES, Administrator
from tests.wire.served import HELD_S, Served

from overnight.access.keys import workspace_id
from overnight.wire.rate_limits import RATE_LIMIT_ID

RATE_LIMITS = "/v1/organizations/rate_limits"
DEFAULT = workspace_id("default")
_PREFIX = "anthropic-ratelimit-requests-"


def told(answer: Answer) -> tuple[str | None, ...]:
    """Give what an answer says of the rate: limit, what remains, and when all of it is back."""
    return tuple(answer.header(_PREFIX + name) for name in ("limit", "remaining", "reset"))


# Requests per minute.


def test_each_call_of_a_batch_endpoint_counts_and_says_what_is_left(
    serve_with: ServeWith,
) -> None:
    caller = serve_with(max_requests_per_minute=60).caller()
    created = caller.post(BATCHES, {"requests": [request()]})
    path = f"{BATCHES}/{created.json['id']}"
    calls = [
        ("GET", path),
        ("GET", f"{path}/results"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
        ("GET", BATCHES),
        ("GET", f"/overnight/v1/batches/{created.json['id']}/progress"),
    ]
    answers = [created, *(caller.call(*call) for call in calls)]
    # START is 06:40:25.141141; each request takes a second to come back.
    expected = [("60", str(59 - n), f"2026-11-22T06:40:{27 + n}Z") for n in range(len(answers))]
    assert [told(answer) for answer in answers] == expected


def test_above_the_rate_a_call_is_refused_and_told_when_to_come_back(
    serve_with: ServeWith,
) -> None:
    served = serve_with(max_requests_per_minute=12)
    caller = served.caller()
    for _ in range(12):
        assert caller.get(BATCHES).status == 200
    refused = caller.get(BATCHES)
    assert refused.error == (
        429,
        "rate_limit_error",
        f"This request would exceed the rate limit for workspace {DEFAULT} of "
        "12 requests per minute",
    )
    assert refused.header("retry-after") == "5"
    assert refused.header("x-should-retry") is None
    assert told(refused) == ("12", "0", "2026-11-22T06:41:26Z")
    assert refused.json["request_id"] == refused.header("request-id")
    served.advance(4.9)
    assert caller.get(BATCHES).header("retry-after") == "1"
    served.advance(0.1)
    assert [caller.get(BATCHES).status for _ in range(2)] == [200, 429]


def test_what_is_refused_for_other_reasons_or_is_no_batch_call_does_not_count(
    serve_with: ServeWith,
) -> None:
    served = serve_with(max_requests_per_minute=1, api_keys=(f"admin={ADMIN}",))
    key = Administrator(served).issue(DEFAULT, "read")
    assert key.caller.get(f"{BATCHES}/x/results").status == 403
    assert key.caller.get(BATCHES, headers={"x-api-key": "other"}).status == 401
    other = {"anthropic-workspace-id": "wrkspc_01other"}
    assert key.caller.get(BATCHES, headers=other).status == 403
    for _ in range(3):
        answer = key.caller.get("/v1/models")
        assert (answer.status, told(answer)) == (200, (None, None, None))
    assert key.caller.get(BATCHES).status == 200
    assert key.caller.get(BATCHES).status == 429


def test_without_a_limit_nothing_is_told(serve_with: ServeWith) -> None:
    assert told(serve_with().caller().get(BATCHES)) == (None, None, None)


def test_a_workspace_that_calls_too_often_does_not_hold_up_another(serve_with: ServeWith) -> None:
    served = serve_with(max_requests_per_minute=2, api_keys=("a=key-a", "b=key-b"))
    busy, calm = served.caller("key-a", "a"), served.caller("key-b", "b")
    assert [busy.get(BATCHES).status for _ in range(3)] == [200, 200, 429]
    assert calm.get(BATCHES).status == 200


def test_a_key_is_limited_beside_its_workspace(serve_with: ServeWith) -> None:
    served = serve_with(max_requests_per_minute=4, api_keys=(f"admin={ADMIN}",))
    administrator = Administrator(served)
    narrow = administrator.issue(DEFAULT, limits={"requests_per_minute": 2})
    wide = administrator.issue(DEFAULT)
    assert narrow.document["limits"]["requests_per_minute"] == 2
    assert [narrow.caller.get(BATCHES).status for _ in range(3)] == [200, 200, 429]
    assert f"key {narrow.id} of 2" in narrow.caller.get(BATCHES).error[2]
    assert [wide.caller.get(BATCHES).status for _ in range(3)] == [200, 200, 429]
    limits = {"requests_per_minute": None, "uploads": 3}
    changed = administrator.asked("POST", f"{KEYS}/{narrow.id}", {"limits": limits})
    assert changed["limits"] == {
        "requests_per_minute": None, "queued_requests": None, "body_bytes_in_flight": None,
        "uploads": 3,
    }  # fmt: skip
    served.advance(15)
    assert told(narrow.caller.get(BATCHES))[0] == "4"


@pytest.mark.parametrize("sdk", PYTHONS)
def test_an_sdk_waits_as_long_as_it_is_told(process: SdkEnvironment, sdk: str) -> None:
    admin = Caller(int(process["ANTHROPIC_BASE_URL"].rpartition(":")[2]), ADMIN, "")
    limits = {"requests_per_minute": 60}
    question = {"name": f"sdk {sdk}", "workspace_id": DEFAULT, "limits": limits}
    secret = admin.post(KEYS, question).json["secret"]
    printed = run_with(sdk, "sdk_limits.py", environ=process | {"ANTHROPIC_API_KEY": secret})
    assert printed.startswith(f"anthropic {sdk}.") and "came back in time" in printed


# Queued requests.


def test_a_queue_takes_so_many_requests_and_has_room_again_when_they_end(
    serve_with: ServeWith,
) -> None:
    served = serve_with(max_queued_requests=3)
    caller = served.caller()
    held = caller.create(request("held-1"), request("held-2"))
    refused = caller.post(BATCHES, {"requests": [request("a"), request("b")]})
    assert refused.error == (
        429,
        "rate_limit_error",
        f"This request would exceed the rate limit for workspace {DEFAULT} of "
        "3 requests in processing: 2 are queued, this batch has 2",
    )
    assert refused.header("x-should-retry") == "false"
    assert refused.header("retry-after") is None
    caller.create(request("held-3"))
    full = caller.post(BATCHES, {"requests": [request("a")]})
    assert full.error[2].endswith("3 requests in processing: 3 are queued")
    assert len(caller.get(BATCHES).json["data"]) == 2
    served.sending(3)
    served.advance(HELD_S)
    caller.ended(held["id"])
    caller.create(request("a"), request("b"))


def test_canceling_makes_room(serve_with: ServeWith) -> None:
    served = serve_with(max_queued_requests=1, worker=True)
    caller = served.caller()
    held = caller.create(request("held"))["id"]
    assert caller.post(BATCHES, {"requests": [request("a")]}).status == 429
    caller.call("POST", f"{BATCHES}/{held}/cancel")
    served.advance(HELD_S)
    caller.ended(held)
    caller.create(request("a"))


# Bodies under way.


@contextmanager
def half_sent(caller: Caller, length: int) -> Iterator[None]:
    """Begin a create of so many bytes and leave it there, once the service waits for its body."""
    connection = HTTPConnection("127.0.0.1", caller.port, timeout=30)
    try:
        connection.putrequest("POST", BATCHES)
        usual = {**caller.usual_headers, "content-type": "application/json"}
        for name, value in (usual | {"content-length": length, "expect": "100-continue"}).items():
            connection.putheader(name, str(value))
        connection.endheaders()
        assert connection.sock.recv(1_000).startswith(b"HTTP/1.1 100 ")
        connection.send(b'{"requests":')
        yield
    finally:
        connection.close()


def refused_meanwhile(caller: Caller, length: int) -> str:
    """Begin an upload, see that another is refused, and that it is not once the first is gone."""
    body = {"requests": [request("a")]}
    with half_sent(caller, length):
        refused = caller.post(BATCHES, body)
        assert refused.error[:2] == (429, "rate_limit_error")
        assert (refused.header("retry-after"), refused.header("x-should-retry")) == ("1", None)
    until(lambda: caller.post(BATCHES, body).status == 200, what="an upload is taken again")
    return refused.error[2]


def test_so_many_uploads_are_taken_at_a_time(serve_with: ServeWith) -> None:
    said = refused_meanwhile(serve_with(max_uploads=1).caller(), 100)
    assert said.endswith("of 1 uploads at a time")


def test_so_many_bytes_are_taken_at_a_time(serve_with: ServeWith) -> None:
    caller = serve_with(max_body_bytes_in_flight=10_000).caller()
    said = refused_meanwhile(caller, 9_990)
    assert said.endswith("of 10,000 bytes under way at a time")
    large = caller.post(BATCHES, b" " * 10_001)
    assert large.status == 413
    assert large.json["error"]["message"].startswith("Request exceeds the maximum size for")


# The Admin API.


@pytest.fixture
def limited(serve_with: ServeWith) -> Served:
    return serve_with(
        api_keys=(f"admin={ADMIN}",), max_requests_per_minute=1_000, max_queued_requests=200_000
    )


def test_the_sdk_reads_and_sets_limits(limited: Served) -> None:
    administrator = Administrator(limited)
    workspace = administrator.workspace("team")
    with anthropic.Anthropic(base_url=limited.url, api_key=ADMIN, max_retries=0) as client:
        limits = client.organization.rate_limits
        [entry] = limits.list(group_type="batch")
        assert (entry.type, entry.group.type, entry.models) == ("rate_limit", "batch", None)
        assert {limit.type: limit.value for limit in entry.limits} == {
            "requests_per_minute": 1_000,
            "enqueued_batch_requests": 200_000,
        }
        assert list(limits.list(group_type="files")) == []
        with pytest.raises(anthropic.NotFoundError):
            limits.list(model="claude-haiku-4-5")
        own = client.organization.workspaces.rate_limits
        assert list(own.list(workspace)) == []
        changed = own.update(
            entry.id,
            workspace_id=workspace,
            limits=[{"type": "requests_per_minute", "value": 2}],
        )
        assert changed.rate_limit_id == entry.id
        [value] = changed.limits
        assert (value.type, value.value, value.org_limit) == ("requests_per_minute", 2, 1_000)
        [every] = own.list(workspace, include_inherited=True)
        assert [(v.type, v.source.type) for v in every.limits] == [
            ("requests_per_minute", "workspace"),
            ("enqueued_batch_requests", "organization"),
        ]
        key = administrator.issue(workspace)
        assert [key.caller.get(BATCHES).status for _ in range(3)] == [200, 200, 429]
        cleared = own.update(
            entry.id,
            workspace_id=workspace,
            limits=[{"type": "requests_per_minute", "value": None}],
        )
        assert cleared.limits == []
        assert told(key.caller.get(BATCHES))[0] == "1000"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{RATE_LIMITS}?group_type=cars", "group_type: 'cars': Input should be batch, files"),
        (f"{RATE_LIMITS}?page=next", "page: there is only one"),
        (f"{RATE_LIMITS}?limit=0", "limit: '0': Input should be from 1 to 1000"),
        (f"{WORKSPACES}/{DEFAULT}/rate_limits?include_inherited=1", "include_inherited: Input"),
    ],
)
def test_a_wrong_question_about_limits_is_refused_by_name(
    limited: Served, path: str, said: str
) -> None:
    answer = Administrator(limited).get(path)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(said)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([{"type": "tokens_per_day", "value": 1}], "limits: 'tokens_per_day' is none of"),
        ([{"type": "requests_per_minute", "value": -1}], "requests_per_minute: -1, from 0"),
        ([{"type": "requests_per_minute", "value": 2**53}], "requests_per_minute: 90071"),
        ([{"type": "requests_per_minute"}], "Object missing required field `value`"),
        ([{"type": "requests_per_minute", "value": "1"}], "Expected `int | null`, got `str`"),
    ],
)
def test_a_wrong_limit_is_refused_by_name(limited: Served, limits: Any, said: str) -> None:
    path = f"{WORKSPACES}/{DEFAULT}/rate_limits/{RATE_LIMIT_ID}"
    answer = Administrator(limited).post(path, {"limits": limits})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(said)


@pytest.mark.parametrize("limits", [{"requests_per_minute": -1}, {"speed": 1}, [], None])
def test_a_wrong_limit_of_a_key_is_refused(limited: Served, limits: Any) -> None:
    administrator = Administrator(limited)
    key = administrator.issue(DEFAULT)
    assert administrator.post(f"{KEYS}/{key.id}", {"limits": limits}).status == 400
    question = {"name": "x", "workspace_id": DEFAULT, "limits": limits}
    assert administrator.post(KEYS, question).status == 400


def test_an_unknown_group_of_limits_and_an_archived_workspace_are_refused(
    limited: Served,
) -> None:
    administrator = Administrator(limited)
    gone = administrator.workspace("gone")
    unknown = administrator.post(f"{WORKSPACES}/{gone}/rate_limits/rl_01x", {"limits": []})
    assert unknown.error == (404, "not_found_error", "Rate limit rl_01x not found.")
    administrator.asked("POST", f"{WORKSPACES}/{gone}/archive")
    late = administrator.post(f"{WORKSPACES}/{gone}/rate_limits/{RATE_LIMIT_ID}", {"limits": []})
    assert late.error[:2] == (400, "invalid_request_error")
