"""Keys and workspaces over HTTP: how they come, change and go.

Pins protocol.md §2.2, §2.3, §13.4.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.support.postgres import Cluster
from tests.support.service import START
from tests.wire.caller import BATCHES, Caller, request, until
from tests.wire.conftest import SdkEnvironment, ServeWith
from tests.wire.interpreters import PYTHONS, run_with
from tests.wire.organization import (
    ADMIN,
    API_KEYS,
    KEYS,
    ORGANIZATION,
    WORKSPACES,
    Administrator,
)
from tests.wire.served import serving

from overnight.access.keys import KEEP_S, workspace_id
from overnight.tenancy import LIMIT_NAMES

DEFAULT = workspace_id("default")


@pytest.fixture(scope="module")
def administrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administrator]:
    folder = tmp_path_factory.mktemp("organization")
    with serving(folder, api_keys=(f"admin={ADMIN}", "gone=sk-gone")) as served:
        yield Administrator(served)


@pytest.fixture(scope="module")
def team(administrator: Administrator) -> str:
    """Create a workspace that keys of these tests belong to."""
    return administrator.workspace("team")


# A new key.


def test_a_secret_is_shown_once(administrator: Administrator, team: str) -> None:
    made = administrator.post(KEYS, {"name": "nightly", "workspace_id": team})
    secret = made.json["secret"]
    assert secret.startswith("sk-ant-api03-")
    assert made.header("cache-control") == "no-store"
    assert made.header("anthropic-workspace-id") is None
    assert made.header("anthropic-organization-id") == ORGANIZATION
    for path in (KEYS, f"{KEYS}/{made.json['id']}", API_KEYS, f"{API_KEYS}/{made.json['id']}"):
        answer = administrator.get(path)
        assert answer.status == 200
        assert secret not in answer.body.decode()
        assert made.json["hint"] in answer.body.decode()


def test_a_key_says_what_it_may_do_and_since_when(administrator: Administrator, team: str) -> None:
    made = administrator.issue(team, "content", "read", expires_at="2027-01-31T00:00:00+01:00")
    assert made.document | {"secret": ""} == {
        "id": made.id,
        "type": "key",
        "name": "test",
        "workspace_id": team,
        "roles": ["read", "content"],
        "hint": f"{made.secret[:16]}...{made.secret[-4:]}",
        "status": "active",
        "created_at": START.isoformat(),
        "created_by": None,
        "expires_at": "2027-01-30T23:00:00.000000+00:00",
        "last_used_at": None,
        "revoked_at": None,
        "limits": dict.fromkeys(LIMIT_NAMES),
        "secret": "",
    }


def test_a_key_remembers_the_key_that_created_it(administrator: Administrator, team: str) -> None:
    boss = administrator.issue(None, "admin")
    made = boss.caller.post(KEYS, {"name": "made", "workspace_id": team})
    assert made.json["created_by"] == boss.id


def test_several_keys_of_a_workspace_open_the_same_batches(
    administrator: Administrator, team: str
) -> None:
    first, second = administrator.issue(team), administrator.issue(team)
    batch_id = first.caller.create(request())["id"]
    assert second.caller.get(f"{BATCHES}/{batch_id}").header("anthropic-workspace-id") == team
    administrator.asked("POST", f"{KEYS}/{first.id}/revoke")
    assert first.caller.get(BATCHES).status == 401
    assert second.caller.batch(batch_id)["id"] == batch_id


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({}, "Object missing required field `name`"),
        ({"name": ""}, "name: 0 characters, between 1 and 500"),
        ({"name": 501 * "x"}, "name: 501 characters, between 1 and 500"),
        ({"name": "a\nb"}, "name: it has characters that cannot be seen"),
        ({"name": "a\0"}, "name: it has characters that cannot be seen"),
        ({"name": " a"}, "name: it has characters that cannot be seen"),
        ({"name": "a", "colour": "red"}, "Object contains unknown field `colour`"),
        ({"name": "a"}, "workspace_id: Field required, but for a key with role admin"),
        ({"name": "a", "workspace_id": "wrkspc_01x"}, "workspace_id: no workspace wrkspc_01x"),
        ({"name": "a", "workspace_id": "w\0"}, "workspace_id: no workspace w"),
        ({"name": "a", "workspace_id": DEFAULT, "roles": []}, "roles: none given; there are"),
        ({"name": "a", "workspace_id": DEFAULT, "roles": ["root"]}, "roles: 'root' is none;"),
        ({"name": "a", "workspace_id": DEFAULT, "roles": ["admin"]}, "workspace_id: a key with"),
        ({"name": "a", "workspace_id": DEFAULT, "expires_in_s": 0}, "expires_in_s: 0, from 1"),
        ({"name": "a", "workspace_id": DEFAULT, "expires_at": "2026-01-01T00:00:00Z"},
         "expires_at: 2026-01-01T00:00:00.000000+00:00 has passed"),
        ({"name": "a", "workspace_id": DEFAULT, "expires_at": "2027-01-01T00:00:00"},
         "expires_at: without a zone"),
        ({"name": "a", "workspace_id": DEFAULT, "expires_at": "2027-01-01T00:00:00Z",
          "expires_in_s": 5}, "expires_at, expires_in_s: only one"),
        (b"", "The request body is not valid JSON: unexpected end of data"),
        (b"[]", "Expected `object`, got `array`"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_refused_by_name(
    administrator: Administrator, question: Any, said: str
) -> None:
    answer = administrator.post(KEYS, question)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(said)


def test_an_archived_workspace_gets_no_key(administrator: Administrator) -> None:
    archived = administrator.workspace("short-lived")
    administrator.asked("POST", f"{WORKSPACES}/{archived}/archive")
    answer = administrator.post(KEYS, {"name": "late", "workspace_id": archived})
    assert answer.error[2] == f"workspace_id: no workspace {archived} that is not archived"


# A key changes and ends.


def test_a_key_works_until_the_moment_it_expires(serve_with: ServeWith) -> None:
    served = serve_with(api_keys=(f"admin={ADMIN}",))
    key = Administrator(served).issue(DEFAULT, expires_in_s=60)
    served.advance(59.9)
    assert key.caller.get(BATCHES).status == 200
    served.advance(0.1)
    assert key.caller.get(BATCHES).error[2] == "API key is invalid: it has expired"


def test_a_key_is_switched_off_and_on_and_then_revoked_for_good(
    administrator: Administrator, team: str
) -> None:
    key = administrator.issue(team)
    path = f"{API_KEYS}/{key.id}"
    for status, answered in [("inactive", 401), ("active", 200), ("archived", 401)]:
        assert administrator.asked("POST", path, {"status": status})["status"] == status
        assert key.caller.get(BATCHES).status == answered
    again = administrator.post(path, {"status": "active"})
    assert again.error[:2] == (400, "invalid_request_error")
    assert "cannot be undone" in again.error[2]
    renamed = administrator.asked("POST", path, {"name": "the old one", "status": None})
    assert (renamed["name"], renamed["status"]) == ("the old one", "archived")


def test_to_revoke_a_revoked_key_is_success(administrator: Administrator, team: str) -> None:
    key = administrator.issue(team)
    results = [administrator.asked("POST", f"{KEYS}/{key.id}/revoke")["result"] for _ in range(2)]
    assert results == ["revoked", "already_revoked"]


def test_a_revocation_elsewhere_is_seen_within_seconds(postgres: Cluster, tmp_path: Path) -> None:
    with (
        postgres.database() as url,
        serving(tmp_path, database_url=url, api_keys=(f"admin={ADMIN}",), worker=False) as here,
        serving(tmp_path, database_url=url, api_keys=(f"admin={ADMIN}",), worker=False) as there,
    ):
        key = Administrator(here).issue(DEFAULT)
        elsewhere = Caller(there.port, key.secret, DEFAULT)
        assert elsewhere.get(BATCHES).status == 200
        Administrator(here).asked("POST", f"{KEYS}/{key.id}/revoke")
        assert key.caller.get(BATCHES).status == 401
        there.advance(KEEP_S)
        assert elsewhere.get(BATCHES).status == 401


def test_the_last_use_is_written_at_most_once_a_minute(serve_with: ServeWith) -> None:
    served = serve_with(api_keys=(f"admin={ADMIN}",))
    administrator = Administrator(served)
    key = administrator.issue(DEFAULT)

    def is_written(at: float) -> bool:
        written = administrator.asked("GET", f"{KEYS}/{key.id}")["last_used_at"]
        return bool(written == (START + timedelta(seconds=at)).isoformat())

    key.caller.get(BATCHES)
    until(lambda: is_written(0), what="the first use is written")
    served.advance(59)
    key.caller.get(BATCHES)
    served.advance(1)
    key.caller.get(BATCHES)
    until(lambda: is_written(60), what="the use after a minute is written")


# The first key.


def test_the_first_key_must_be_able_to_make_others_and_closes_the_service(
    serve_with: ServeWith,
) -> None:
    nobody = Administrator(serve_with(), key="")
    refused = nobody.post(KEYS, {"name": "first", "workspace_id": DEFAULT})
    assert refused.error[:2] == (400, "invalid_request_error")
    assert refused.error[2].startswith("roles: the first key must have role admin")
    assert nobody.get(BATCHES).status == 200
    first = nobody.issue(None, "admin")
    assert first.secret.startswith("sk-ant-admin01-")
    assert nobody.get(BATCHES).status == 401
    assert nobody.post(KEYS, {"name": "mine too", "roles": ["admin"]}).status == 401
    key = first.caller.post(KEYS, {"name": "default", "workspace_id": DEFAULT}).json
    assert Caller(nobody.port, key["secret"], DEFAULT).get(BATCHES).status == 200


def test_a_service_stays_closed_when_its_last_key_is_revoked(serve_with: ServeWith) -> None:
    served = serve_with()
    nobody = Administrator(served, key="")
    first = nobody.issue(None, "admin")
    assert first.caller.call("POST", f"{KEYS}/{first.id}/revoke").status == 200
    for _ in range(2):
        assert nobody.get(BATCHES).status == 401
        served.advance(KEEP_S)


@pytest.mark.parametrize(
    "headers",
    [{"host": "batches.example"}, {"x-forwarded-host": "batches.example"}, {"host": "[::2]:80"}],
)
def test_a_stranger_cannot_take_an_open_service_over(
    serve_with: ServeWith, headers: dict[str, str]
) -> None:
    nobody = Administrator(serve_with(), key="")
    for path in (KEYS, WORKSPACES):
        answer = nobody.post(path, {"name": "mine", "roles": ["admin"]}, headers=headers)
        assert answer.error[:2] == (403, "permission_error")


def test_a_service_open_to_the_network_cannot_be_taken_over(serve_with: ServeWith) -> None:
    nobody = Administrator(serve_with(host="0.0.0.0", open=True), key="")
    answer = nobody.post(KEYS, {"name": "mine", "roles": ["admin"]})
    assert answer.error[:2] == (403, "permission_error")


@pytest.mark.parametrize("host", ["localhost:8484", "127.0.0.1", "[::1]:8484"])
def test_whoever_sits_at_the_machine_may_make_the_first_key(
    serve_with: ServeWith, host: str
) -> None:
    nobody = Administrator(serve_with(), key="")
    made = nobody.post(KEYS, {"name": "me", "roles": ["admin"]}, headers={"host": host})
    assert made.status == 200


# Which workspace.


def test_a_key_of_the_organization_names_the_workspace_it_means(
    administrator: Administrator, team: str
) -> None:
    auditor = administrator.issue(None, "admin", "read").caller
    batch_id = administrator.issue(team).caller.create(request())["id"]
    unnamed = auditor.get(f"{BATCHES}/{batch_id}")
    assert unnamed.error[:2] == (400, "invalid_request_error")
    assert unnamed.error[2].startswith("anthropic-workspace-id: header is required")
    named = auditor.get(f"{BATCHES}/{batch_id}", headers={"anthropic-workspace-id": team})
    assert (named.status, named.header("anthropic-workspace-id")) == (200, team)
    wrong = auditor.get(BATCHES, headers={"anthropic-workspace-id": "wrkspc_01other"})
    assert wrong.error[:2] == (403, "permission_error")
    assert auditor.get("/v1/models").status == 200


def test_an_archived_workspace_is_closed_to_every_key(administrator: Administrator) -> None:
    gone = workspace_id("gone")
    configured = Caller(administrator.port, "sk-gone", gone)
    created = administrator.issue(gone)
    auditor = administrator.issue(None, "admin", "read").caller
    assert configured.get(BATCHES).status == 200
    archived = administrator.asked("POST", f"{WORKSPACES}/{gone}/archive")
    assert archived["archived_at"] is not None
    assert configured.get(BATCHES).error == (
        403, "permission_error", f"workspace {gone} (gone) is archived"
    )  # fmt: skip
    assert created.caller.get(BATCHES).status == 401
    headers = {"anthropic-workspace-id": gone}
    assert auditor.get(BATCHES, headers=headers).error[:2] == (403, "permission_error")
    again = administrator.asked("POST", f"{WORKSPACES}/{gone}/archive")
    assert again["archived_at"] == archived["archived_at"]


def test_the_default_workspace_cannot_be_archived(administrator: Administrator) -> None:
    answer = administrator.call("POST", f"{WORKSPACES}/{DEFAULT}/archive")
    assert answer.error[:2] == (400, "invalid_request_error")


def test_a_name_is_free_again_once_its_workspace_is_archived(
    administrator: Administrator,
) -> None:
    first = administrator.workspace("again")
    taken = administrator.post(WORKSPACES, {"name": "again"})
    assert taken.error[2] == "name: a workspace 'again' is there already"
    other = administrator.workspace("other")
    assert administrator.post(f"{WORKSPACES}/{other}", {"name": "again"}).status == 400
    administrator.asked("POST", f"{WORKSPACES}/{first}/archive")
    assert administrator.workspace("again") != first
    assert administrator.post(f"{WORKSPACES}/{first}", {"name": "back"}).status == 400


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({}, "Object missing required field `name`"),
        ({"name": 65 * "x"}, "name: 65 characters, between 1 and 64"),
        ({"name": "x", "display_color": "red"}, "display_color: 'red' is not like #6C5BB9"),
        ({"name": "x", "tags": {"a": "b"}}, "tags: workspaces of this service have none"),
        ({"name": "x", "data_residency": {"workspace_geo": "us"}}, "data_residency: workspaces"),
    ],
)
def test_a_wrong_workspace_is_refused_by_name(
    administrator: Administrator, question: Any, said: str
) -> None:
    answer = administrator.post(WORKSPACES, question)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(said)


@pytest.mark.parametrize(
    ("query", "said"),
    [("include_archived=maybe", "include_archived: "), ("limit=0", "limit: "),
     ("&".join(["ids[]=x"] * 101), "ids: 101 of them, at most 100")],
)  # fmt: skip
def test_a_wrong_list_of_workspaces_is_refused_by_name(
    administrator: Administrator, query: str, said: str
) -> None:
    assert administrator.get(f"{WORKSPACES}?{query}").error[2].startswith(said)


def test_a_wrong_status_is_refused_with_the_right_ones(administrator: Administrator) -> None:
    said = "status: 'gone': Input should be active, inactive, archived, expired"
    for path in (KEYS, API_KEYS):
        assert administrator.get(f"{path}?status=gone").error == (
            400,
            "invalid_request_error",
            said,
        )


# The official SDKs.


def test_the_sdk_administers_workspaces_and_keys(administrator: Administrator) -> None:
    url = f"http://127.0.0.1:{administrator.port}"
    with anthropic.Anthropic(base_url=url, api_key=ADMIN, max_retries=0) as client:
        made = client.organization.workspaces.create(name="by sdk", display_color="#00FF00")
        assert (made.type, made.display_color, made.archived_at) == ("workspace", "#00FF00", None)
        renamed = client.organization.workspaces.update(made.id, name="of sdk")
        assert client.organization.workspaces.retrieve(made.id) == renamed
        listed = client.organization.workspaces.list(limit=1)
        assert made.id in {workspace.id for workspace in listed}
        assert DEFAULT not in {workspace.id for workspace in listed}
        ids = client.organization.workspaces.list(ids=[DEFAULT, made.id], include_default=True)
        assert {workspace.id for workspace in ids} == {DEFAULT, made.id}
        key = administrator.issue(made.id)
        administrator.issue(made.id)
        found = client.organization.api_keys.list(workspace_id=made.id, limit=1)
        assert [k.scope.type for k in found] == ["workspace", "workspace"]
        off = client.organization.api_keys.update(key.id, status="inactive")
        assert client.organization.api_keys.retrieve(key.id) == off
        assert off.partial_key_hint == key.document["hint"]
        assert client.organization.workspaces.archive(made.id).archived_at is not None
        shown = client.organization.api_keys.list(workspace_id=made.id, status="archived")
        assert len(list(shown)) == 2
        with pytest.raises(anthropic.NotFoundError):
            client.organization.api_keys.retrieve("apikey_01unknown")


def test_the_sdk_knows_what_a_missing_role_means(administrator: Administrator, team: str) -> None:
    key = administrator.issue(team, "submit")
    url = f"http://127.0.0.1:{administrator.port}"
    with (
        anthropic.Anthropic(base_url=url, api_key=key.secret, max_retries=0) as client,
        pytest.raises(anthropic.PermissionDeniedError) as caught,
    ):
        client.messages.batches.list()
    assert caught.value.error_code == "api_key_scope_missing"
    assert caught.value.type == "permission_error"


@pytest.mark.parametrize("sdk", PYTHONS)
def test_an_sdk_can_do_everything_with_a_created_key(process: SdkEnvironment, sdk: str) -> None:
    port = int(process["ANTHROPIC_BASE_URL"].rpartition(":")[2])
    made = Caller(port, ADMIN, "").post(KEYS, {"name": f"sdk {sdk}", "workspace_id": DEFAULT})
    environ = process | {"ANTHROPIC_API_KEY": made.json["secret"]}
    printed = run_with(sdk, "sdk_tour.py", environ=environ)
    assert printed.splitlines()[-1].endswith(" toured beta.messages.batches")
