"""What all wire tests share: one running service, and a workspace of its own for each test."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.wire.caller import Caller
from tests.wire.served import HELD_S, Served, serving

KEYS = 600

NewCaller = Callable[[], Caller]
ServeWith = Callable[..., Served]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with the default settings and keys."""
    keys = tuple(f"workspace-{n}=key-{n}" for n in range(KEYS))
    with serving(tmp_path_factory.mktemp("served"), api_keys=keys) as running:
        yield running


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count()


@pytest.fixture(scope="session")
def new_caller(served: Served, _numbers: Iterator[int]) -> NewCaller:
    """Makes callers, each with a workspace in which nothing is yet."""

    def make() -> Caller:
        number = next(_numbers)
        return served.caller(f"key-{number}", f"workspace-{number}")

    return make


@pytest.fixture
def caller(new_caller: NewCaller, served: Served) -> Iterator[Caller]:
    yield new_caller()
    # Requests that a test held back must not take the place of the next test's.
    served.advance(HELD_S)


@pytest.fixture
def serve_with(tmp_path: Path) -> Iterator[ServeWith]:
    """Starts services with other settings, open to everyone."""
    with contextlib.ExitStack() as stack:
        numbers = count()

        def serve(**values: Any) -> Served:
            return stack.enter_context(serving(tmp_path / f"served-{next(numbers)}", **values))

        yield serve
