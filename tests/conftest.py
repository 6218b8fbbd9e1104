"""Fixtures for every suite: both databases for real, and the whole service."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.postgres import Cluster, running_cluster
from tests.support.service import START, Service, serving, settings_for

from overnight.app import open_database
from overnight.clock import MovableClock
from overnight.store.database import Database


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """Run PostgreSQL, once for all tests that ask for it."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Give what `--database-url` is: once nothing, which means SQLite, once a PostgreSQL."""
    if request.param == "sqlite":
        yield None
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        yield url


@pytest.fixture
async def database(database_url: str | None, tmp_path: Path) -> AsyncIterator[Database]:
    """Open a database at the schema of this version, once on either system."""
    opened = open_database(settings_for(tmp_path, database_url=database_url))
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(START)


@pytest.fixture
async def service(tmp_path: Path, clock: MovableClock) -> AsyncIterator[Service]:
    """Run the service on SQLite with the simulator and a clock that stands still."""
    async with serving(settings_for(tmp_path / "data"), clock=clock) as running:
        yield running
