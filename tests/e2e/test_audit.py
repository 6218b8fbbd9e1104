"""Who did what: every act is in the audit log, with the change it tells of or not at all."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from tests.support.api import Answer, Api, requests
from tests.support.service import START, Service, serving, settings_for

from overnight.app import open_database
from overnight.audit import ACTIONS as ALL_ACTIONS
from overnight.clock import MovableClock
from overnight.http.admission import NEEDS
from overnight.http.audit import ACTIONS
from overnight.wire.rate_limits import RATE_LIMIT_ID
from overnight.wire.webhooks import BETA

AUDIT = "/overnight/v1/audit"
KEYS = "/overnight/v1/keys"
API_KEYS = "/v1/organizations/api_keys"
WORKSPACES = "/v1/organizations/workspaces"
WEBHOOKS = "/v1/organizations/webhooks"
BATCHES = "/v1/messages/batches"
ADMIN = "sk-admin"
TEAM = "sk-team"
# What changes something and is no act: the service's own work, and questions that are posted.
WORK = {
    "POST /v1/messages/batches",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "POST /overnight/v1/estimates",
    "POST /overnight/v1/price",
}


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Service]:
    """Run a service with an admin's key and a team's."""
    keys = (f"admin={ADMIN}", f"team={TEAM}")
    settings = settings_for(tmp_path / "data", api_keys=keys, webhooks_allow=("127.0.0.0/8",))
    async with serving(settings, clock=MovableClock(START)) as running:
        yield running


async def call(
    service: Service, method: str, path: str, body: Any = None, *, key: str = ADMIN, **headers: str
) -> Answer:
    sent = None if body is None else msgspec.json.encode(body)
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"x-api-key": key, "anthropic-beta": BETA, **more} if key else more
    return await service.api.call(method, path, sent, given)


async def done(service: Service, method: str, path: str, body: Any = None, **more: Any) -> Any:
    answer = await call(service, method, path, body, **more)
    assert answer.status == 200, answer
    return answer.json


async def acts(service: Service, query: str = "", *, key: str = ADMIN) -> list[dict[str, Any]]:
    """Give the acts that a query finds, the oldest first."""
    answer = await call(service, "GET", f"{AUDIT}?{query}", key=key)
    assert answer.status == 200, answer
    return list(reversed(answer.json["data"]))


def test_every_route_that_changes_something_is_an_act_or_work() -> None:
    changing = {route for route in NEEDS if not route.startswith("GET")}
    assert changing == ACTIONS.keys() | WORK
    # The service does one by itself.
    assert {*ACTIONS.values(), "webhook.disable"} == set(ALL_ACTIONS)


async def test_each_act_is_recorded_with_who_what_and_whence(closed: Service) -> None:
    async def act(method: str, path: str, body: Any = None, **more: Any) -> Any:
        # Or their order within a moment would be any.
        closed.advance(timedelta(seconds=1))
        return await done(closed, method, path, body, **more)

    space = (await act("POST", WORKSPACES, {"name": "new"}))["id"]
    await act("POST", f"{WORKSPACES}/{space}", {"name": "newer"})
    limits = {"limits": [{"type": "enqueued_batch_requests", "value": 5}]}
    await act("POST", f"{WORKSPACES}/{space}/rate_limits/{RATE_LIMIT_ID}", limits)
    key = (await act("POST", KEYS, {"name": "k", "workspace_id": space}))["id"]
    await act("POST", f"{API_KEYS}/{key}", {"status": "inactive"})
    await act("POST", f"{KEYS}/{key}", {"limits": {"uploads": 3}})
    await act("POST", f"{KEYS}/{key}/revoke")
    await act("POST", f"{WORKSPACES}/{space}/archive")
    url = "http://127.0.0.1:1/hook?token=hidden"
    asked = {"url": url, "enabled_events": ["message_batch.ended"]}
    hook = (await act("POST", WEBHOOKS, asked, key=TEAM))["id"]
    await act("POST", f"{WEBHOOKS}/{hook}", {"name": "n", "url": url}, key=TEAM)
    await act("POST", f"{WEBHOOKS}/{hook}/regenerate_signing_secret", {}, key=TEAM)
    event = (await act("POST", f"/overnight/v1/webhooks/{hook}/test", key=TEAM))["event_id"]
    log = f"/overnight/v1/webhooks/{hook}/deliveries/{event}"
    await act("POST", f"{log}/redeliver", key=TEAM)
    await act("DELETE", f"{WEBHOOKS}/{hook}", key=TEAM)
    async with Api(closed.base_url, headers={"x-api-key": TEAM}) as api:
        batch = await api.created(requests(1))
        await act("POST", f"{BATCHES}/{batch}/cancel", key=TEAM)
        await api.ended(batch)
        await act("DELETE", f"{BATCHES}/{batch}", key=TEAM)

    found = await acts(closed)
    told = [(row["action"], row["subject_id"], row["details"]) for row in found]
    assert told == [
        ("workspace.create", space, {"name": "new"}),
        ("workspace.update", space, {"name": "newer"}),
        ("workspace.limit", space, {"queued_requests": 5}),
        ("key.create", key,
         {"workspace_id": space, "roles": "submit,read,content", "expires_at": None}),
        ("key.update", key, {"status": "inactive"}),
        ("key.limit", key, {"uploads": 3}),
        ("key.revoke", key, {}),
        ("workspace.archive", space, {}),
        ("webhook.create", hook, {"enabled_events": "message_batch.ended", "host": "127.0.0.1"}),
        ("webhook.update", hook, {"changed": "name,url", "host": "127.0.0.1"}),
        ("webhook.rotate", hook, {"overlap_s": 86_400}),
        ("webhook.test", hook, {}),
        ("webhook.redeliver", hook, {"event_id": event}),
        ("webhook.delete", hook, {}),
        ("batch.cancel", batch, {}),
        ("batch.delete", batch, {}),
    ]  # fmt: skip
    assert {(row["outcome"], row["status"]) for row in found} == {("done", 200)}
    assert {row["actor"]["ip_address"] for row in found} == {"127.0.0.1"}
    assert [row["actor"]["name"] for row in found] == 8 * ["admin"] + 8 * ["team"]
    assert {row["actor"]["type"] for row in found} == {"settings_key"}
    assert [row["workspace_id"] is None for row in found] == 8 * [True] + 8 * [False]
    assert "hidden" not in json.dumps(found)


async def test_who_acts_is_told_by_key_or_that_none_was_needed(service: Service) -> None:
    made = await done(service, "POST", KEYS, {"name": "me", "roles": ["admin"]}, key="")
    service.advance(timedelta(seconds=1))
    forwarded = {"x_forwarded_for": "203.0.113.7, 10.0.0.1"}
    answer = await call(
        service, "POST", WORKSPACES, {"name": "team"}, key=made["secret"], **forwarded
    )
    first, second = await acts(service, key=made["secret"])
    assert first["actor"] == {
        "type": "anyone", "key_id": None, "name": None, "ip_address": "127.0.0.1",
        "forwarded_for": None,
    }  # fmt: skip
    assert second["actor"] == {
        "type": "key", "key_id": made["id"], "name": "me", "ip_address": "127.0.0.1",
        "forwarded_for": "203.0.113.7, 10.0.0.1",
    }  # fmt: skip
    assert second["request_id"] == answer.headers["request-id"]


async def test_what_is_refused_is_recorded_with_its_status(closed: Service) -> None:
    unknown = "apikey_01" + 22 * "x"
    refusals = (
        ("POST", f"{KEYS}/{unknown}/revoke", TEAM, 403, "key.revoke", unknown),
        ("POST", f"{KEYS}/{unknown}/revoke", ADMIN, 404, "key.revoke", unknown),
        ("POST", WORKSPACES, ADMIN, 400, "workspace.create", None),
        # Whatever was pasted there is not an id.
        ("DELETE", f"{BATCHES}/sk-ant-api03-secret", TEAM, 404, "batch.delete", None),
    )
    for method, path, key, status, _, _ in refusals:
        closed.advance(timedelta(seconds=1))
        assert (await call(closed, method, path, {}, key=key)).status == status
    # Neither who is unknown nor who only looks.
    assert (await call(closed, "POST", WORKSPACES, {}, key="unknown")).status == 401
    assert (await call(closed, "GET", KEYS, key=TEAM)).status == 403
    found = [(row["action"], row["status"], row["subject_id"]) for row in await acts(closed)]
    assert found == [(action, status, subject) for *_, status, action, subject in refusals]
    assert len(await acts(closed, "outcome=refused")) == len(refusals)


async def test_refusals_of_one_caller_are_recorded_so_many_a_minute(closed: Service) -> None:
    for _ in range(21):
        await call(closed, "POST", KEYS, {}, key=TEAM)
    await call(closed, "POST", KEYS, {})
    assert len(await acts(closed, "limit=1000")) == 21


async def test_a_change_that_fails_leaves_no_act(closed: Service) -> None:
    await done(closed, "POST", WORKSPACES, {"name": "taken"})
    assert (await call(closed, "POST", WORKSPACES, {"name": "taken"})).status == 400
    assert len(await acts(closed, "outcome=done")) == 1


async def test_an_act_that_cannot_be_recorded_is_not_done(
    database_url: str | None, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "data", database_url=database_url)
    database = open_database(settings)
    async with serving(settings, database=database) as service:
        await database.write(lambda c: c.execute(text("ALTER TABLE acts RENAME TO away")).rowcount)
        assert (await call(service, "POST", WORKSPACES, {"name": "x"}, key="")).status == 503
        # A refusal is one also when it cannot be recorded.
        assert (await call(service, "POST", WORKSPACES, {}, key="")).status == 400
        names = [row["name"] for row in (await done(service, "GET", WORKSPACES, key=""))["data"]]
        assert "x" not in names


async def test_the_list_is_paged_and_refuses_what_it_does_not_know(closed: Service) -> None:
    for name in "abc":
        closed.advance(timedelta(seconds=1))
        await done(closed, "POST", WORKSPACES, {"name": name})
    first = (await call(closed, "GET", f"{AUDIT}?limit=2")).json
    rest = (await call(closed, "GET", f"{AUDIT}?after_id={first['last_id']}")).json
    names = [row["details"]["name"] for row in first["data"] + rest["data"]]
    assert (names, first["has_more"], rest["has_more"]) == (["c", "b", "a"], True, False)
    for query, status, message in (
        ("action=x", 400, "action: 'x': Input should be key.create"),
        ("outcome=x", 400, "outcome: 'x': Input should be done, refused"),
        ("after_id=act_01x", 404, "Act act_01x not found."),
    ):
        answer = await call(closed, "GET", f"{AUDIT}?{query}")
        assert answer.status == status and message in answer.error["message"]
    assert (await call(closed, "GET", AUDIT, key=TEAM)).status == 403
