"""The objects of the batch endpoints, byte for byte: keys, order, nulls, timestamps.

Pins protocol.md §1, §3.1–3.4, §5.
"""

import json
import re
from datetime import datetime, timedelta

import pytest
from tests.wire.caller import BATCHES, Caller, request, until
from tests.wire.conftest import ServeWith
from tests.wire.served import HELD_S, Served

_KEYS = [
    "id",
    "type",
    "processing_status",
    "request_counts",
    "ended_at",
    "created_at",
    "expires_at",
    "archived_at",
    "cancel_initiated_at",
    "results_url",
]
_COUNTS = ["processing", "succeeded", "errored", "canceled", "expired"]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def test_a_new_batch_is_this_object_byte_for_byte(caller: Caller, served: Served) -> None:
    created_at = served.service.clock.now()
    answer = caller.post(BATCHES, {"requests": [request("held-1"), request("held-2")]})
    assert answer.status == 200
    batch_id = answer.json["id"]
    expected = (
        f'{{"id":"{batch_id}","type":"message_batch","processing_status":"in_progress",'
        '"request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0},'
        f'"ended_at":null,"created_at":"{_written(created_at)}",'
        f'"expires_at":"{_written(created_at + timedelta(days=1))}",'
        '"archived_at":null,"cancel_initiated_at":null,"results_url":null}'
    )
    assert answer.body.decode() == expected
    assert answer.header("content-type") == "application/json"


def test_a_batch_id_looks_like_the_real_ones(caller: Caller) -> None:
    assert re.fullmatch(r"msgbatch_01[1-9A-HJ-NP-Za-km-z]{22}", caller.create(request())["id"])


def test_expires_at_is_86400_seconds_after_created_at_to_the_microsecond(caller: Caller) -> None:
    batch = caller.create(request())
    assert _MOMENT.fullmatch(batch["created_at"]) and _MOMENT.fullmatch(batch["expires_at"])
    lifetime = datetime.fromisoformat(batch["expires_at"]) - datetime.fromisoformat(
        batch["created_at"]
    )
    assert lifetime == timedelta(seconds=86_400)


def test_the_batch_can_be_read_right_after_its_creation(caller: Caller) -> None:
    created = caller.create(request("held"))
    assert caller.batch(created["id"]) == created


def test_an_ended_batch_has_its_end_counts_and_url_together(caller: Caller, served: Served) -> None:
    batch = caller.run(request("a"), request("b"), request("bad", max_tokens=0))
    assert list(batch) == _KEYS
    assert list(batch["request_counts"]) == _COUNTS
    assert list(batch["request_counts"].values()) == [0, 2, 1, 0, 0]
    assert _MOMENT.fullmatch(batch["ended_at"])
    assert batch["results_url"] == f"{served.url}{BATCHES}/{batch['id']}/results"
    assert batch["archived_at"] is None and batch["cancel_initiated_at"] is None


def test_counts_stay_in_processing_until_the_end(caller: Caller, served: Served) -> None:
    batch = caller.create(request("held"), *[request(f"quick-{n}") for n in range(20)])
    progress = f"/overnight/v1/batches/{batch['id']}/progress"
    until(lambda: caller.get(progress).json["counts"]["succeeded"] == 20, what="20 answers")
    running = caller.batch(batch["id"])
    assert list(running["request_counts"].values()) == [21, 0, 0, 0, 0]
    assert running["processing_status"] == "in_progress"
    assert running["ended_at"] is None and running["results_url"] is None
    served.advance(HELD_S)
    assert list(caller.ended(batch["id"])["request_counts"].values()) == [0, 21, 0, 0, 0]


def test_an_ended_batch_never_changes_again(caller: Caller, served: Served) -> None:
    batch = caller.run(request())
    served.advance(3600)
    assert caller.batch(batch["id"]) == batch


def test_results_url_is_there_when_no_request_succeeded(caller: Caller) -> None:
    batch = caller.run(request("a", max_tokens=0), request("b", messages=[]))
    assert list(batch["request_counts"].values()) == [0, 0, 2, 0, 0]
    assert batch["results_url"] is not None
    assert len(caller.results(batch["id"])) == 2


def test_requests_without_an_answer_expire_when_the_window_closes(
    serve_with: ServeWith,
) -> None:
    served = serve_with(processing_window_s=60)
    caller = served.caller()
    batch = caller.create(request("stuck"), request("quick"))
    progress = f"/overnight/v1/batches/{batch['id']}/progress"
    until(lambda: caller.get(progress).json["counts"]["succeeded"] == 1, what="an answer")
    served.advance(60)
    ended = caller.ended(batch["id"])
    assert list(ended["request_counts"].values()) == [0, 1, 0, 0, 1]
    assert ended["ended_at"] == batch["expires_at"]
    results = caller.results(batch["id"])
    assert results["stuck"] == {"type": "expired"}
    assert results["quick"]["type"] == "succeeded"


def test_an_archived_batch_can_be_read_and_listed_but_has_no_results(
    caller: Caller, served: Served
) -> None:
    batch = caller.run(request())
    served.advance(29 * 86_400)
    until(lambda: caller.batch(batch["id"])["archived_at"] is not None, what="the archiving")
    archived = caller.batch(batch["id"])
    assert {**archived, "archived_at": None} == batch
    assert _MOMENT.fullmatch(archived["archived_at"])
    assert [b["id"] for b in caller.get(BATCHES).json["data"]] == [batch["id"]]
    answer = caller.get(f"{BATCHES}/{batch['id']}/results")
    text = f"Message Batch {batch['id']} has no available results."
    assert answer.error == (404, "not_found_error", text)


def test_results_are_kept_until_29_days_after_the_creation(caller: Caller, served: Served) -> None:
    batch = caller.run(request())
    served.advance(29 * 86_400 - 1)
    assert caller.get(f"{BATCHES}/{batch['id']}/results").status == 200


def test_a_deletion_is_this_object_byte_for_byte(caller: Caller) -> None:
    batch_id = caller.run(request())["id"]
    answer = caller.call("DELETE", f"{BATCHES}/{batch_id}")
    assert answer.status == 200
    assert answer.body.decode() == f'{{"id":"{batch_id}","type":"message_batch_deleted"}}'


def test_an_empty_list_is_this_object_byte_for_byte(caller: Caller) -> None:
    answer = caller.get(BATCHES)
    assert answer.status == 200
    assert answer.body == b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'


def test_a_list_shows_the_same_objects_as_the_single_calls(caller: Caller) -> None:
    batch = caller.run(request())
    answer = caller.get(BATCHES)
    single = caller.get(f"{BATCHES}/{batch['id']}").body.decode()
    assert answer.body.decode() == (
        f'{{"data":[{single}],"has_more":false,'
        f'"first_id":"{batch["id"]}","last_id":"{batch["id"]}"}}'
    )


@pytest.mark.parametrize("seconds", [0, HELD_S])
def test_the_sum_of_the_counts_is_the_number_of_requests(
    caller: Caller, served: Served, seconds: float
) -> None:
    batch = caller.create(request("held"), request("b"), request("c", stream=True))
    served.advance(seconds)
    shown = json.loads(caller.get(f"{BATCHES}/{batch['id']}").body)
    assert sum(shown["request_counts"].values()) == 3
