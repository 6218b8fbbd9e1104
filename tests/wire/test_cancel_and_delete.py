"""Cancel and delete over HTTP.

Pins protocol.md §1 (E4, E5), §4.4, §5.
"""

import pytest
from tests.wire.caller import BATCHES, Caller, Headers, request
from tests.wire.conftest import ServeWith
from tests.wire.served import HELD_S, Served

_BODIES: list[tuple[bytes | None, Headers]] = [
    (None, {}),
    (b"", {}),
    (None, {"content-length": "0"}),
    (b"{}", {}),
    (b"{}", {"content-type": "application/json"}),
    (None, {"content-type": "application/json"}),
]


@pytest.mark.parametrize(("body", "headers"), _BODIES)
def test_cancel_takes_an_empty_body_or_an_empty_object(
    caller: Caller, body: bytes | None, headers: Headers
) -> None:
    batch_id = caller.create(request("held"))["id"]
    answer = caller.call("POST", f"{BATCHES}/{batch_id}/cancel", body, headers=headers)
    assert answer.status == 200 and answer.json["id"] == batch_id


def test_cancel_answers_with_the_canceling_batch(caller: Caller, served: Served) -> None:
    batch = caller.create(request("held"), request("held-2"))
    now = served.service.clock.now().isoformat(timespec="microseconds")
    answer = caller.call("POST", f"{BATCHES}/{batch['id']}/cancel")
    expected = {**batch, "processing_status": "canceling", "cancel_initiated_at": now}
    assert answer.json == expected
    assert list(answer.json) == list(batch)


def test_cancel_while_canceling_changes_nothing(serve_with: ServeWith) -> None:
    served = serve_with()
    caller = served.caller()
    path = f"{BATCHES}/{caller.create(request('held'))['id']}"
    served.sending(1)
    first = caller.call("POST", f"{path}/cancel")
    assert caller.get(path).json == first.json
    served.advance(1)
    assert caller.call("POST", f"{path}/cancel").json == first.json
    served.advance(HELD_S)


def test_requests_never_sent_become_canceled_and_those_under_way_finish(
    serve_with: ServeWith,
) -> None:
    served = serve_with(concurrency=1)
    caller = served.caller()
    batch = caller.create(request("held"), *[request(f"waiting-{n}") for n in range(3)])
    served.sending(1)
    canceling = caller.call("POST", f"{BATCHES}/{batch['id']}/cancel").json
    assert canceling["request_counts"] == batch["request_counts"]
    served.advance(HELD_S)
    ended = caller.ended(batch["id"])
    assert list(ended["request_counts"].values()) == [0, 1, 0, 3, 0]
    assert ended["cancel_initiated_at"] == canceling["cancel_initiated_at"]
    lines = caller.get(f"{BATCHES}/{batch['id']}/results").body.decode().split("\n")
    for n in range(3):
        assert f'{{"custom_id":"waiting-{n}","result":{{"type":"canceled"}}}}' in lines
    assert caller.results(batch["id"])["held"]["type"] == "succeeded"


def test_the_cancel_of_an_ended_batch_is_refused(caller: Caller) -> None:
    batch = caller.run(request())
    answer = caller.call("POST", f"{BATCHES}/{batch['id']}/cancel")
    assert answer.error[:2] == (400, "invalid_request_error")
    assert batch["id"] in answer.error[2]
    assert caller.batch(batch["id"]) == batch


def test_the_cancel_of_an_ended_batch_can_be_set_to_return_it(serve_with: ServeWith) -> None:
    caller = serve_with(cancel_ended="return").caller()
    batch = caller.run(request())
    answer = caller.call("POST", f"{BATCHES}/{batch['id']}/cancel")
    assert (answer.status, answer.json) == (200, batch)


@pytest.mark.parametrize("canceling", [False, True], ids=["in_progress", "canceling"])
def test_a_batch_that_has_not_ended_cannot_be_deleted(
    serve_with: ServeWith, canceling: bool
) -> None:
    served = serve_with()
    caller = served.caller()
    path = f"{BATCHES}/{caller.create(request('held'))['id']}"
    served.sending(1)
    if canceling:
        caller.call("POST", f"{path}/cancel")
    status = "canceling" if canceling else "in_progress"
    assert caller.get(path).json["processing_status"] == status
    text = "In progress batches cannot be deleted. Consider canceling the batch instead."
    assert caller.call("DELETE", path).error == (400, "invalid_request_error", text)
    assert caller.get(path).status == 200
    served.advance(HELD_S)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}])
def test_after_its_deletion_a_batch_is_unknown(caller: Caller, headers: Headers) -> None:
    batch_id = caller.run(request())["id"]
    path = f"{BATCHES}/{batch_id}"
    assert caller.call("DELETE", path, headers=headers).status == 200
    unknown = (404, "not_found_error", f"Message Batch {batch_id} not found.")
    assert caller.get(path).error == unknown
    assert caller.get(f"{path}/results").error == unknown
    assert caller.call("POST", f"{path}/cancel").error == unknown
    assert caller.call("DELETE", path).error == unknown
    assert caller.get(BATCHES).json["data"] == []


@pytest.mark.parametrize(
    "batch_id", ["msgbatch_01" + "x" * 22, "nonsense", "0", "msg_01abc", "x" * 300]
)
def test_an_unknown_id_is_not_found_whatever_it_looks_like(caller: Caller, batch_id: str) -> None:
    unknown = (404, "not_found_error", f"Message Batch {batch_id} not found.")
    path = f"{BATCHES}/{batch_id}"
    assert caller.get(path).error == unknown
    assert caller.get(f"{path}/results").error == unknown
    assert caller.call("POST", f"{path}/cancel").error == unknown
    assert caller.call("DELETE", path).error == unknown


def test_an_id_may_be_percent_encoded(caller: Caller) -> None:
    batch = caller.run(request())
    encoded = "".join(f"%{ord(c):02X}" for c in batch["id"])
    assert caller.batch(encoded) == batch
    assert caller.get(f"{BATCHES}/{encoded}/results").status == 200


@pytest.mark.parametrize(
    ("encoded", "shown"),
    [("a%20b", "a b"), ("%C3%A9", "é"), ("%27%3B--", "';--"), ("a%00b", "a\x00b")],
)
def test_an_encoded_id_is_read_decoded(caller: Caller, encoded: str, shown: str) -> None:
    unknown = (404, "not_found_error", f"Message Batch {shown} not found.")
    assert caller.get(f"{BATCHES}/{encoded}").error == unknown


def test_a_slash_in_an_id_never_reaches_another_route(caller: Caller) -> None:
    batch_id = caller.run(request())["id"]
    answer = caller.get(f"{BATCHES}/x%2F..%2F{batch_id}")
    assert answer.status == 404 and answer.json["error"]["type"] == "not_found_error"
