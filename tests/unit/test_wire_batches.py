"""The batch object as it travels: key order, nulls, timestamps."""

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from overnight.model import Batch, BatchId, Counts, WorkspaceId
from overnight.wire.batches import (
    DeletedMessageBatch,
    MessageBatchPage,
    message_batch,
    timestamp,
)

CREATED = datetime(2026, 11, 22, 6, 40, 25, 141141, tzinfo=UTC)
BASE_URL = "http://127.0.0.1:8484/prefix"
RUNNING = Batch(
    id=BatchId("msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"),
    workspace_id=WorkspaceId("wrkspc_01default"),
    status="in_progress",
    created_at=CREATED,
    expires_at=CREATED + timedelta(hours=24),
    retain_until=CREATED + timedelta(days=29),
    api_version="2026-10-21",
    request_count=2,
    input_key="in",
    input_bytes=10,
    counts=Counts(processing=2),
)
ENDED = msgspec.structs.replace(
    RUNNING,
    status="ended",
    ended_at=CREATED + timedelta(minutes=1),
    cancel_initiated_at=CREATED.replace(microsecond=0),
    archived_at=CREATED + timedelta(days=29),
    counts=Counts(succeeded=1, canceled=1),
)


def wire(batch: Batch) -> str:
    return msgspec.json.encode(message_batch(batch, base_url=BASE_URL)).decode()


def test_a_running_batch_has_the_bytes_of_the_recorded_ones() -> None:
    assert wire(RUNNING) == (
        '{"id":"msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d","type":"message_batch",'
        '"processing_status":"in_progress",'
        '"request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0},'
        '"ended_at":null,"created_at":"2026-11-22T06:40:25.141141+00:00",'
        '"expires_at":"2026-11-23T06:40:25.141141+00:00","archived_at":null,'
        '"cancel_initiated_at":null,"results_url":null}'
    )


def test_an_ended_batch_keeps_all_keys_in_their_order() -> None:
    ended = json.loads(wire(ENDED))
    assert list(ended) == list(json.loads(wire(RUNNING)))
    assert ended["processing_status"] == "ended"
    assert ended["ended_at"] == "2026-11-22T06:41:25.141141+00:00"
    assert ended["archived_at"] == "2026-12-21T06:40:25.141141+00:00"
    assert ended["request_counts"]["canceled"] == 1


def test_whole_seconds_are_written_with_their_microseconds() -> None:
    assert json.loads(wire(ENDED))["cancel_initiated_at"] == "2026-11-22T06:40:25.000000+00:00"


def test_only_an_ended_batch_has_a_results_url_below_the_base() -> None:
    canceling = msgspec.structs.replace(RUNNING, status="canceling")
    assert json.loads(wire(canceling))["results_url"] is None
    assert json.loads(wire(ENDED))["results_url"] == (
        f"{BASE_URL}/v1/messages/batches/{ENDED.id}/results"
    )


def test_a_page_has_its_four_keys_and_null_ids_when_it_is_empty() -> None:
    page = MessageBatchPage(data=[], has_more=False, first_id=None, last_id=None)
    assert msgspec.json.encode(page) == (
        b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'
    )


def test_a_deletion_says_what_is_gone() -> None:
    assert msgspec.json.encode(DeletedMessageBatch(id="msgbatch_1")) == (
        b'{"id":"msgbatch_1","type":"message_batch_deleted"}'
    )


def test_no_moment_has_no_timestamp() -> None:
    assert timestamp(None) is None


@pytest.mark.parametrize("hours", [-7, 0, 5])
def test_a_timestamp_names_the_moment_it_was_given(hours: int) -> None:
    moment = CREATED.astimezone(timezone(timedelta(hours=hours)))
    written = timestamp(moment)
    assert written is not None and datetime.fromisoformat(written) == CREATED
