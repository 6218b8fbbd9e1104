"""Keys from the command line against real processes: the first, the last, a lost secret."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.api import Api, requests
from tests.support.process import Process, Server, server
from tests.support.waiting import until

OVERNIGHT = (sys.executable, "-c", "from overnight.cli import main; main()")
SERVE = (*OVERNIGHT, "serve", "--port", "0")
KEYS = "/overnight/v1/keys"


class Call(NamedTuple):
    """What one call of the program came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def call(url: str, *args: str, key: str = "", **more: str) -> Call:
    """Call the program with a key that administers."""
    environ = {"OVERNIGHT_BASE_URL": url, "OVERNIGHT_ADMIN_KEY": key, "PATH": ""} | more
    done = await asyncio.to_thread(
        subprocess.run,
        [*OVERNIGHT, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env=environ,
        timeout=60,
        check=False,
    )
    return Call(done.returncode, done.stdout, done.stderr)


async def ended(process: Process) -> tuple[int, str]:
    return await process.ended(), process.output


async def status(url: str, path: str, key: str = "", method: str = "GET") -> int:
    async with Api(url) as api:
        return (await api.call(method, path, None, {"x-api-key": key} if key else {})).status


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Server]:
    """Run a service without any key, which logs all there is to log."""
    async with server(tmp_path / "data", "--log-level", "debug") as started:
        yield started


async def test_from_no_key_to_a_key_of_a_team_and_back(service: Server) -> None:
    url = service.base_url
    assert "keys     none needed" in service.output
    early = await call(url, "keys", "create", "--name", "x", "--workspace", "default")
    assert (early.code, early.out) == (2, "")
    assert "the first key must have role admin" in early.err

    first = await call(url, "keys", "create", "--role", "admin", "--name", "me")
    admin = first.out.strip()
    assert first.code == 0 and admin.startswith("sk-ant-admin01-")
    assert "it is not shown again" in first.err and admin not in first.err
    closed = await call(url, "keys", "list")
    assert (closed.code, closed.out) == (4, "")
    assert "OVERNIGHT_ADMIN_KEY" in closed.err

    team = await call(url, "workspaces", "create", "team", key=admin)
    workspace_id = team.out.strip()
    assert team.code == 0 and workspace_id.startswith("wrkspc_01")
    made = await call(
        url, "keys", "create", "--workspace", "team", "--name", "nightly", "--expires", "90d",
        "--role", "submit", "--role", "read", "--json", key=admin,
    )  # fmt: skip
    key = made.json
    assert (key["workspace_id"], key["roles"]) == (workspace_id, ["submit", "read"])
    assert await status(url, "/v1/messages/batches", key["secret"]) == 200
    assert await status(url, "/v1/messages/batches/x/results", key["secret"]) == 403

    listed = await call(url, "keys", "list", "--workspace", workspace_id[:14], key=admin)
    assert [line.split()[:2] for line in listed.out.splitlines()] == [[key["id"], "active"]]
    assert key["secret"] not in listed.out and key["hint"] in listed.out
    unsure = await call(url, "keys", "revoke", key["id"][:20], key=admin)
    assert unsure.code == 2 and "add --yes" in unsure.err
    revoked = await call(url, "keys", "revoke", key["id"][:20], "--yes", key=admin)
    assert (revoked.code, revoked.err) == (0, f"{key['id']} revoked\n")
    again = await call(url, "keys", "revoke", key["id"], "--json", key=admin)
    assert again.json["result"] == "already_revoked"
    assert await status(url, "/v1/messages/batches", key["secret"]) == 401

    archived = await call(url, "workspaces", "archive", "team", "--yes", key=admin)
    assert archived.err == f"{workspace_id} (team) archived\n"
    live = await call(url, "workspaces", "list", key=admin)
    everything = await call(url, "workspaces", "list", "--archived", "--json", key=admin)
    assert [line.split()[-1] for line in live.out.splitlines()] == ["default"]
    assert [row["name"] for row in everything.json] == ["team", "default"]


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("keys", "create", "--name", "x"), 2, "a key needs the workspace that it opens"),
        (("keys", "create", "--name", "x", "--role", "root"), 2, "'root' is not one of"),
        (("keys", "create", "--name", "x", "--role", "admin", "--expires", "soon"), 2,
         "--expires soon: must be like 90d"),
        (("keys", "create", "--name", "x", "--workspace", "nowhere"), 2,
         "nowhere: no workspace has this id"),
        (("keys", "revoke", "apikey_01x", "--yes"), 2, "apikey_01x: no key has this id"),
        (("workspaces", "archive", "wrkspc_01", "--yes"), 2, "wrkspc_01: 2 workspaces begin so"),
        (("workspaces", "limit", "team", "--uploads", "few"), 2,
         "--uploads few: must be a whole number, none, or default"),
        (("keys", "limit", "apikey_01x", "--uploads", "default"), 2,
         "--uploads default: must be a whole number or none"),
        (("workspaces", "create", "default"), 2, "a workspace 'default' is there already"),
    ],
)  # fmt: skip
async def test_a_wrong_call_is_an_error_with_a_code(
    two_workspaces: str, args: tuple[str, ...], code: int, error: str
) -> None:
    done = await call(two_workspaces, *args)
    assert (done.code, done.out) == (code, "")
    assert error in done.err
    document = (await call(two_workspaces, *args, "--json")).json["error"]
    assert (document["exit_code"], error in document["message"]) == (code, True)


@pytest.fixture(scope="module")
def two_workspaces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    started = Server(tmp_path_factory.mktemp("two") / "data")
    try:
        url = asyncio.run(started.start())
        assert asyncio.run(call(url, "workspaces", "create", "team")).code == 0
        yield url
    finally:
        started.kill()


async def test_limits_are_set_shown_and_taken_away(tmp_path: Path) -> None:
    started = Server(tmp_path / "data", "--max-queued-requests", "200000")
    try:
        url = await started.start()
        bare = await call(url, "workspaces", "limit", "default")
        assert bare.out.split() == ["queued_requests", "200,000", "of", "the", "settings"]
        own = await call(
            url, "workspaces", "limit", "default", "--requests-per-minute", "2,000",
            "--queued-requests", "none",
        )  # fmt: skip
        assert [line.split()[:2] for line in own.out.splitlines()] == [
            ["requests_per_minute", "2,000"],
            ["queued_requests", "none"],
        ]
        back = await call(
            url, "workspaces", "limit", "default", "--requests-per-minute", "default", "--json"
        )
        assert [(row["type"], row["value"]) for row in back.json["limits"]] == [
            ("enqueued_batch_requests", 0)
        ]
        first = await call(url, "keys", "create", "--role", "admin", "--name", "me", "--json")
        key_id, key = first.json["id"], first.json["secret"]
        shown = await call(url, "keys", "limit", key_id[:14], "--uploads", "3", key=key)
        assert shown.out.split() == ["uploads", "3"]
        none = await call(url, "keys", "limit", key_id, "--uploads", "none", key=key)
        assert (none.code, none.out, none.err) == (0, "", "no limits of its own\n")
    finally:
        started.kill()


async def test_a_key_of_several_workspaces_is_told_to_name_one(service: Server) -> None:
    url = service.base_url
    roles = [part for role in ("admin", "submit", "read") for part in ("--role", role)]
    key = (await call(url, "keys", "create", "--name", "me", *roles)).out.strip()
    asked = {"ANTHROPIC_API_KEY": key}
    bare = await call(url, "batches", "list", **asked)
    assert bare.code == 2
    assert "anthropic-workspace-id: header is required: this key opens all workspaces" in bare.err
    assert "hint: name it: --workspace NAME, or OVERNIGHT_WORKSPACE" in bare.err
    by_name = await call(url, "batches", "list", "--workspace", "default", **asked)
    assert (by_name.code, by_name.err) == (0, "no batches\n")
    by_variable = await call(url, "webhooks", "list", OVERNIGHT_WORKSPACE="default", **asked)
    assert by_variable.code == 0
    unknown = await call(url, "watch", "x", "--workspace", "nowhere", **asked)
    assert unknown.code == 2 and "nowhere: no workspace has this id" in unknown.err


async def test_no_secret_is_ever_logged(service: Server) -> None:
    url = service.base_url
    admin = (await call(url, "keys", "create", "--role", "admin", "--name", "me")).out.strip()
    planted = ["sk-ant-api03-" + 48 * "P", "sk-ant-admin01-" + 48 * "P", "planted-without-form"]
    async with Api(url, headers={"x-api-key": admin}) as api:
        body = json.dumps({"name": "k", "workspace_id": "wrkspc_01x"}).encode()
        assert (await api.call("POST", KEYS, body)).status == 400
        spaces = (await api.call("GET", "/v1/organizations/workspaces?include_default=true")).json
        body = json.dumps({"name": "k", "workspace_id": spaces["data"][0]["id"]}).encode()
        secret = (await api.call("POST", KEYS, body)).json["secret"]
    for key in [*planted, secret, admin]:
        await status(url, "/v1/messages/batches", key)
        await status(url, f"/v1/messages/batches/{key}", key)
        await status(url, KEYS, key, "POST")
        await status(url, f"/v1/messages?key={key}", key, "POST")
    async with Api(url, headers={"authorization": f"Bearer {secret}"}) as api:
        await api.ended(await api.created(requests(1)))
    assert "key.create outcome=done" in service.output
    for hidden in [*planted, secret, admin]:
        assert hidden not in service.output
    for file in service.data.rglob("*"):
        if file.is_file():
            content = await asyncio.to_thread(file.read_bytes)
            assert secret.encode() not in content and admin.encode() not in content


# Starting.


def serving(tmp_path: Path, *options: str, **environ: str) -> Process:
    """Start `overnight serve` on one data directory."""
    number = len(list(tmp_path.glob("*.log")))
    command = [*SERVE, "--data", str(tmp_path / "data"), *options]
    return Process(command, tmp_path / f"{number}.log", environ=environ)


async def test_an_address_others_can_reach_needs_a_key_or_open(tmp_path: Path) -> None:
    code, output = await ended(serving(tmp_path, "--host", "0.0.0.0"))
    assert code == 2
    assert "error: host 0.0.0.0 can be reached by others, and there is no key" in output
    assert "hint: set OVERNIGHT_API_KEYS=admin=KEY, or --open" in output
    opened = serving(tmp_path, "--host", "0.0.0.0", "--open")
    assert "none needed" in await greeting(opened)
    opened.kill()
    configured = serving(tmp_path, "--host", "0.0.0.0", OVERNIGHT_API_KEYS="admin=sk-a,team=sk-b")
    assert "needed; 2 in the settings" in await greeting(configured)
    configured.kill()


async def test_a_created_key_is_enough_to_listen_where_others_can_reach_it(
    tmp_path: Path,
) -> None:
    local = serving(tmp_path)
    url = await local.address()
    assert (await call(url, "keys", "create", "--role", "admin", "--name", "me")).code == 0
    local.kill()
    shared = serving(tmp_path, "--host", "0.0.0.0")
    assert "needed; 0 in the settings" in await greeting(shared)
    shared.kill()


async def test_a_lost_key_secret_is_told_and_its_keys_can_be_given_up(tmp_path: Path) -> None:
    first = serving(tmp_path)
    url = await first.address()
    admin = (await call(url, "keys", "create", "--role", "admin", "--name", "me")).out.strip()
    first.kill()
    secret = tmp_path / "data" / "server_secret"
    kept = secret.read_bytes()

    secret.unlink()
    code, output = await ended(serving(tmp_path))
    assert code == 2
    assert "keys of the database that were hashed with another secret: 1" in output
    secret.write_bytes(kept)
    restored = serving(tmp_path)
    assert await status(await restored.address(), KEYS, admin) == 200
    restored.kill()

    other = {"OVERNIGHT_SERVER_SECRET": 32 * "x", "OVERNIGHT_API_KEYS": "admin=sk-rescue"}
    given_up = serving(tmp_path, "--revoke-lost-keys", **other)
    url = await given_up.address()
    assert await status(url, KEYS, admin) == 401
    async with Api(url, headers={"x-api-key": "sk-rescue"}) as api:
        [key] = (await api.call("GET", KEYS)).json["data"]
        acts = (await api.call("GET", "/overnight/v1/audit?action=key.revoke")).json["data"]
    assert key["status"] == "archived"
    assert [(act["subject_id"], act["actor"]["type"]) for act in acts] == [(key["id"], "service")]
    given_up.kill()
    afterwards = serving(tmp_path, **other)
    await afterwards.address()
    afterwards.kill()


async def greeting(process: Process) -> str:
    """Wait until the process has said all that it says at its start."""
    await process.address()

    async def is_whole() -> bool:
        return "ANTHROPIC_API_KEY" in process.output

    await until(is_whole, what="the end of the greeting")
    return process.output
