"""What waits to be sent: leaders, followers, turns, lanes."""

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

import pytest

from overnight.dispatch.fairness import Fairness
from overnight.dispatch.queue import Queue, Taken
from overnight.dispatch.warmth import PATIENCE_S, Warmth
from overnight.model import BatchId, Prefix, WorkspaceId

SYSTEM, OTHER_SYSTEM = Prefix(1, 2_000, 300), Prefix(2, 2_000, 300)
DOCUMENT, OTHER_DOCUMENT = Prefix(11, 5_000, 300), Prefix(12, 5_000, 300)


class Item(NamedTuple):
    number: int
    prefixes: tuple[Prefix, ...] = ()
    batch_id: BatchId = BatchId("batch")
    workspace_id: WorkspaceId = WorkspaceId("workspace")
    route: int = 0
    cost: float = 1.0


def queue(items: Iterable[Item], *, lanes: int = 1) -> Queue[Item]:
    made: Queue[Item] = Queue(fairness=Fairness(), lanes=[Warmth() for _ in range(lanes)])
    made.put(list(items))
    return made


def run(*prefixes: Prefix, start: int = 0, count: int = 3) -> list[Item]:
    return [Item(start + number, prefixes) for number in range(count)]


def take_all(waiting: Queue[Item], lane: int = 0, now_s: float = 0.0) -> list[Taken[Item]]:
    """Take until nothing may go."""
    found = []
    while (taken := waiting.take(lane, now_s)) is not None:
        found.append(taken)
    return found


def numbers(taken: Iterable[Taken[Item]]) -> list[int]:
    return [one.item.number for one in taken]


def test_requests_without_prefixes_go_in_order() -> None:
    waiting = queue(run(count=5))
    assert numbers(take_all(waiting)) == [0, 1, 2, 3, 4]
    assert len(waiting) == 0


def test_a_leader_goes_alone_and_the_others_follow_when_its_answer_begins() -> None:
    waiting = queue(run(SYSTEM))
    (leader,) = take_all(waiting)
    assert leader.leads == (SYSTEM,)
    assert (len(waiting), waiting.sendable) == (2, 0)
    waiting.begin(0, leader.leads, 0.0)
    followers = take_all(waiting)
    assert [(one.item.number, one.leads) for one in followers] == [(1, ()), (2, ())]


def test_other_groups_go_while_followers_wait() -> None:
    waiting = queue([*run(SYSTEM), *run(OTHER_SYSTEM, start=10), *run(start=20)])
    assert numbers(take_all(waiting)) == [0, 10, 20, 21, 22]


def test_nested_prefixes_warm_level_by_level() -> None:
    waiting = queue([*run(SYSTEM, DOCUMENT), *run(SYSTEM, OTHER_DOCUMENT, start=10)])
    (first,) = take_all(waiting)
    assert first.leads == (SYSTEM, DOCUMENT)
    waiting.begin(0, first.leads, 0.0)
    then = take_all(waiting)
    assert numbers(then) == [1, 2, 10]
    assert then[-1].leads == (OTHER_DOCUMENT,)


def test_a_follower_leads_when_the_leader_fails() -> None:
    waiting = queue(run(SYSTEM))
    (leader,) = take_all(waiting)
    waiting.fail(0, leader.leads)
    (second,) = take_all(waiting)
    assert (second.item.number, second.leads) == (1, (SYSTEM,))


def test_nobody_waits_for_a_leader_for_ever() -> None:
    waiting = queue(run(SYSTEM))
    take_all(waiting)
    assert not waiting.look_after(PATIENCE_S - 1)
    assert waiting.look_after(PATIENCE_S + 1)
    (second,) = take_all(waiting, now_s=PATIENCE_S + 1)
    assert second.leads == (SYSTEM,)


def test_an_entry_that_was_not_read_for_its_time_to_live_is_led_again() -> None:
    waiting = queue(run(SYSTEM, count=4))
    (leader,) = take_all(waiting)
    waiting.begin(0, leader.leads, 0.0)
    assert waiting.take(0, 299.0) == (Item(1, (SYSTEM,)), ())
    # The read at 299 s has prolonged it.
    assert waiting.take(0, 598.0) == (Item(2, (SYSTEM,)), ())
    assert waiting.take(0, 899.0) == (Item(3, (SYSTEM,)), (SYSTEM,))


def test_what_is_put_back_is_next_and_leads_again() -> None:
    waiting = queue(run(SYSTEM))
    taken = waiting.take(0, 0.0)
    assert taken is not None
    waiting.put_back(0, taken)
    assert len(waiting) == 3
    assert waiting.take(0, 0.0) == taken


def test_a_group_stays_with_the_lane_that_began_it() -> None:
    waiting = queue([*run(SYSTEM), *run(OTHER_SYSTEM, start=10)], lanes=2)
    first, second = waiting.take(0, 0.0), waiting.take(1, 0.0)
    assert first is not None
    assert second is not None
    assert (first.item.number, second.item.number) == (0, 10)
    waiting.begin(0, first.leads, 0.0)
    waiting.begin(1, second.leads, 0.0)
    assert numbers(take_all(waiting, lane=1)) == [11, 12]
    assert numbers(take_all(waiting, lane=0)) == [1, 2]


def test_a_lane_without_work_takes_over_half_of_a_large_group() -> None:
    waiting = queue(run(SYSTEM, count=101), lanes=2)
    (leader,) = take_all(waiting, lane=0)
    assert waiting.take(1, 0.0) is None
    waiting.begin(0, leader.leads, 0.0)
    (stolen,) = take_all(waiting, lane=1)
    assert stolen.leads == (SYSTEM,)
    assert len(take_all(waiting, lane=0)) == 50


def test_the_groups_of_a_lane_that_is_gone_go_elsewhere() -> None:
    waiting = queue(run(SYSTEM), lanes=2)
    take_all(waiting, lane=0)
    assert take_all(waiting, lane=1) == []
    waiting.abandon(0)
    assert numbers(take_all(waiting, lane=1)) == [1]


def test_only_requests_of_the_routes_are_taken() -> None:
    waiting = queue([Item(0, route=1), Item(1, route=2)])
    assert waiting.take(0, 0.0, may=lambda batch_id, route: "any" if route == 2 else "nothing") == (
        Item(1, route=2),
        (),
    )
    assert (
        waiting.take(0, 0.0, may=lambda batch_id, route: "any" if route == 2 else "nothing") is None
    )


def test_a_batch_of_ten_does_not_wait_behind_one_of_many_thousands() -> None:
    large = [Item(number, batch_id=BatchId("large")) for number in range(20_000)]
    waiting = queue(large)
    for _ in range(1_000):
        waiting.take(0, 0.0)
    waiting.put([Item(number, batch_id=BatchId("small")) for number in range(10)])
    then = [waiting.take(0, 0.0) for _ in range(21)]
    assert Counter(one.item.batch_id for one in then if one)[BatchId("small")] == 10


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_nothing_doubled_whatever_happens(seed: int) -> None:
    random = Random(seed)
    lanes = random.randint(1, 3)
    waiting = queue([], lanes=lanes)
    chains = [(), (SYSTEM,), (SYSTEM, DOCUMENT), (SYSTEM, OTHER_DOCUMENT), (OTHER_SYSTEM,)]
    made, ended, withdrawn = 0, list[int](), list[int]()
    under_way: list[tuple[int, Taken[Item]]] = []
    for step in range(600):
        now_s = step * 5.0
        match random.randrange(8):
            case 0:
                chain, batch = random.choice(chains), BatchId(random.choice("ab"))
                new = [
                    Item(made + number, chain, batch, WorkspaceId(batch.upper()))
                    for number in range(random.randint(1, 40))
                ]
                waiting.put(new)
                made += len(new)
            case 1 | 2 | 3 | 4:
                lane = random.randrange(lanes)
                taken = waiting.take(lane, now_s)
                if taken is not None:
                    under_way.append((lane, taken))
            case 5 if under_way:
                lane, taken = under_way.pop(random.randrange(len(under_way)))
                match random.randrange(3):
                    case 0:
                        waiting.begin(lane, taken.leads, now_s)
                        ended.append(taken.item.number)
                    case 1:
                        waiting.fail(lane, taken.leads)
                        waiting.put([taken.item])
                    case _:
                        waiting.put_back(lane, taken)
            case 6:
                waiting.look_after(now_s)
                waiting.abandon(random.randrange(lanes))
            case 7 if step % 50 == 0:
                gone = waiting.withdraw(lambda item: item.number % 7 == 0)
                withdrawn += [item.number for item in gone]
            case _:
                pass
        assert 0 <= waiting.sendable <= len(waiting)
        assert made == len(waiting) + len(under_way) + len(ended) + len(withdrawn)
    rest = [item.number for item in waiting.withdraw(lambda item: True)]
    flying = [taken.item.number for _, taken in under_way]
    assert sorted([*rest, *flying, *ended, *withdrawn]) == list(range(made))
    assert (len(waiting), waiting.sendable, list(waiting.batches)) == (0, 0, [])
