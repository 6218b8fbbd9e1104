"""How a batch may change: the table, and the verbs that follow it."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.service import DAY, START

from overnight import lifecycle
from overnight.errors import InvalidRequest
from overnight.model import Batch, BatchId, BatchStatus, Counts, WorkspaceId

LATER = START + timedelta(seconds=5)


def a_batch(status: BatchStatus = "in_progress", **changes: Any) -> Batch:
    batch = Batch(
        id=BatchId("msgbatch_a"),
        workspace_id=WorkspaceId("wrkspc_01"),
        status=status,
        created_at=START,
        expires_at=START + DAY,
        retain_until=START + 29 * DAY,
        api_version="2023-06-01",
        request_count=3,
        input_key="a/input.json",
        input_bytes=1,
        counts=Counts(processing=3),
    )
    return replace(batch, **changes)


def test_no_transition_leaves_the_end() -> None:
    leaving = {to for (status, _), to in lifecycle.TRANSITIONS.items() if status == "ended"}
    assert leaving == {"ended"}


@pytest.mark.parametrize("status", ["in_progress", "canceling"])
def test_cancel_follows_the_table(status: BatchStatus) -> None:
    canceled = lifecycle.cancel(a_batch(status), now=LATER)
    assert canceled.status == lifecycle.TRANSITIONS[(status, "cancel")]


def test_cancel_keeps_its_first_time() -> None:
    once = lifecycle.cancel(a_batch(), now=START)
    assert once.cancel_initiated_at == START
    assert lifecycle.cancel(once, now=LATER) == once


def test_an_ended_batch_refuses_cancel_and_says_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match="msgbatch_a has ended") as caught:
        lifecycle.cancel(a_batch("ended"), now=LATER)
    assert caught.value.hint is not None


@pytest.mark.parametrize("status", ["in_progress", "canceling"])
def test_end_sets_status_time_and_counts_together(status: BatchStatus) -> None:
    counts = Counts(succeeded=1, canceled=2)
    ended = lifecycle.end(a_batch(status), now=LATER, counts=counts)
    assert (ended.status, ended.ended_at, ended.counts) == ("ended", LATER, counts)


@pytest.mark.parametrize(
    "counts", [Counts(processing=1, succeeded=2), Counts(succeeded=2), Counts(succeeded=4)]
)
def test_a_batch_does_not_end_without_one_outcome_per_request(counts: Counts) -> None:
    with pytest.raises(AssertionError):
        lifecycle.end(a_batch(), now=LATER, counts=counts)


def test_a_batch_ends_once() -> None:
    with pytest.raises(AssertionError):
        lifecycle.end(a_batch("ended"), now=LATER, counts=Counts(succeeded=3))


def test_archive_waits_for_the_retention_and_keeps_its_first_time() -> None:
    ended = a_batch("ended")
    with pytest.raises(AssertionError):
        lifecycle.archive(ended, now=ended.retain_until - timedelta(microseconds=1))
    archived = lifecycle.archive(ended, now=ended.retain_until)
    assert archived.archived_at == ended.retain_until
    assert lifecycle.archive(archived, now=ended.retain_until + DAY) == archived


@pytest.mark.parametrize("status", ["in_progress", "canceling"])
def test_a_running_batch_is_not_archived(status: BatchStatus) -> None:
    with pytest.raises(AssertionError):
        lifecycle.archive(a_batch(status), now=START + 30 * DAY)


def test_only_an_ended_batch_may_be_deleted() -> None:
    lifecycle.refuse_delete(a_batch("ended"))
    for status in ("in_progress", "canceling"):
        with pytest.raises(InvalidRequest, match="Consider canceling the batch instead"):
            lifecycle.refuse_delete(a_batch(status))


@pytest.mark.parametrize(
    ("status", "passed", "fate"),
    [
        ("in_progress", DAY - timedelta(microseconds=1), "send"),
        ("in_progress", DAY, "expired"),
        ("canceling", timedelta(0), "canceled"),
        ("canceling", DAY, "canceled"),
    ],
)
def test_what_happens_to_a_request_that_was_not_sent(
    status: BatchStatus, passed: timedelta, fate: str
) -> None:
    batch = a_batch(status)
    assert lifecycle.fate(status, batch.expires_at, now=START + passed) == fate
