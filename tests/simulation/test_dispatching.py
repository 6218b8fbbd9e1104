"""Whole batches in simulated time: what is read, who waits, who is served."""

from collections import Counter
from random import Random

import pytest
from tests.simulation.dispatching import Outcome, simulate
from tests.simulation.serving import FIRST_BYTE_S, Request, Server

from overnight.dispatch.order import Order
from overnight.model import BatchId, Prefix, WorkspaceId

SYSTEM_TOKENS, DOCUMENT_TOKENS = 1_000, 4_000


def ordered(requests: list[Request]) -> list[Request]:
    """Put requests in the order of the plan."""
    order = Order()
    for request in requests:
        order.add(request.prefixes)
    return [requests[place.position] for place in order.walk()]


def nested(systems: int, documents: int, questions: int, *, ttl_s: int = 300) -> list[Request]:
    made: list[Request] = []
    for system in range(systems):
        for document in range(documents):
            prefixes = (
                Prefix(system, SYSTEM_TOKENS, ttl_s),
                Prefix(1_000 + system * documents + document, DOCUMENT_TOKENS, ttl_s),
            )
            made += [Request(len(made) + number, prefixes) for number in range(questions)]
    Random(3).shuffle(made)
    return made


def sent_once(outcome: Outcome, count: int) -> bool:
    return sorted(one.request.number for one in outcome.sent) == list(range(count))


@pytest.mark.parametrize("senders", [16, 64, 256])
def test_nested_prefixes_are_each_written_once(senders: int) -> None:
    outcome = simulate(ordered(nested(20, 50, 10, ttl_s=3_600)), senders=senders)
    assert sent_once(outcome, 10_000)
    best = 20 * SYSTEM_TOKENS + 20 * 50 * (DOCUMENT_TOKENS - SYSTEM_TOKENS)
    assert outcome.written_tokens == best
    assert outcome.read_tokens == 10_000 * DOCUMENT_TOKENS - best


def test_little_is_written_again_when_entries_live_shorter_than_the_batch() -> None:
    outcome = simulate(ordered(nested(20, 50, 10, ttl_s=300)), senders=16)
    assert outcome.ended_s > 5 * 300
    best = 20 * SYSTEM_TOKENS + 20 * 50 * (DOCUMENT_TOKENS - SYSTEM_TOKENS)
    assert outcome.read_tokens >= 0.99 * (10_000 * DOCUMENT_TOKENS - best)


def test_senders_have_work_while_followers_wait() -> None:
    outcome = simulate(ordered(nested(20, 50, 10)), senders=64)
    # Only the first system prompts make all of them wait.
    assert outcome.idle_s <= 64 * 2 * FIRST_BYTE_S
    assert sum(one.at_s == 0.0 for one in outcome.sent) == 20


def test_a_group_of_50_000_has_one_leader() -> None:
    prefix = (Prefix(1, SYSTEM_TOKENS, 300),)
    outcome = simulate([Request(number, prefix) for number in range(50_000)], senders=256)
    assert sent_once(outcome, 50_000)
    assert outcome.written_tokens == SYSTEM_TOKENS
    assert sorted(one.at_s for one in outcome.sent)[1] == FIRST_BYTE_S


def test_ten_thousand_groups_of_one_wait_for_nobody() -> None:
    requests = [Request(n, (Prefix(n, SYSTEM_TOKENS, 300),)) for n in range(10_000)]
    outcome = simulate(requests, senders=64)
    assert sent_once(outcome, 10_000)
    assert outcome.idle_s == 0


def test_a_follower_leads_when_its_leader_fails() -> None:
    requests = ordered(nested(2, 3, 20))
    leader = requests[0].number

    def fails(request: Request, attempt: int) -> bool:
        return request.number == leader and attempt <= 3

    outcome = simulate(requests, senders=16, server=Server(fails=fails))
    assert sent_once(outcome, 120)
    assert outcome.written_tokens == 2 * SYSTEM_TOKENS + 6 * (DOCUMENT_TOKENS - SYSTEM_TOKENS)


def test_a_tenth_of_failures_writes_nothing_twice() -> None:
    random = Random(5)
    server = Server(fails=lambda *_: random.random() < 0.1)
    outcome = simulate(ordered(nested(4, 10, 20)), senders=32, server=server)
    assert sent_once(outcome, 800)
    assert outcome.written_tokens == 4 * SYSTEM_TOKENS + 40 * (DOCUMENT_TOKENS - SYSTEM_TOKENS)


def test_a_time_to_live_shorter_than_the_batch_is_prolonged_by_reads() -> None:
    prefix = (Prefix(1, SYSTEM_TOKENS, 30),)
    outcome = simulate([Request(number, prefix) for number in range(2_000)], senders=4)
    assert outcome.ended_s > 10 * 30
    assert outcome.written_tokens == SYSTEM_TOKENS


def test_a_hundred_workspaces_are_served_alike() -> None:
    random = Random(1)
    requests: list[Request] = []
    for number in range(100):
        name = f"workspace-{number}"
        requests += [
            Request(
                len(requests) + n,
                batch_id=BatchId(f"{name}-{n % 3}"),
                workspace_id=WorkspaceId(name),
            )
            for n in range(random.choice([60, 300, 1_000]))
        ]
    outcome = simulate(requests, senders=64)
    assert sent_once(outcome, len(requests))
    first = Counter(one.request.workspace_id for one in outcome.sent[: 100 * 50])
    assert set(first.values()) == {50}


def test_a_simulation_is_the_same_each_time() -> None:
    requests = ordered(nested(3, 5, 10))
    assert simulate(requests, senders=8, seed=4) == simulate(requests, senders=8, seed=4)
