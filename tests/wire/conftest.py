"""What all wire tests share: one running service, and a workspace of its own for each test."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.support.process import Server
from tests.wire.caller import Caller
from tests.wire.organization import ADMIN
from tests.wire.served import HELD_S, Served, serving

KEYS = 600

NewCaller = Callable[[], Caller]
ServeWith = Callable[..., Served]
SdkEnvironment = dict[str, str]

SDK_KEY = "sk-ant-api03-wire"
_CONFIG = f"""
api_keys = ["wire={SDK_KEY}", "other=sk-ant-api03-other", "admin={ADMIN}"]
simulator_script = "script.toml"
"""
_SCRIPT = """
[[rules]]
custom_id = "held*"
fault = { type = "slow", seconds = 1.0 }

[[rules]]
custom_id = "failing*"
fault = { type = "status", status = 400, message = "the model said no" }
"""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with the default settings and keys."""
    keys = tuple(f"workspace-{n}=key-{n}" for n in range(KEYS))
    with serving(tmp_path_factory.mktemp("served"), api_keys=keys) as running:
        yield running


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkEnvironment]:
    """A real `overnight serve`; gives the variables by which an SDK finds it.

    Requests whose custom_id begins with `held` take a second there, those with `failing` fail.
    """
    folder = tmp_path_factory.mktemp("process")
    (folder / "script.toml").write_text(_SCRIPT)
    (folder / "overnight.toml").write_text(_CONFIG)
    server = Server(folder / "data", "--config", str(folder / "overnight.toml"))
    try:
        url = asyncio.run(server.start())
        yield {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": SDK_KEY}
    finally:
        server.kill()


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
