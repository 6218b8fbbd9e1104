"""What every database must do for the audit log, on SQLite and on PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from tests.support.service import DAY, START, settings_for

from overnight.audit import Act, ActId, Actor
from overnight.clock import MovableClock
from overnight.model import WorkspaceId
from overnight.pipeline.retention import Keeper
from overnight.pipeline.wake import Wakes
from overnight.store import audit
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.tenancy import KeyId

ACT = Act(
    id=ActId("act_01a"),
    created_at=START,
    action="key.revoke",
    status=200,
    actor=Actor(
        kind="key", key_id=KeyId("apikey_01me"), name="me", address="127.0.0.1", forwarded_for="::1"
    ),
    workspace_id=WorkspaceId("wrkspc_01here"),
    subject_id="apikey_01b",
    request_id="req_01",
    details={"roles": "read", "uploads": 3, "expires_at": None},
)


def an_act(number: int, **changes: Any) -> Act:
    at = START + timedelta(seconds=number)
    return replace(ACT, id=ActId(f"act_01{number}"), created_at=at, **changes)


async def recorded(database: Database, *acts: Act) -> None:
    def record(connection: Connection) -> None:
        for act in acts:
            audit.record(connection, act)

    await database.write(record)


async def listed(database: Database, limit: int = 20, **wanted: Any) -> list[str]:
    found, _ = await database.read(lambda c: audit.page(c, limit=limit, **wanted))
    return [act.id for act in found]


async def test_an_act_is_read_as_it_was_recorded(database: Database) -> None:
    await recorded(database, ACT)
    found, has_more = await database.read(lambda c: audit.page(c, limit=1))
    assert (found, has_more) == ([ACT], False)


async def test_acts_are_listed_newest_first_from_a_cursor_on(database: Database) -> None:
    await recorded(database, *(an_act(number) for number in range(4)))
    second = await database.read(lambda c: audit.cursor(c, "act_012"))
    assert await listed(database) == ["act_013", "act_012", "act_011", "act_010"]
    assert await listed(database, limit=1, after=second) == ["act_011"]
    assert await listed(database, limit=1, before=second) == ["act_013"]
    assert await database.read(lambda c: audit.cursor(c, "act_\0")) is None


async def test_acts_are_found_by_what_they_tell(database: Database) -> None:
    await recorded(
        database,
        an_act(0, action="batch.cancel"),
        an_act(1, outcome="refused", status=403),
        an_act(2, subject_id="wrkspc_01x"),
        an_act(3, actor=Actor(kind="anyone")),
    )
    assert await listed(database, action="batch.cancel") == ["act_010"]
    assert await listed(database, outcome="refused") == ["act_011"]
    assert await listed(database, subject_id="wrkspc_01x") == ["act_012"]
    assert await listed(database, key_id="apikey_01me") == ["act_012", "act_011", "act_010"]
    assert await listed(database, subject_id="\0") == []


async def test_an_act_cannot_be_changed(database: Database) -> None:
    await recorded(database, ACT)
    with pytest.raises(DBAPIError, match="an act never changes"):
        await database.write(lambda c: c.execute(text("UPDATE acts SET outcome = 'refused'")))
    assert await listed(database, outcome="done") == [ACT.id]


async def test_acts_are_forgotten_when_their_time_has_passed(
    database: Database, tmp_path: Any
) -> None:
    await recorded(database, ACT, an_act(1))
    settings = settings_for(tmp_path)
    clock = MovableClock(START + timedelta(seconds=settings.audit_log_s + 1))
    keeper = Keeper(
        database=database,
        objects=ObjectDirectory(tmp_path / "objects"),
        clock=clock,
        wakes=Wakes(),
        sweep_interval_s=1,
        audit_log_s=settings.audit_log_s,
    )
    await keeper.sweep()
    assert await listed(database) == ["act_011"]
    assert settings.audit_log_s == 400 * DAY.total_seconds()
