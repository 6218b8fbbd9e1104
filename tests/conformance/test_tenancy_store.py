"""What every database must do for workspaces and keys, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from tests.support.postgres import Cluster
from tests.support.service import START, settings_for

from overnight.access.keys import workspace_id
from overnight.access.shares import Shares
from overnight.app import open_database
from overnight.model import WorkspaceId
from overnight.store import keys, workspaces
from overnight.store.database import Database
from overnight.tenancy import Key, KeyId, KeyStatus, Role, Workspace

HERE, ELSEWHERE = WorkspaceId("wrkspc_01here"), WorkspaceId("wrkspc_01elsewhere")
HOUR = timedelta(hours=1)
PEPPER = "pepper-of-now"


def a_workspace(name: str = "here", /, **changes: Any) -> Workspace:
    made = Workspace(id=WorkspaceId(f"wrkspc_01{name}"), name=name, created_at=START)
    return replace(made, **changes)


def a_key(name: str = "a", /, **changes: Any) -> Key:
    made = Key(
        id=KeyId(f"apikey_01{name}"),
        workspace_id=HERE,
        name=name,
        roles=frozenset({Role.READ, Role.SUBMIT}),
        hint="sk-ant-api03-abc...wxyz",
        created_at=START,
    )
    return replace(made, **changes)


async def add(database: Database, *things: Workspace | Key, pepper_id: str = PEPPER) -> None:
    def change(connection: Connection) -> None:
        for thing in things:
            if isinstance(thing, Workspace):
                workspaces.create(connection, thing)
            else:
                keys.create(connection, thing, digest=f"digest of {thing.id}", pepper_id=pepper_id)

    await database.write(change)


async def key(database: Database, name: str = "a") -> Key:
    found = await database.read(partial(keys.find, key_id=f"apikey_01{name}"))
    assert found is not None
    return found


@pytest.fixture
async def furnished(database: Database) -> Database:
    """Give a database with a workspace here and one elsewhere."""
    await add(database, a_workspace("here"), a_workspace("elsewhere"))
    return database


# Workspaces.


async def test_a_workspace_is_found_as_it_was_created(database: Database) -> None:
    made = a_workspace(display_color="#00FF00")
    await add(database, made)
    assert await database.read(partial(workspaces.find, workspace_id=made.id)) == made
    assert await database.read(partial(workspaces.find, workspace_id="wrkspc_01other")) is None


async def test_live_workspaces_have_different_names(furnished: Database) -> None:
    with pytest.raises(IntegrityError):
        await add(furnished, a_workspace(id=WorkspaceId("wrkspc_01again")))
    with pytest.raises(IntegrityError):
        await furnished.write(partial(workspaces.change, workspace_id=ELSEWHERE, name="here"))
    await furnished.write(partial(workspaces.archive, workspace_id=HERE, now=START))
    await furnished.write(partial(workspaces.change, workspace_id=ELSEWHERE, name="here"))


async def test_a_change_leaves_alone_what_it_does_not_name(furnished: Database) -> None:
    await furnished.write(partial(workspaces.change, workspace_id=HERE, name="there"))
    await furnished.write(partial(workspaces.change, workspace_id=HERE, display_color="#000000"))
    await furnished.write(partial(workspaces.change, workspace_id=HERE))
    found = await furnished.read(partial(workspaces.find, workspace_id=HERE))
    assert found == a_workspace(name="there", id=HERE, display_color="#000000")


async def named(database: Database, name: str) -> WorkspaceId:
    ask = partial(workspaces.named, name=name, workspace_id=workspace_id(name), now=START)
    return (await database.write(ask)).id


async def test_a_workspace_of_the_settings_is_made_once(database: Database) -> None:
    assert await named(database, "team") == workspace_id("team")
    assert await named(database, "team") == workspace_id("team")
    rows, _ = await database.read(partial(workspaces.page, limit=10))
    assert [row.name for row in rows] == ["team"]


async def test_a_name_of_the_settings_means_the_workspace_created_with_it(
    furnished: Database,
) -> None:
    assert await named(furnished, "here") == HERE


async def test_a_workspace_of_the_settings_stays_the_same_when_it_is_renamed_or_archived(
    database: Database,
) -> None:
    team = await named(database, "team")
    await database.write(partial(workspaces.change, workspace_id=team, name="crew"))
    assert await named(database, "team") == team
    await database.write(partial(workspaces.archive, workspace_id=team, now=START))
    assert await named(database, "team") == team


async def test_servers_that_start_at_once_make_a_workspace_once(
    postgres: Cluster, tmp_path: Path
) -> None:
    with postgres.database() as url:
        settings = settings_for(tmp_path, database_url=url)
        both = [open_database(settings), open_database(settings)]
        asked = [named(database, f"team-{n}") for n in range(10) for database in both]
        found = await asyncio.gather(*asked)
        assert found == [workspace_id(f"team-{n}") for n in range(10) for _ in both]
        for database in both:
            await database.close()


async def test_an_archived_workspace_takes_its_keys_with_it_and_keeps_its_time(
    furnished: Database,
) -> None:
    await add(furnished, a_key("mine"), a_key("other", workspace_id=ELSEWHERE))
    await add(furnished, a_key("gone"))
    await furnished.write(partial(keys.revoke, key_id=KeyId("apikey_01gone"), now=START))
    for hours in (1, 2):
        at = START + hours * HOUR
        await furnished.write(partial(workspaces.archive, workspace_id=HERE, now=at))
    found = await furnished.read(partial(workspaces.find, workspace_id=HERE))
    assert found is not None and found.archived_at == START + HOUR
    assert (await key(furnished, "mine")).revoked_at == START + HOUR
    assert (await key(furnished, "gone")).revoked_at == START
    assert (await key(furnished, "other")).revoked_at is None


async def test_the_list_of_workspaces_is_newest_first_and_can_be_narrowed(
    database: Database,
) -> None:
    for number, name in enumerate("abcd"):
        await add(database, a_workspace(name, created_at=START + number * HOUR))
    archived = WorkspaceId("wrkspc_01b")
    await database.write(partial(workspaces.archive, workspace_id=archived, now=START))

    async def listed(**narrowed: Any) -> tuple[str, bool]:
        rows, more = await database.read(partial(workspaces.page, **{"limit": 10} | narrowed))
        return "".join(row.name for row in rows), more

    assert await listed() == ("dca", False)
    assert await listed(with_archived=True) == ("dcba", False)
    assert await listed(limit=2) == ("dc", True)
    assert await listed(without=WorkspaceId("wrkspc_01c")) == ("da", False)
    assert await listed(only=["wrkspc_01a", "wrkspc_01b", "wrkspc_01\0"]) == ("a", False)
    at = await database.read(partial(workspaces.cursor, workspace_id="wrkspc_01c"))
    assert await listed(after=at, with_archived=True) == ("ba", False)
    assert await listed(before=at) == ("d", False)
    assert await database.read(partial(workspaces.cursor, workspace_id="wrkspc_01x")) is None


# Keys.


async def test_a_key_is_found_as_it_was_created_by_id_and_by_digest(furnished: Database) -> None:
    made = a_key(expires_at=START + HOUR, created_by=KeyId("apikey_01boss"))
    await add(furnished, made)
    assert await key(furnished) == made
    kept = await furnished.read(partial(keys.find_by_digest, digest="digest of apikey_01a"))
    assert kept == (made, "digest of apikey_01a")
    assert await furnished.read(partial(keys.find_by_digest, digest="other")) is None
    assert await furnished.read(partial(keys.find, key_id="apikey_01\0")) is None


async def test_a_key_of_the_organization_has_no_workspace(database: Database) -> None:
    made = a_key(workspace_id=None, roles=frozenset({Role.ADMIN}))
    await add(database, made)
    assert await key(database) == made


async def test_a_key_needs_a_workspace_that_exists(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await add(database, a_key())


async def test_two_keys_cannot_have_one_secret(furnished: Database) -> None:
    await add(furnished, a_key())
    create = partial(keys.create, key=a_key("b"), digest="digest of apikey_01a", pepper_id=PEPPER)
    with pytest.raises(IntegrityError):
        await furnished.write(create)


async def test_whether_a_key_was_ever_created_outlives_its_revocation(furnished: Database) -> None:
    assert not await furnished.read(keys.is_any)
    await add(furnished, a_key())
    await furnished.write(partial(keys.revoke, key_id=KeyId("apikey_01a"), now=START))
    assert await furnished.read(keys.is_any)


async def test_a_revocation_keeps_its_first_time(furnished: Database) -> None:
    await add(furnished, a_key())
    for hours in (1, 2):
        at = START + hours * HOUR
        await furnished.write(partial(keys.revoke, key_id=KeyId("apikey_01a"), now=at))
    assert (await key(furnished)).revoked_at == START + HOUR


async def test_a_key_is_switched_off_and_on_and_renamed(furnished: Database) -> None:
    await add(furnished, a_key())
    change = partial(keys.change, key_id=KeyId("apikey_01a"), now=START + HOUR)
    await furnished.write(partial(change, disabled=True))
    assert await key(furnished) == a_key(disabled_at=START + HOUR)
    await furnished.write(partial(change, name="new"))
    assert await key(furnished) == a_key(disabled_at=START + HOUR, name="new")
    await furnished.write(partial(change, disabled=False))
    assert await key(furnished) == a_key(name="new")


def a_life(at: datetime) -> Sequence[Key]:
    """Give keys in every state there is."""
    before, after = at - HOUR, at + HOUR
    moments = [None, before]
    return [
        a_key(f"{number}", expires_at=expires_at, disabled_at=disabled_at, revoked_at=revoked_at)
        for number, (expires_at, disabled_at, revoked_at) in enumerate(
            (e, d, r) for e in (None, before, at, after) for d in moments for r in moments
        )
    ]


async def test_the_list_of_a_status_holds_the_keys_that_have_it(furnished: Database) -> None:
    lives = a_life(START)
    for made in lives:
        await add(furnished, made)
        if made.disabled_at is not None:
            off = partial(keys.change, key_id=made.id, disabled=True, now=made.disabled_at)
            await furnished.write(off)
        if made.revoked_at is not None:
            await furnished.write(partial(keys.revoke, key_id=made.id, now=made.revoked_at))
    listed = set()
    for status in get_args(KeyStatus):
        ask = partial(keys.page, now=START, limit=100, status=status)
        found, _ = await furnished.read(ask)
        assert {k.id for k in found} == {k.id for k in lives if k.status(START) == status}
        listed |= {k.id for k in found}
    assert listed == {k.id for k in lives}


async def test_the_list_of_keys_is_newest_first_and_of_one_workspace(furnished: Database) -> None:
    places = {"a": HERE, "b": ELSEWHERE, "c": HERE, "d": HERE}
    for number, (name, workspace) in enumerate(places.items()):
        made = a_key(name, workspace_id=workspace, created_at=START + number * HOUR)
        await add(furnished, made)

    async def listed(**narrowed: Any) -> tuple[str, bool]:
        ask = partial(keys.page, now=START, **{"limit": 10} | narrowed)
        rows, more = await furnished.read(ask)
        return "".join(row.name for row in rows), more

    assert await listed() == ("dcba", False)
    assert await listed(workspace_id=HERE) == ("dca", False)
    assert await listed(workspace_id=HERE, limit=1) == ("d", True)
    assert await listed(workspace_id="wrkspc_01\0") == ("", False)
    at = await furnished.read(partial(keys.cursor, key_id="apikey_01c"))
    assert await listed(after=at) == ("ba", False)


async def test_an_earlier_use_does_not_replace_a_later_one(furnished: Database) -> None:
    await add(furnished, a_key("a"), a_key("b"))
    a, b = KeyId("apikey_01a"), KeyId("apikey_01b")
    await furnished.write(partial(keys.note_uses, uses={a: START + HOUR}))
    await furnished.write(partial(keys.note_uses, uses={a: START, b: START}))
    assert (await key(furnished, "a")).last_used_at == START + HOUR
    assert (await key(furnished, "b")).last_used_at == START


async def test_keys_of_another_pepper_are_lost_until_they_are_revoked(furnished: Database) -> None:
    await add(furnished, a_key("now"))
    await add(furnished, a_key("lost"), a_key("ended", expires_at=START), pepper_id="earlier")
    ask = partial(keys.count_lost, pepper_id=PEPPER, now=START)
    assert await furnished.read(ask) == 1
    await furnished.write(partial(keys.revoke_lost, pepper_id=PEPPER, now=START))
    assert await furnished.read(ask) == 0
    assert (await key(furnished, "lost")).revoked_at == START
    assert (await key(furnished, "now")).revoked_at is None
    assert (await key(furnished, "ended")).revoked_at is None


async def test_a_weight_by_name_finds_a_workspace_that_is_made_or_renamed_later(
    database: Database,
) -> None:
    named = {"team": 3.0, "wrkspc_01elsewhere": 2.0}
    shares = Shares(database=database, named=named, sweep_interval_s=1)
    weights = shares.weights
    await shares.look()
    assert weights == {workspace_id("team"): 3.0, ELSEWHERE: 2.0}
    await add(database, a_workspace("here"))
    await database.write(lambda c: workspaces.change(c, HERE, name="team"))
    await shares.look()
    assert weights == {HERE: 3.0, ELSEWHERE: 2.0}
