"""The keyring over a real database: what it asks, what it writes, what it survives."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.postgres import Cluster
from tests.support.service import START, settings_for
from tests.support.waiting import until

from overnight.access.credentials import Pepper, hint_of, new_secret
from overnight.access.keys import DEFAULT_WORKSPACE, KEEP_S, Keyring, workspace_id
from overnight.access.secret import ServerSecret
from overnight.app import open_database
from overnight.clock import MovableClock
from overnight.errors import AuthenticationFailed, PermissionDenied
from overnight.store import keys, workspaces
from overnight.store.database import Database
from overnight.tenancy import ALL_ROLES, DEFAULT_ROLES, Key, KeyId

PEPPER = Pepper(ServerSecret(b"of these tests"))
KEY = KeyId("apikey_01a")
MINUTE = timedelta(minutes=1)


def a_keyring(database: Database, clock: MovableClock, *api_keys: str) -> Keyring:
    return Keyring(database=database, clock=clock, pepper=PEPPER, api_keys=api_keys)


async def issue(database: Database) -> dict[str, str]:
    """Create a key of the default workspace; give the header that carries it."""
    secret = new_secret(admin=False)
    made = Key(
        id=KEY,
        workspace_id=DEFAULT_WORKSPACE,
        name="a",
        roles=DEFAULT_ROLES,
        hint=hint_of(secret),
        created_at=START,
    )
    digest = PEPPER.digest(secret)
    await database.write(
        lambda c: keys.create(c, made, digest=digest, pepper_id=PEPPER.id),
    )
    return {"x-api-key": secret}


@asynccontextmanager
async def running(keyring: Keyring) -> AsyncIterator[None]:
    task = asyncio.create_task(keyring.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until_written(database: Database, at: object) -> None:
    async def is_written() -> bool:
        found = await database.read(lambda c: keys.find(c, KEY))
        return found is not None and found.last_used_at == at

    await until(is_written, what=f"the last use at {at}")


async def test_keys_of_the_settings_open_the_workspaces_they_name(
    database: Database, clock: MovableClock
) -> None:
    keyring = a_keyring(database, clock, "sk-plain", "team=sk-team", "admin=sk-admin")
    await keyring.start()
    assert not await keyring.is_open()
    for secret, name, roles in [
        ("sk-plain", "default", DEFAULT_ROLES),
        ("sk-team", "team", DEFAULT_ROLES),
        ("sk-admin", "admin", ALL_ROLES),
    ]:
        caller = await keyring.admit({"authorization": f"Bearer {secret}"})
        assert (caller.workspace_id, caller.roles) == (workspace_id(name), roles)
        assert (await keyring.workspace(caller, {})).name == name
    with pytest.raises(AuthenticationFailed):
        await keyring.admit({"x-api-key": "sk-other"})


async def test_a_keyring_closes_within_seconds_of_the_first_key_made_elsewhere(
    database: Database, clock: MovableClock
) -> None:
    keyring = a_keyring(database, clock)
    await keyring.start()
    assert await keyring.is_open()
    headers = await issue(database)
    assert await keyring.is_open()
    clock.advance(timedelta(seconds=KEEP_S))
    assert not await keyring.is_open()
    assert (await keyring.admit(headers)).key_id == KEY


async def test_an_archived_workspace_is_closed_within_seconds(
    database: Database, clock: MovableClock
) -> None:
    keyring = a_keyring(database, clock, "team=sk-team")
    await keyring.start()
    caller = await keyring.admit({"x-api-key": "sk-team"})
    team = (await keyring.workspace(caller, {})).id
    await database.write(lambda c: workspaces.archive(c, team, now=START))
    clock.advance(timedelta(seconds=KEEP_S))
    with pytest.raises(PermissionDenied, match="archived"):
        await keyring.workspace(caller, {})


async def test_the_last_use_is_written_also_after_a_lost_connection(
    postgres: Cluster, tmp_path: Path, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    with postgres.database() as url:
        database = open_database(settings_for(tmp_path, database_url=url))
        keyring = a_keyring(database, clock)
        await keyring.start()
        headers = await issue(database)
        async with running(keyring):
            await keyring.admit(headers)
            await until_written(database, START)
            clock.advance(MINUTE)
            postgres.break_connections(url)
            with caplog.at_level(logging.ERROR):
                await keyring.admit(headers)
                await until_written(database, START + MINUTE)
        assert headers["x-api-key"] not in caplog.text
        await database.close()
