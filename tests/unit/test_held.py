"""What a worker takes into memory, and what it lets go of."""

from datetime import UTC, datetime

from overnight.model import Batch, BatchId, Counts, Lease, Shard, WorkerId, WorkspaceId
from overnight.pipeline.held import MAX_HELD_BYTES, MAX_LINES_BYTES, HeldShard, Workload
from overnight.pipeline.lanes import Lanes
from overnight.store.shards import Claim, Totals

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BATCH = Batch(
    id=BatchId("msgbatch_a"),
    workspace_id=WorkspaceId("wrkspc_01here"),
    status="in_progress",
    created_at=NOW,
    expires_at=NOW,
    retain_until=NOW,
    api_version="2023-06-01",
    request_count=8,
    input_key="msgbatch_a/input.json",
    input_bytes=100,
    counts=Counts(processing=8),
)


def a_shard(
    number: int, *, size_bytes: int = 100, fence: int = 1, totals: Totals | None = None
) -> HeldShard:
    shard = Shard(
        batch_id=BATCH.id,
        number=number,
        offset=0,
        length_bytes=size_bytes,
        request_count=1,
        lease=Lease(owner=WorkerId("worker_01anna"), fence=fence, expires_at=NOW),
    )
    return HeldShard(
        Claim(
            shard=shard,
            batch=BATCH,
            plan_key="msgbatch_a/plan",
            totals=totals or Totals(),
            recorded_positions=frozenset(),
        )
    )


def test_large_shards_fill_a_workload_before_there_are_many_requests() -> None:
    workload = Workload(lanes=Lanes([]), low_water=256)
    shards = [workload.hold(a_shard(n, size_bytes=MAX_HELD_BYTES // 2)) for n in range(2)]
    assert workload.full
    workload.hungry.clear()
    workload.drop(shards[0])
    assert not workload.full
    assert workload.hungry.is_set()


def test_to_drop_a_lost_shard_keeps_the_one_that_was_claimed_anew() -> None:
    workload = Workload(lanes=Lanes([]), low_water=256)
    lost = workload.hold(a_shard(0, fence=1))
    again = workload.hold(a_shard(0, fence=3))
    workload.drop(lost)
    assert list(workload.held.values()) == [again]


def test_result_lines_are_kept_for_the_seal_in_the_order_in_which_they_became_durable() -> None:
    shard = a_shard(0)
    shard.record(Totals(succeeded=1), b"one\n")
    shard.record(Totals(succeeded=2), b"two\n")
    assert shard.lines == [b"one\n", b"two\n"]


def test_result_lines_are_not_kept_without_those_that_another_worker_recorded() -> None:
    shard = a_shard(0, totals=Totals(succeeded=1))
    shard.record(Totals(succeeded=2), b"two\n")
    assert shard.lines is None


def test_large_results_are_not_kept() -> None:
    shard = a_shard(0)
    shard.record(Totals(succeeded=1), bytes(MAX_LINES_BYTES))
    shard.record(Totals(succeeded=2), b"\n")
    shard.record(Totals(succeeded=3), b"\n")
    assert shard.lines is None
