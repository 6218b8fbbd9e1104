"""Whose shards a worker claims: workspaces in turn, and in each of them its batches."""

from overnight.dispatch.fairness import Claimable, Rota
from overnight.model import BatchId, WorkspaceId


def of(workspace: str, batch: str, shards: int) -> Claimable:
    return Claimable(BatchId(batch), WorkspaceId(workspace), shards)


def test_a_small_batch_is_claimed_beside_a_large_one() -> None:
    free = [of("a", "large", 200), of("b", "small", 1)]
    assert Rota().choose(free, limit=3) == {"large": 2, "small": 1}


def test_workspaces_take_turns_whatever_number_of_batches_they_have() -> None:
    many = [of("a", f"batch-{number}", 5) for number in range(10)]
    chosen = Rota().choose([*many, of("b", "one", 50)], limit=20)
    assert chosen[BatchId("one")] == 10
    assert [count for batch, count in chosen.items() if batch != "one"] == [1] * 10


def test_turns_are_remembered_between_claims() -> None:
    rota = Rota()
    free = [of("a", "first", 9), of("a", "second", 9), of("b", "third", 9)]
    claimed = [next(iter(rota.choose(free, limit=1))) for _ in range(6)]
    assert claimed == ["first", "third", "second", "third", "first", "third"]


def test_no_more_is_chosen_than_is_free() -> None:
    assert Rota().choose([of("a", "first", 2)], limit=5) == {"first": 2}
    assert Rota().choose([], limit=5) == {}


def test_the_urgent_are_claimed_first_and_leave_a_turn_to_others() -> None:
    free = [of("a", "early", 100), of("b", "late", 100)]
    chosen = Rota().choose(free, limit=16, urgent=[BatchId("gone"), BatchId("late")])
    assert chosen == {"late": 15, "early": 1}
