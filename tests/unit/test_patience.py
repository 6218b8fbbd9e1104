"""What is usual for a backend, and what is slow."""

from overnight.dispatch.patience import Patience


def test_a_backend_that_answers_at_once_is_not_slow_because_we_were_busy() -> None:
    patience = Patience()
    patience.note(100, 100, 0.001)
    assert patience.note(100, 100, 0.09) == 1.0


def test_an_answer_that_takes_longer_than_usual_is_slow() -> None:
    patience = Patience()
    patience.note(100, 100, 1.0)
    assert patience.note(100, 100, 4.0) > 3.9


def test_nobody_is_given_up_before_enough_is_known() -> None:
    patience = Patience()
    for _ in range(199):
        patience.note(100, 100, 10.0)
    assert patience.limit_s(1_000) is None
    patience.note(100, 100, 10.0)
    assert patience.limit_s(1_000) == 200.0


def test_the_slowest_answers_of_late_set_the_limit() -> None:
    patience = Patience()
    for _ in range(3_000):
        patience.note(100, 100, 40.0)
    for _ in range(2_000):
        patience.note(100, 100, 10.0)
    assert patience.limit_s(1_000) == 200.0
