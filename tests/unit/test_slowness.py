"""What is slow, and what only takes long."""

import pytest

from overnight.dispatch.slowness import Slowness


@pytest.fixture
def slowness() -> Slowness:
    """Know a backend that needs a second and 20 ms for each token, whatever it is given."""
    slowness = Slowness()
    for calls in (1, 5, 60):
        for tokens in (10, 100, 1_000):
            for _ in range(50):
                slowness.note(0, calls, 500, tokens, 1 + 0.02 * tokens)
    return slowness


def test_a_long_answer_is_not_slow(slowness: Slowness) -> None:
    assert not slowness.note(0, 60, 500, 1_000, 21.0)
    assert slowness.note(0, 60, 500, 10, 21.0)


def test_an_answer_that_takes_ten_times_as_long_is_slow(slowness: Slowness) -> None:
    assert slowness.note(0, 60, 500, 100, 30.0)
    assert not slowness.note(0, 60, 500, 100, 6.0)


def test_a_backend_that_answers_at_once_is_not_slow_because_we_were_busy() -> None:
    slowness = Slowness()
    slowness.note(0, 60, 500, 100, 0.001)
    assert not slowness.note(0, 60, 500, 100, 0.09)
    assert slowness.note(0, 60, 500, 100, 0.11)


def test_slow_answers_do_not_become_usual(slowness: Slowness) -> None:
    assert all(slowness.note(0, 60, 500, 100, 30.0) for _ in range(1_000))


def test_a_backend_that_gets_slower_little_by_little_is_the_usual_one(slowness: Slowness) -> None:
    seconds = 3.0
    for _ in range(300):
        seconds *= 1.01
        assert not slowness.note(0, 60, 500, 100, seconds)


def test_a_server_that_batches_is_not_slow_because_it_is_busy() -> None:
    slowness = Slowness()
    for _ in range(50):
        slowness.note(0, 1, 500, 100, 1.0)
    # The first answers of a full load say what is usual for it.
    assert not any(slowness.note(0, 256, 500, 100, 8.0) for _ in range(50))
    assert not slowness.note(0, 1, 500, 100, 1.0)


def test_fewer_calls_should_not_take_longer_than_more() -> None:
    slowness = Slowness()
    for _ in range(50):
        slowness.note(0, 100, 500, 100, 3.0)
    # So few calls were never under way before.
    assert slowness.note(0, 50, 500, 100, 30.0)
    assert slowness.note(0, 25, 500, 100, 30.0)


def test_groups_have_paces_of_their_own(slowness: Slowness) -> None:
    assert not any(slowness.note(1, 60, 500, 100, 30.0) for _ in range(50))


def test_what_is_usual_can_be_learned_anew(slowness: Slowness) -> None:
    slowness.forget()
    assert not slowness.note(0, 60, 500, 100, 30.0)
    assert not slowness.note(0, 60, 500, 100, 30.0)
