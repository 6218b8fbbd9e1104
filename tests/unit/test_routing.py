"""Which backends may take a request: by model, by weight, and by how they are."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.routing import Route, Routing, Rule, Target, one_for_all


class Lane:
    """How a lane is, as a test sets it."""

    def __init__(self, *, out: bool = False, room: bool = True) -> None:
        self.out = self.is_closed = out
        self.room = room

    def has_room(self, route: int, /) -> bool:
        return self.room


def lanes(*out: int, count: int = 3, busy: tuple[int, ...] = ()) -> Mapping[int, Lane]:
    return {n: Lane(out=n in out, room=n not in busy) for n in range(count)}


def route(*targets: Target) -> Route:
    return Route(0, targets)


def weighted(*weights: float) -> Route:
    return route(*(Target(lane=n, backend=str(n), weight=w) for n, w in enumerate(weights)))


def shares(of: Route, standings: Mapping[int, Lane], takes: int) -> Counter[int]:
    """Let the lanes take in turn, each whenever it may."""
    taken: Counter[int] = Counter()
    while taken.total() < takes:
        for lane in standings:
            if of.part(lane, standings, urgent=False) == "any":
                of.took(lane)
                taken[lane] += 1
    return taken


@pytest.mark.parametrize(
    ("model", "lane"),
    [("claude-haiku-4-5", 0), ("claude-opus-5", 1), ("qwen/qwen3-8b", 2), ("Claude-opus-5", 2)],
)
def test_the_first_rule_that_fits_counts(model: str, lane: int) -> None:
    routing = Routing(
        [
            Rule(model="claude-haiku-*", targets=(Target(lane=0),)),
            Rule(model="claude-*", targets=(Target(lane=1),)),
            Rule(model="*", targets=(Target(lane=2),)),
        ]
    )
    found = routing.find(model)
    assert found is not None
    assert list(found.targets) == [lane]
    assert routing.find(model) is found


def test_a_model_that_no_rule_names_has_no_route() -> None:
    assert Routing([Rule(model="claude-*", targets=(Target(lane=0),))]).find("qwen") is None


def test_each_model_has_a_route_of_its_own_until_there_are_many() -> None:
    routing = Routing([one_for_all([0])])
    found = [routing.find(f"model-{number}") for number in range(1_000)]
    assert all(found)
    assert len(routing.routes) == 257
    assert found[256] is found[999]
    assert [one.id for one in routing.routes] == list(range(257))


def test_a_lane_takes_nothing_of_a_route_that_does_not_lead_to_it() -> None:
    assert route(Target(lane=0)).part(1, lanes(), urgent=True) == "nothing"


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (1.0, 10.0)])
@pytest.mark.parametrize("busy", [(), (0,), (0, 1)])
def test_weights_are_kept_whoever_has_room(
    weights: tuple[float, float], busy: tuple[int, ...]
) -> None:
    taken = shares(weighted(*weights), lanes(count=2, busy=busy), 1_000)
    assert taken[0] / taken[1] == pytest.approx(weights[0] / weights[1], rel=0.2)


@given(st.lists(st.sampled_from([0.1, 1.0, 2.5, 40.0]), min_size=2, max_size=5), st.data())
def test_some_lane_with_room_may_always_begin_something(
    weights: list[float], data: st.DataObject
) -> None:
    made = weighted(*weights)
    for lane in data.draw(st.lists(st.integers(0, len(weights) - 1), max_size=60)):
        made.took(lane)
    out = data.draw(st.sets(st.integers(0, len(weights) - 1), max_size=len(weights) - 1))
    standings = lanes(*out, count=len(weights))
    there = [lane for lane in standings if lane not in out]
    assert any(made.part(lane, standings, urgent=False) == "any" for lane in there)


def test_lanes_of_one_backend_share_its_weight() -> None:
    made = route(
        Target(lane=0, backend="a", weight=1.0),
        Target(lane=1, backend="b", weight=1.0),
        Target(lane=2, backend="b", weight=1.0),
    )
    taken = shares(made, lanes(), 1_000)
    assert taken[0] == pytest.approx(500, abs=20)
    assert taken[1] == pytest.approx(taken[2], abs=20)


def test_a_lane_ahead_of_its_share_goes_on_with_what_it_has_begun() -> None:
    made = route(Target(lane=0), Target(lane=1))
    for _ in range(20):
        made.took(0)
    assert made.part(0, lanes(count=2), urgent=False) == "begun"
    assert made.part(0, lanes(1, count=2), urgent=False) == "any"
    assert made.part(0, lanes(count=2, busy=(1,)), urgent=False) == "any"


def test_who_was_away_for_long_does_not_catch_up() -> None:
    made = route(Target(lane=0), Target(lane=1))
    for _ in range(10_000):
        made.took(0)
    taken = shares(made, lanes(count=2), 200)
    assert taken[0] >= 80


def test_fallbacks_wait_until_all_others_are_out() -> None:
    made = route(Target(lane=0), Target(lane=1), Target(lane=2, fallback=True))
    assert made.part(2, lanes(), urgent=False) == "nothing"
    assert made.part(2, lanes(0), urgent=False) == "nothing"
    assert made.part(2, lanes(0, 1), urgent=False) == "any"


def test_fallbacks_help_a_batch_that_may_not_end_in_time() -> None:
    made = route(Target(lane=0), Target(lane=2, fallback=True))
    assert made.part(2, lanes(), urgent=True) == "any"
    assert made.part(0, lanes(), urgent=True) == "any"


def test_a_call_that_does_not_wait_goes_to_the_least_loaded_that_is_there() -> None:
    made = route(
        Target(lane=0, weight=1.0),
        Target(lane=1, weight=4.0),
        Target(lane=2, weight=1.0, fallback=True, model="other"),
    )

    def order(*out: int) -> list[int]:
        return [target.lane for target in made.ranked(lanes(*out), [0.5, 0.6, 0.0])]

    assert order() == [1, 0, 2]
    assert order(1) == [0, 2, 1]
    assert order(0, 1) == [2, 1, 0]
