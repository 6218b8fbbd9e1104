"""Secrets are planted in everything that goes in, and searched for in all that comes out.

Where content belongs: the objects and the database of the data folder, results, and the answer to
the caller who sent it. Keys and secrets belong nowhere but in the process's own environment, and
in the one answer that creates them. `docs/concepts/threat-model.md` has both lists.
"""

import asyncio
import contextlib
import io
import logging
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from tests.raw_server import RawServer, answer
from tests.support.api import MODEL, Answer, Api
from tests.support.process import Process
from tests.support.waiting import until

from overnight import logs
from overnight.pricing import shelf
from overnight.store.database import Database, reason
from overnight.wire.webhooks import BETA

KEYS = "/overnight/v1/keys"
SERVE = (sys.executable, "-c", "from overnight.cli import main; main()", "serve", "--port", "0")

# Content.
PROMPT, SYSTEM, TOOL, METADATA = "planted-prompt", "planted-system", "planted_tool", "planted-user"
CUSTOM_ID, ANSWER, SYNTAX = "planted-custom-id", "planted-answer", "planted-syntax"
CONTENT = (PROMPT, SYSTEM, TOOL, METADATA, CUSTOM_ID, ANSWER, SYNTAX)
# Keys and secrets, and what may be one.
ADMIN, TEAM, UPSTREAM = "planted-admin-key", "planted-team-key", "planted-upstream-key"
SERVER_SECRET = "planted-server-secret-of-32-characters"
UNKNOWN = "sk-ant-api03-" + 48 * "P"
HOOK_TOKEN, BOOK = "planted-hook-token", "planted-book"


def request(what: str, number: int = 0) -> dict[str, Any]:
    """Make a request that the upstream server treats in one way; a secret in each part."""
    params = {
        "model": MODEL,
        "max_tokens": 8,
        "system": SYSTEM,
        "tools": [{"name": TOOL, "input_schema": {"type": "object"}}],
        "metadata": {"user_id": METADATA},
        "messages": [{"role": "user", "content": f"{PROMPT} <{what}>"}],
    }
    return {"custom_id": f"{CUSTOM_ID}-{what}-{number}", "params": params}


class Upstream:
    """A backend that quotes what it gets, the key too, in each of its ways to fail."""

    def __init__(self) -> None:
        self.url = ""
        self.held = asyncio.Event()
        self.asked_to_hold = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                sent = head.decode() + (await reader.readexactly(size)).decode()
                writer.write(await self._answer(sent))
                await writer.drain()
                if "<reset>" in sent:
                    break
        writer.close()

    async def _answer(self, sent: str) -> bytes:
        if "<hold>" in sent:
            self.asked_to_hold.set()
            await self.held.wait()
        if "<refuse>" in sent:
            error = {"type": "invalid_request_error", "message": sent, "details": {"sent": sent}}
            return answer(msgspec.json.encode({"type": "error", "error": error}), status=400)
        if "<plain>" in sent:
            return answer(sent.encode(), status=500, content_type="text/plain")
        if "<garble>" in sent:
            return answer(b'{"type": "message", "content": ' + sent.encode())
        if "<reset>" in sent:
            return answer(sent.encode())[:-100]
        message = {
            "id": "msg_01", "type": "message", "role": "assistant", "model": MODEL,
            "content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
        }  # fmt: skip
        return answer(msgspec.json.encode(message))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    found = Upstream()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    found.held.set()
    server.close()


class Run:
    """One data folder, its processes, and all that was heard of them."""

    def __init__(self, folder: Path, upstream: str, database_url: str | None) -> None:
        self.folder, self.data, self.temporary = folder, folder / "data", folder / "tmp"
        self.temporary.mkdir()
        book = folder / BOOK / "book.toml"
        book.parent.mkdir()
        shutil.copyfile(Path(shelf.__file__).parent / "books" / "published-2026.toml", book)
        self._environ = {
            "OVERNIGHT_API_KEYS": f"admin={ADMIN},team={TEAM}",
            "OVERNIGHT_BACKEND": upstream,
            "OVERNIGHT_BACKEND_API_KEY": UPSTREAM,
            "OVERNIGHT_SERVER_SECRET": SERVER_SECRET,
            "OVERNIGHT_PRICE_BOOK": str(book),
            "OVERNIGHT_WEBHOOKS_ALLOW": "127.0.0.0/8",
            "TMPDIR": str(self.temporary),
        } | ({"OVERNIGHT_DATABASE_URL": database_url} if database_url else {})
        self.processes: list[Process] = []
        # What was heard, by where.
        self.told: dict[str, str] = {}

    async def start(self) -> str:
        log = self.folder / f"{len(self.processes)}.log"
        options = ("--data", str(self.data), "--log-level", "debug", "--max-attempts", "1")
        process = Process([*SERVE, *options], log, environ=self._environ)
        self.processes.append(process)
        return await process.address()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def hear(self, where: str, found: Answer) -> Answer:
        self.told[f"{len(self.told)} {where}"] = f"{found.headers} {found.body.decode()}"
        return found

    def everything(self) -> Iterator[tuple[str, str]]:
        """Give all places but those where content belongs."""
        yield from self.told.items()
        for process in self.processes:
            yield str(process.log), process.output
        for file in [*self.temporary.rglob("*"), *self.data.iterdir()]:
            if file.is_file() and not file.name.startswith("overnight.db"):
                yield str(file), file.read_bytes().decode("latin-1")

    def places_of_content(self) -> Iterator[tuple[str, str]]:
        for file in [*self.data.glob("overnight.db*"), *self.data.glob("objects/**/*")]:
            if file.is_file():
                yield str(file), file.read_bytes().decode("latin-1")


async def calls(run: Run, api: Api, admin: Api, issued: str) -> None:
    """Call in every wrong way that is known, and note each answer."""
    for what in ("refuse", "plain", "garble", "reset"):
        params = request(what)["params"]
        for stream in (False, True):
            body = msgspec.json.encode(params | {"stream": stream})
            found = await api.call("POST", "/v1/messages", body)
            assert found.status >= 400
            # The caller's own prompt, in the words of the backend.
            run.told[f"real-time {what} {stream}"] = (
                found.body.decode().replace(PROMPT, "").replace(SYSTEM, "").replace(TOOL, "")
                .replace(METADATA, "") if what == "refuse" else found.body.decode()
            )  # fmt: skip
    whole = msgspec.json.encode({"requests": [request("ok")]})
    params = msgspec.json.encode(request("ok")["params"])
    secret = f'"{SYNTAX}"'.encode()
    for path, bodies in {
        "/v1/messages/batches": [
            whole[:-30], whole + secret, b'{"requests": ' + secret, b'{"requests": [' + secret,
            b'{"requests": ' + secret + b"}", b'{"requests": [' + secret + b"]}",
            whole.replace(b'"params":', b'"params":' + secret + b',"x":'),
            whole.replace(PROMPT.encode(), PROMPT.encode() + b"\xff"), secret, SYNTAX.encode(),
            b'{"requests": [{"custom_id": "a b' + SYNTAX.encode() + b'", "params": {}}]}',
        ],
        "/v1/messages": [
            params[:-9], params + secret, secret, b"\xff" + secret,
            params.replace(b'"max_tokens":8', b'"max_tokens":' + secret),
            params.replace(b'"messages":[', b'"messages":[' + secret + b","),
            params.replace(b'"user","content":', b'"user","content":{"x":"y"},"z":'),
        ],
        "/v1/messages/count_tokens": [params[:-9], secret],
        KEYS: [b'{"name": ' + secret, b'{"roles": ' + secret + b"}"],
        "/overnight/v1/estimates": [b'{"low_usd": ' + secret, b"[" + secret],
        "/v1/organizations/webhooks": [
            b'{"url": ' + secret, b'{"url": 1, "name": ' + secret + b"}",
        ],
    }.items():  # fmt: skip
        for body in bodies:
            headers = {"anthropic-beta": BETA, "anthropic-workspace-id": ""}
            caller = admin if path == KEYS else api
            found = run.hear(f"POST {path}", await caller.call("POST", path, body, headers))
            assert 400 <= found.status < 500, (path, body, found)
    for key in (UNKNOWN, issued, UPSTREAM):
        for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}):
            run.hear("list", await api.call("GET", "/v1/messages/batches", None, headers))
        run.hear("mixed", await api.call("GET", KEYS, None, {"authorization": f"Bearer {key}"}))
        # The caller is told the path that they sent, nobody else is.
        await api.call("DELETE", f"/v1/messages/batches/{key}")
        await api.call("GET", f"/v1/models/{key}?key={key}")
        await api.call("POST", f"/overnight/v1/keys/{key}/revoke")


async def test_no_planted_secret_is_found_where_it_does_not_belong(
    tmp_path: Path, upstream: Upstream, database_url: str | None
) -> None:
    run = Run(tmp_path, upstream.url, database_url)
    async with contextlib.AsyncExitStack() as stack:
        hook = await stack.enter_async_context(RawServer([answer(b"")]))
        stack.callback(run.kill)
        url = await run.start()
        admin = await stack.enter_async_context(Api(url, headers={"x-api-key": ADMIN}))
        team = await stack.enter_async_context(Api(url, headers={"x-api-key": TEAM}))
        spaces = await admin.call("GET", "/v1/organizations/workspaces")
        asked = {"name": "nightly", "workspace_id": spaces.json["data"][0]["id"]}
        made = await admin.call("POST", KEYS, msgspec.json.encode(asked))
        issued = made.json["secret"]
        asked = {
            "url": f"{hook.url}/{HOOK_TOKEN}", "enabled_events": ["message_batch.ended"]
        }  # fmt: skip
        body = msgspec.json.encode(asked)
        made = await team.call("POST", "/v1/organizations/webhooks", body, {"anthropic-beta": BETA})
        signing = made.json["signing_secret"]
        kinds = ("ok", "refuse", "plain", "garble", "reset")
        batch = await team.created([request(kind, n) for n in range(3) for kind in kinds])
        await team.ended(batch)
        assert ANSWER in (await team.results(batch)).body.decode()
        await calls(run, team, admin, issued)
        # A traceback: what was stored is gone.
        for file in run.data.glob(f"objects/{batch}/*result*"):
            file.unlink()
        with contextlib.suppress(Exception):
            await team.results(batch)

        held = await team.created([request("hold")])
        await upstream.asked_to_hold.wait()
        arguments = Path(f"/proc/{run.processes[0].pid}/cmdline")
        run.told["ps"] = arguments.read_bytes().decode()
        run.hear("metrics", await admin.call("GET", "/metrics"))
        run.processes[0].kill()
        upstream.held.set()
        url = await run.start()
        admin = await stack.enter_async_context(Api(url, headers={"x-api-key": ADMIN}))
        team = await stack.enter_async_context(Api(url, headers={"x-api-key": TEAM}))
        await team.ended(held)

        async def both_told() -> bool:
            return len(hook.requests) >= 2

        await until(both_told, what="webhooks of both batches")
        for path in ("/metrics", "/overnight/v1/audit", KEYS):
            run.hear(path, await admin.call("GET", path))
        for path in (f"/overnight/v1/batches/{batch}/progress", "/v1/messages/batches"):
            run.hear(path, await team.call("GET", path))
        run.hear("cost", await team.call("GET", f"/overnight/v1/batches/{held}/cost"))
        for received in hook.requests:
            told = {k: v for k, v in received.headers.items() if k != "host"}
            run.told[f"hook {len(run.told)}"] = f"{told} {received.body.decode()}"
        run.kill()

    keys = (ADMIN, TEAM, UPSTREAM, SERVER_SECRET, UNKNOWN, issued, signing)
    for place, found in run.everything():
        for planted in (*CONTENT, *keys, HOOK_TOKEN, BOOK):
            assert planted not in found, (place, planted, _around(found, planted))
    for place, found in run.places_of_content():
        for planted in (*keys, BOOK):
            assert planted not in found, (place, planted)
    # The search finds what is there.
    assert any(PROMPT in found for _, found in run.places_of_content())
    assert "Traceback" in run.processes[0].output


def _around(found: str, planted: str) -> str:
    at = found.index(planted)
    return found[max(0, at - 200) : at + 100]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Log as the service does, into a text."""
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    logs.start(level="debug", as_json=False, stream=stream)
    yield stream
    root.handlers, root.level = handlers, level


def failing() -> None:
    try:
        raise KeyError(ADMIN)
    except KeyError as error:
        raise ExceptionGroup(
            PROMPT, [ValueError(SYSTEM), OSError(2, "No such file", TOOL)]
        ) from error


async def test_a_traceback_tells_where_and_of_which_kind_and_not_what(logged: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    try:
        failing()
    except ExceptionGroup as error:
        logging.getLogger("overnight").error("a defect", exc_info=error)
        logs.report_to_log(loop, {"message": "never retrieved", "exception": error})
    told = logged.getvalue()
    assert told.count("in failing") == 4
    for kind in ("KeyError", "ValueError", "FileNotFoundError: No such file", "ExceptionGroup"):
        assert told.count(f"{kind}\n") == 2
    assert not any(planted in told for planted in (ADMIN, PROMPT, SYSTEM, TOOL))


async def test_what_a_database_says_of_a_row_is_left_out(database: Database) -> None:
    add = text(
        "INSERT INTO workspaces (id, name, display_color, created_at) VALUES (:id, 'n', '', 0)"
    )
    with pytest.raises(IntegrityError) as caught:
        for _ in range(2):
            await database.write(lambda c: c.execute(add, {"id": PROMPT}).rowcount)
    assert PROMPT not in reason(caught.value)
    assert "unique" in reason(caught.value).lower()
