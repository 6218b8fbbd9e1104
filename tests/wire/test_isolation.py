"""No key reaches what is not its own: every route is tried with keys that must not open it.

The routes are those that the application serves, so a new one is tried without being named here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from tests.wire.caller import BATCHES, Answer, Caller, request
from tests.wire.organization import (
    ADMIN,
    API_KEYS,
    KEYS,
    SPEND_LIMITS,
    WORKSPACES,
    Administrator,
    Issued,
)
from tests.wire.served import Served, serving

from overnight.http.admission import NEEDS, Open
from overnight.tenancy import DEFAULT_ROLES, Role
from overnight.wire.rate_limits import RATE_LIMIT_ID
from overnight.wire.webhooks import BETA

PLANTED = "planted-secret-of-the-owner"
CLOSED = {route: need for route, need in NEEDS.items() if need is not Open.TO_ALL}
LACKING = [
    (route, need, role)
    for route, need in CLOSED.items()
    if isinstance(need, Role)
    for role in Role
    if role is not need
]
HOUR_S = 3_600


class Ids(NamedTuple):
    """What stands in the paths of routes."""

    batch_id: str
    workspace_id: str
    key_id: str
    webhook_id: str
    event_id: str
    spend_limit_id: str
    model_id: str = "claude-haiku-4-5"
    rate_limit_id: str = RATE_LIMIT_ID

    def path(self, template: str) -> str:
        return template.format(**self._asdict())


UNKNOWN = Ids(
    "msgbatch_01" + 22 * "x",
    "wrkspc_01" + 22 * "x",
    "apikey_01" + 22 * "x",
    "whep_01" + 22 * "x",
    "whe_01" + 22 * "x",
    "spl_01" + 22 * "x",
)
WEBHOOKS = "/v1/organizations/webhooks"
BETAS = {"anthropic-beta": BETA}


class Estate(NamedTuple):
    """Two workspaces on one service. The owner's has a batch with results, the other nothing."""

    served: Served
    administrator: Administrator
    owner: Issued
    stranger: Issued
    theirs: Ids
    estimate_id: str
    # Keys of the owner's workspace that no longer work, by what happened to them.
    ended: Mapping[str, Issued]
    # Keys of the owner's workspace with each of the roles, and one of the organization.
    narrow: Mapping[Role, Issued]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    folder = tmp_path_factory.mktemp("estate")
    with serving(folder, api_keys=(f"admin={ADMIN}",)) as served:
        yield furnish(served)


def furnish(served: Served) -> Estate:
    administrator = Administrator(served)
    mine, other = administrator.workspace("mine"), administrator.workspace("other")
    owner, stranger = administrator.issue(mine), administrator.issue(other)
    ended = {
        "has expired": administrator.issue(mine, expires_in_s=HOUR_S),
        "was revoked": administrator.issue(mine),
        "is switched off": administrator.issue(mine),
    }
    administrator.asked("POST", f"{KEYS}/{ended['was revoked'].id}/revoke")
    off = f"{API_KEYS}/{ended['is switched off'].id}"
    administrator.asked("POST", off, {"status": "inactive"})
    served.advance(HOUR_S)
    batch_id = owner.caller.run(request(PLANTED))["id"]
    endpoint = {"url": "https://theirs.example/", "enabled_events": ["message_batch.ended"]}
    webhook_id = owner.caller.post(WEBHOOKS, endpoint, headers=BETAS).json["id"]
    event_id = owner.caller.post(f"/overnight/v1/webhooks/{webhook_id}/test", {}).json["event_id"]
    budget = {"amount": "100000", "scope": {"type": "workspace", "workspace_id": mine}}
    spend_limit_id = administrator.asked("POST", SPEND_LIMITS, budget)["id"]
    price = {"low_usd": "1", "high_usd": "2"}
    estimate = owner.caller.post("/overnight/v1/estimates", price).json
    return Estate(
        served=served,
        administrator=administrator,
        owner=owner,
        stranger=stranger,
        theirs=Ids(batch_id, mine, owner.id, webhook_id, event_id, spend_limit_id),
        estimate_id=estimate["id"],
        ended=ended,
        narrow={role: administrator.issue(mine, role) for role in DEFAULT_ROLES}
        | {Role.ADMIN: administrator.issue(None, Role.ADMIN)},
    )


def call(caller: Caller, route: str, ids: Ids, **headers: str) -> Answer:
    """Call a route as far as it can be called without knowing what it is about."""
    method, template = route.split(" ")
    path = ids.path(template)
    headers = BETAS | headers
    if method == "POST":
        return caller.call(method, path, b"{}", headers=headers)
    return caller.call(method, path, headers=headers)


def without_ids(answer: Answer, ids: Ids) -> tuple[int, Any, dict[str, str]]:
    """Give what tells two answers apart beside the ids that were asked for."""
    text = answer.body.decode()
    for value, name in zip(ids, ids._fields, strict=True):
        text = text.replace(value, f"<{name}>")
    body = json.loads(text)
    body.pop("request_id", None)
    headers = {key.lower(): value for key, value in answer.headers}
    return (
        answer.status,
        body,
        {k: v for k, v in headers.items() if k not in ("request-id", "date")},
    )


def is_untouched(estate: Estate) -> bool:
    """Tell whether the owner still has all that was there."""
    caller, ids = estate.owner.caller, estate.theirs
    batch = caller.batch(ids.batch_id)
    workspace = estate.administrator.asked("GET", f"{WORKSPACES}/{ids.workspace_id}")
    key = estate.administrator.asked("GET", f"{KEYS}/{ids.key_id}")
    return (
        (batch["processing_status"], batch["cancel_initiated_at"]) == ("ended", None)
        and list(caller.results(ids.batch_id)) == [PLANTED]
        and (workspace["name"], workspace["archived_at"]) == ("mine", None)
        and (key["name"], key["status"]) == ("test", "active")
        and caller.get(f"{WEBHOOKS}/{ids.webhook_id}", headers=BETAS).json["state"] == "enabled"
    )


# Keys that open nothing.


@pytest.mark.parametrize("route", CLOSED)
def test_without_a_key_and_with_an_unknown_one_nothing_is_answered(
    estate: Estate, route: str
) -> None:
    nobody = Caller(estate.served.port, "", "")
    method, template = route.split(" ")
    missing = nobody.call(method, estate.theirs.path(template), without=["authorization"])
    assert missing.error == (401, "authentication_error", "x-api-key header is required")
    for secret in ("sk-ant-api03-" + 48 * "x", "sk-ant-admin01-" + 48 * "x", ADMIN + "x", "x"):
        answer = call(Caller(estate.served.port, secret, ""), route, estate.theirs)
        assert answer.error == (401, "authentication_error", "API key is invalid.")
        assert answer.header("anthropic-organization-id") is None


@pytest.mark.parametrize("what", ["has expired", "was revoked", "is switched off"])
@pytest.mark.parametrize("route", CLOSED)
def test_a_key_that_has_ended_opens_nothing(estate: Estate, route: str, what: str) -> None:
    secret = estate.ended[what].secret
    expected = (401, "authentication_error", f"API key is invalid: it {what}")
    assert call(estate.ended[what].caller, route, estate.theirs).error == expected
    method, template = route.split(" ")
    old_style = estate.ended[what].caller.call(
        method,
        estate.theirs.path(template),
        headers={"x-api-key": secret},
        without=["authorization"],
    )
    assert old_style.error == expected
    assert old_style.header("anthropic-workspace-id") is None


# Keys that open something else.


@pytest.mark.parametrize(("route", "need", "role"), LACKING)
def test_a_key_without_the_role_is_told_which(
    estate: Estate, route: str, need: Role, role: Role
) -> None:
    answer = call(estate.narrow[role].caller, route, estate.theirs)
    assert answer.error == (
        403,
        "permission_error",
        f"This key lacks the role {need}, which {route} needs",
    )
    assert answer.json["error"]["details"] == {"error_code": "api_key_scope_missing"}
    assert PLANTED not in answer.body.decode()


@pytest.mark.parametrize("route", [route for route in CLOSED if "_id}" in route])
def test_a_foreign_id_is_answered_like_an_unknown_one(estate: Estate, route: str) -> None:
    stranger = estate.stranger.caller
    foreign = without_ids(call(stranger, route, estate.theirs), estate.theirs)
    unknown = without_ids(call(stranger, route, UNKNOWN), UNKNOWN)
    assert foreign == unknown
    if re.search("{(batch|workspace|key|webhook|event|spend_limit)_id}", route):
        assert foreign[0] in {403, 404}
    assert is_untouched(estate)


@pytest.mark.parametrize("route", CLOSED)
def test_nothing_of_another_workspace_is_ever_told(estate: Estate, route: str) -> None:
    text = call(estate.stranger.caller, route, UNKNOWN).body.decode()
    for theirs in (PLANTED, *estate.theirs[:6], estate.estimate_id, estate.owner.secret):
        assert theirs not in text


def test_a_foreign_stream_of_progress_is_answered_like_an_unknown_one(estate: Estate) -> None:
    route = "GET /overnight/v1/batches/{batch_id}/progress"
    accept = {"accept": "text/event-stream"}
    foreign = call(estate.stranger.caller, route, estate.theirs, **accept)
    unknown = call(estate.stranger.caller, route, UNKNOWN, **accept)
    assert foreign.status == 404
    assert without_ids(foreign, estate.theirs) == without_ids(unknown, UNKNOWN)


@pytest.mark.parametrize("cursor", ["after_id", "before_id"])
def test_a_foreign_cursor_is_answered_like_an_unknown_one(estate: Estate, cursor: str) -> None:
    foreign, unknown = (
        without_ids(estate.stranger.caller.get(f"{BATCHES}?{cursor}={ids.batch_id}"), ids)
        for ids in (estate.theirs, UNKNOWN)
    )
    assert foreign == unknown and foreign[0] == 404


def test_a_foreign_estimate_is_answered_like_an_unknown_one(estate: Estate) -> None:
    answers = []
    for estimate_id in (estate.estimate_id, "estimate_01" + 22 * "x"):
        headers = {"overnight-estimate-id": estimate_id}
        answer = estate.stranger.caller.post(BATCHES, {"requests": [request()]}, headers=headers)
        answers.append(without_ids(answer, UNKNOWN))
    assert answers[0] == answers[1] and answers[0][0] == 400


def test_a_foreign_workspace_is_answered_like_an_unknown_one(estate: Estate) -> None:
    foreign, unknown = (
        call(estate.stranger.caller, f"GET {BATCHES}", ids, **{"anthropic-workspace-id": ids[1]})
        for ids in (estate.theirs, UNKNOWN)
    )
    assert foreign.status == 403
    assert without_ids(foreign, estate.theirs) == without_ids(unknown, UNKNOWN)


def test_an_idempotency_key_of_another_workspace_finds_nothing(estate: Estate) -> None:
    headers = {"idempotency-key": "nightly"}
    mine = estate.owner.caller.create(request(PLANTED), headers=headers)
    other = estate.stranger.caller.create(request(PLANTED), headers=headers)
    assert mine["id"] != other["id"]
    estate.owner.caller.ended(mine["id"])


def test_a_list_shows_a_workspace_its_own_batches_and_no_others(estate: Estate) -> None:
    own = {estate.stranger.caller.run(request())["id"] for _ in range(2)}
    listed = {batch["id"] for batch in estate.stranger.caller.get(BATCHES).json["data"]}
    assert own <= listed
    owned = {batch["id"] for batch in estate.owner.caller.get(BATCHES).json["data"]}
    assert estate.theirs.batch_id in owned and not listed & owned


# What the right keys do.


def test_each_role_does_what_it_is_for_and_no_more(estate: Estate) -> None:
    submit, read, content = (
        estate.narrow[role].caller for role in (Role.SUBMIT, Role.READ, Role.CONTENT)
    )
    batch_id = submit.create(request("held"))["id"]
    assert read.batch(batch_id)["processing_status"] == "in_progress"
    assert submit.call("POST", f"{BATCHES}/{batch_id}/cancel").status == 200
    estate.served.advance(10)
    read.ended(batch_id)
    assert content.results(batch_id).keys() == {"held"}
    assert submit.call("DELETE", f"{BATCHES}/{batch_id}").status == 200
    assert read.get(f"{BATCHES}/{batch_id}").status == 404


@pytest.mark.parametrize("route", [route for route in CLOSED if route.startswith("GET")])
def test_an_administrator_without_other_roles_sees_no_content_and_no_secret(
    estate: Estate, route: str
) -> None:
    text = call(estate.narrow[Role.ADMIN].caller, route, estate.theirs).body.decode()
    assert PLANTED not in text
    assert not re.search(r"sk-ant-(api03|admin01)-[A-Za-z0-9]{4}", text)
