"""Whose turn it is."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.fairness import Backlog, Fairness, at_risk
from overnight.model import BatchId, WorkspaceId


def served(fairness: Fairness, turns: int, *, cost: float = 1.0) -> list[BatchId]:
    """Serve whoever is next, so often."""
    found = []
    for _ in range(turns):
        batch = next(fairness.order())
        fairness.serve(batch, cost)
        found.append(batch)
    return found


def joined(*members: tuple[str, str], weights: dict[str, float] | None = None) -> Fairness:
    fairness = Fairness({WorkspaceId(name): w for name, w in (weights or {}).items()})
    for workspace, batch in members:
        fairness.join(WorkspaceId(workspace), BatchId(batch))
    return fairness


def test_workspaces_share_alike_whatever_number_of_batches_they_have() -> None:
    fairness = joined(("a", "a1"), *(("b", f"b{n}") for n in range(9)))
    assert Counter(batch[0] for batch in served(fairness, 100)) == {"a": 50, "b": 50}


def test_a_workspace_of_three_times_the_weight_gets_three_times_the_turns() -> None:
    fairness = joined(("a", "a1"), ("b", "b1"), weights={"a": 3.0})
    assert Counter(served(fairness, 400)) == {"a1": 300, "b1": 100}


def test_a_weight_that_is_given_later_counts_from_then_on() -> None:
    weights: dict[WorkspaceId, float] = {}
    fairness = Fairness(weights)
    for name in "ab":
        fairness.join(WorkspaceId(name), BatchId(name))
    assert Counter(served(fairness, 100)) == {"a": 50, "b": 50}
    weights[WorkspaceId("a")] = 3.0
    assert Counter(served(fairness, 400)) == {"a": 300, "b": 100}


def test_who_comes_late_gets_its_share_and_not_what_it_missed() -> None:
    fairness = joined(("a", "a1"))
    served(fairness, 1_000)
    fairness.join(WorkspaceId("b"), BatchId("b1"))
    assert abs(Counter(served(fairness, 100))[BatchId("b1")] - 50) <= 1


def test_large_requests_cost_more_turns() -> None:
    fairness = joined(("a", "a1"), ("b", "b1"))
    counts: Counter[BatchId] = Counter()
    for _ in range(400):
        batch = next(fairness.order())
        fairness.serve(batch, 3.0 if batch == "a1" else 1.0)
        counts[batch] += 1
    assert counts == {"a1": 100, "b1": 300}


def test_the_urgent_go_first_and_leave_one_turn_in_eight() -> None:
    fairness = joined(("a", "a1"), ("b", "b1"), ("c", "c1"))
    fairness.hurry([BatchId("c1")])
    counts = Counter(served(fairness, 800))
    assert counts[BatchId("c1")] >= 700
    assert (fairness.turns, fairness.urgent_turns) == (800, 700)
    assert min(counts[BatchId("a1")], counts[BatchId("b1")]) >= 33


def test_a_request_that_is_put_back_was_counted_when_it_was_taken() -> None:
    fairness = joined(("a", "a1"))
    fairness.serve(BatchId("a1"), 5.0)
    fairness.serve(BatchId("a1"), -5.0)
    assert fairness.turns == 1


def test_all_are_named_once_so_that_one_who_cannot_go_holds_up_nobody() -> None:
    fairness = joined(("a", "a1"), ("a", "a2"), ("b", "b1"))
    fairness.hurry([BatchId("a2"), BatchId("gone")])
    for _ in range(9):
        assert sorted(fairness.order()) == ["a1", "a2", "b1"]
        served(fairness, 1)


def test_who_has_left_is_forgotten() -> None:
    fairness = joined(("a", "a1"), ("b", "b1"))
    fairness.leave(BatchId("a1"))
    fairness.leave(BatchId("a1"))
    assert list(fairness.order()) == ["b1"]
    fairness.leave(BatchId("b1"))
    assert list(fairness.order()) == []


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0.5, 4.0)), min_size=1, max_size=12),
    st.lists(st.integers(0, 11), max_size=4),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_nobody_starves(
    members: list[tuple[int, float]], urgent: list[int], newcomers: list[int]
) -> None:
    fairness = joined(
        *((str(workspace), f"b{number}") for number, (workspace, _) in enumerate(members)),
        weights={str(workspace): weight for workspace, weight in members},
    )
    fairness.hurry([BatchId(f"b{number}") for number in urgent])
    found = []
    for turn in range(3_000):
        if turn in newcomers:
            fairness.join(WorkspaceId(f"new{turn}"), BatchId(f"new{turn}"))
        found += served(fairness, 1)
    assert {f"b{number}" for number in range(len(members))} <= set(found)


def test_a_batch_is_at_risk_when_those_before_it_leave_it_too_little_time() -> None:
    backlogs = [
        Backlog(BatchId("late"), 1_000, 10_000.0),
        Backlog(BatchId("soon"), 1_000, 100.0),
        Backlog(BatchId("after"), 1_000, 150.0),
    ]
    assert at_risk(backlogs, rate_per_s=100.0) == []
    assert at_risk(backlogs, rate_per_s=15.0) == ["after"]
    assert at_risk(backlogs, rate_per_s=10.0) == ["soon", "after"]
    assert at_risk(backlogs, rate_per_s=0.0) == ["soon", "after", "late"]
