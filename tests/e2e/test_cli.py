"""The command line against a real server in a process of its own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import pytest
from tests.raw_server import RawServer, answer

OVERNIGHT = [sys.executable, "-c", "from overnight.cli import main; main()"]
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("OVERNIGHT_", "ANTHROPIC_"))}
CACHING_GUIDE = Path(__file__).parents[2] / "docs/guides/caching.md"
SLOW = "[latency]\nbase_s = 600\n"


class Server:
    """`overnight serve` on a free port."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.process = subprocess.Popen(
            [*OVERNIGHT, "serve", "--port", "0", "--data", folder / "data"],
            cwd=folder, env=CLEAN | environ, stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
        assert self.process.stderr is not None
        self.greeting = _read_greeting(self.process.stderr)
        found = re.search(r"ANTHROPIC_BASE_URL=(\S+)", self.greeting)
        assert found is not None, self.greeting
        self.url = found[1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode


def _read_greeting(stderr: IO[str]) -> str:
    lines: list[str] = []
    for line in stderr:
        lines.append(line)
        if "ANTHROPIC_API_KEY" in line:
            break
    return "".join(lines)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    assert running.stop() == 0


class Call:
    """One call of the program."""

    def __init__(self, url: str, *args: str | Path, stdin: str = "", **environ: str) -> None:
        done = subprocess.run(
            [*OVERNIGHT, *args], input=stdin, capture_output=True, encoding="utf-8", timeout=60,
            env=CLEAN | {"OVERNIGHT_BASE_URL": url, "ANTHROPIC_API_KEY": "any"} | environ,
        )  # fmt: skip
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def document(self) -> Any:
        """Give what a call with `--json` printed."""
        return json.loads(self.out)


def lines_of(count: int, *, model: str = "claude-haiku-4-5") -> str:
    return "".join(
        json.dumps(
            {
                "custom_id": f"doc-{number}",
                "params": {
                    "model": model,
                    "max_tokens": 20,
                    "messages": [{"role": "user", "content": f"Number {number}"}],
                },
            }
        )
        + "\n"
        for number in range(count)
    )


def created(url: str, count: int, *, model: str = "claude-haiku-4-5") -> str:
    call = Call(url, "batches", "create", "-", stdin=lines_of(count, model=model))
    assert call.code == 0, call.err
    return call.out.strip()


def test_a_file_becomes_a_batch_and_its_results_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(lines_of(30), encoding="utf-8")
    call = Call(server.url, "batches", "create", tmp_path / "in.jsonl")
    batch_id = call.out.strip()
    assert re.fullmatch(r"msgbatch_\w{24}", batch_id)
    assert f"hint: overnight watch {batch_id}" in call.err

    watched = Call(server.url, "watch", batch_id)
    assert watched.code == 0
    assert watched.out == f"{batch_id} ended: 30 succeeded, 0 errored, 0 canceled, 0 expired\n"

    target = tmp_path / "out.jsonl"
    written = Call(server.url, "batches", "results", batch_id, "--out", target)
    assert (written.code, written.out) == (0, "")
    assert written.err == f"30 results in {target}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    streamed = Call(server.url, "batches", "results", batch_id)
    assert streamed.out == target.read_text(encoding="utf-8")
    assert Call(server.url, "batches", "results", batch_id, "--out", "-").out == streamed.out
    ids = [json.loads(line)["custom_id"] for line in streamed.out.splitlines()]
    assert sorted(ids) == sorted(f"doc-{number}" for number in range(30))


@pytest.mark.parametrize("form", ["lines", "body", "array"])
def test_input_may_be_lines_a_body_or_an_array(server: Server, form: str) -> None:
    lines = lines_of(3)
    rows = [json.loads(line) for line in lines.splitlines()]
    stdin = {
        "lines": lines,
        "body": json.dumps({"requests": rows}, indent=2),
        "array": json.dumps(rows),
    }[form]
    call = Call(server.url, "batches", "create", "-", "--json", stdin=stdin)
    assert call.err == ""
    assert json.loads(call.out)["request_counts"]["processing"] == 3


def test_a_batch_is_found_by_the_beginning_of_its_id(server: Server) -> None:
    batch_id = created(server.url, 1)
    for text in (batch_id, batch_id[:20], batch_id.removeprefix("msgbatch_01")[:10]):
        call = Call(server.url, "batches", "get", text, "--json")
        assert json.loads(call.out)["id"] == batch_id


def test_a_beginning_that_no_or_many_ids_have_is_refused(server: Server) -> None:
    created(server.url, 1)
    created(server.url, 1)
    nobody = Call(server.url, "batches", "get", "0000")
    assert (nobody.code, nobody.err.splitlines()[0]) == (2, "error: 0000: no batch has this id")
    many = Call(server.url, "batches", "get", "msgbatch_")
    assert many.code == 2
    assert "batches begin so: msgbatch_01" in many.err


def test_the_list_has_the_newest_first_and_can_be_filtered(server: Server) -> None:
    batch_id = created(server.url, 2)
    assert Call(server.url, "watch", batch_id, "-q").code == 0
    call = Call(server.url, "batches", "list", "--limit", "1", "--state", "ended")
    assert call.out.startswith(f"{batch_id}  ended        ")
    assert call.out.endswith("2 succeeded\n")
    as_json = Call(server.url, "batches", "list", "--limit", "1", "--json")
    assert [batch["id"] for batch in json.loads(as_json.out)] == [batch_id]


def test_an_empty_list_is_an_empty_array(server: Server) -> None:
    call = Call(server.url, "batches", "list", "--state", "canceling", "--json")
    assert json.loads(call.out) == []
    plain = Call(server.url, "batches", "list", "--state", "canceling")
    assert (plain.code, plain.out, plain.err) == (0, "", "no batches are canceling\n")


def test_results_before_the_end_are_refused_with_the_servers_words(tmp_path: Path) -> None:
    slow = _slow_server(tmp_path)
    batch_id = created(slow.url, 3)
    call = Call(slow.url, "batches", "results", batch_id, "--out", tmp_path / "out.jsonl")
    assert call.code == 2
    assert f"Message Batch {batch_id} has no available results. (req_" in call.err
    assert not (tmp_path / "out.jsonl").exists()

    waited = Call(slow.url, "watch", batch_id, "--timeout", "0.1")
    assert waited.code == 8
    assert f"{batch_id} has not ended after 0.1 s and goes on" in waited.err

    asked = Call(slow.url, "batches", "cancel", batch_id)
    assert (asked.code, asked.err.splitlines()[-1]) == (2, "hint: add --yes")
    canceled = Call(slow.url, "batches", "cancel", batch_id, "--yes", "--json")
    assert json.loads(canceled.out)["processing_status"] == "canceling"
    slow.process.kill()
    slow.process.communicate(timeout=60)


def _slow_server(folder: Path) -> Server:
    script = folder / "slow.toml"
    script.write_text(SLOW, encoding="utf-8")
    return Server(folder, OVERNIGHT_SIMULATOR_SCRIPT=str(script))


def test_the_cost_of_a_batch_is_told_beside_its_estimate(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "input.jsonl"
    file.write_text(lines_of(3), encoding="utf-8")
    estimated = Call(server.url, "estimate", file, "--keep", "--json")
    assert estimated.code == 0, estimated.err
    estimate_id = json.loads(estimated.out)["estimate_id"]
    batch_id = Call(server.url, "batches", "create", file, "--estimate", estimate_id).out.strip()
    assert Call(server.url, "watch", batch_id, "-q").code == 0
    found = json.loads(Call(server.url, "batches", "cost", batch_id, "--json").out)
    assert found["estimate"]["id"] == estimate_id
    assert found["estimate"]["verdict"] == "within"
    told = Call(server.url, "batches", "cost", batch_id)
    assert told.code == 0, told.err
    assert "3 of 3 requests, 3 succeeded" in told.out
    assert "claude-haiku-4-5" in told.out
    assert "estimated" in told.out and "within" in told.out
    unknown = Call(server.url, "batches", "create", file, "--estimate", "estimate_01none")
    assert (unknown.code, unknown.out) == (2, "")


def test_what_automatic_caching_saved_is_told_with_the_cost(server: Server, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in lines_of(8, model="claude-sonnet-4-6").splitlines()]
    for row in rows:
        row["params"]["system"] = "You are exact. " * 800
    file = tmp_path / "input.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    told = {}
    for flag in ("--auto-cache", "--no-auto-cache"):
        batch_id = Call(server.url, "batches", "create", file, flag).out.strip()
        assert Call(server.url, "watch", batch_id, "-q").code == 0
        told[flag] = Call(server.url, "batches", "cost", batch_id).out
    assert "automatic caching" not in told["--no-auto-cache"]
    # 3,004 tokens at 1.50 for a million, 8 times; once written at 3.75 and 7 times read at 0.30.
    saving = (
        "automatic caching    saved $0.0185 of $0.0361 (51.15%), prompts of 8 requests\n"
        "  cache write 5 m    3,004 tokens for $0.0113 instead of $0.00451\n"
        "  cache read         21,028 tokens for $0.00631 instead of $0.0315\n"
    )
    assert saving in told["--auto-cache"]
    assert saving in CACHING_GUIDE.read_text(encoding="utf-8")


def test_a_server_counts_a_sample_and_runs_a_pilot(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "input.jsonl"
    file.write_text(lines_of(20), encoding="utf-8")
    asked = Call(server.url, "estimate", file, "--exact-sample", "10", "--pilot", "20", "--json")
    assert asked.code == 0, asked.err
    [model] = json.loads(asked.out)["models"]
    assert model["counted_requests"] == 10
    pilot = model["pilot"]
    assert (pilot["requests"], pilot["succeeded"]) == (20, 20)
    # All of the file was run, so nothing is left to project: it costs what the batch cost.
    [batch_id] = re.findall(r"msgbatch_\w{24}", asked.err)
    spent = json.loads(Call(server.url, "batches", "cost", batch_id, "--json").out)["spent_usd"]
    assert [pilot[name] for name in ("usd", "low_usd", "expected_usd", "high_usd")] == [spent] * 4
    told = Call(server.url, "estimate", file, "--pilot", "5")
    assert "5 of 5 requests succeeded" in told.out
    assert "all 20 will cost about" in told.out
    wrong = Call(server.url, "estimate", file, "--pilot", "0")
    assert (wrong.code, wrong.out) == (2, "")


def test_watch_says_with_its_code_that_not_all_succeeded(server: Server) -> None:
    stdin = lines_of(3) + lines_of(1, model="no-such-model").replace("doc-0", "bad")
    batch_id = Call(server.url, "batches", "create", "-", stdin=stdin).out.strip()
    call = Call(server.url, "watch", batch_id, "--progress", "plain")
    assert call.code == 3
    assert "3 succeeded, 1 errored" in call.out
    assert "1 did not succeed" in call.err
    assert Call(server.url, "watch", batch_id, "--allow-errors", "1").code == 0
    assert Call(server.url, "watch", batch_id, "--allow-errors", "25%").code == 0
    assert Call(server.url, "watch", batch_id, "--allow-errors", "24%").code == 3


def test_watch_tells_progress_as_json_lines_on_stderr(server: Server) -> None:
    batch_id = created(server.url, 5)
    call = Call(server.url, "watch", batch_id, "--json", OVERNIGHT_PROGRESS="json")
    told = [json.loads(line) for line in call.err.splitlines()]
    assert told[-1] == json.loads(call.out)
    assert (told[-1]["status"], told[-1]["recorded"]) == ("ended", 5)


def test_delete_needs_yes_and_then_the_batch_is_gone(server: Server) -> None:
    batch_id = created(server.url, 1)
    assert Call(server.url, "watch", batch_id, "-q").code == 0
    assert Call(server.url, "batches", "delete", batch_id).code == 2
    assert Call(server.url, "batches", "delete", batch_id, "--yes").code == 0
    gone = Call(server.url, "batches", "get", batch_id)
    assert gone.code == 2
    assert f"error: Message Batch {batch_id} not found." in gone.err


def test_a_reader_who_leaves_early_is_no_error(server: Server) -> None:
    batch_id = created(server.url, 2_000)
    assert Call(server.url, "watch", batch_id, "-q").code == 0
    process = subprocess.Popen(
        [*OVERNIGHT, "batches", "results", batch_id],
        env=CLEAN | {"OVERNIGHT_BASE_URL": server.url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith(b'{"')
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


def test_a_wrong_key_exits_with_4(tmp_path: Path) -> None:
    closed = Server(tmp_path, OVERNIGHT_API_KEYS="team=sk-right")
    wrong = Call(closed.url, "batches", "list", ANTHROPIC_API_KEY="sk-wrong")
    assert wrong.code == 4
    assert wrong.err.splitlines()[-1].startswith("hint: set ANTHROPIC_API_KEY")
    assert Call(closed.url, "batches", "list", ANTHROPIC_API_KEY="sk-right").code == 0
    assert closed.stop() == 0


WIRE_BATCH = {
    "id": "msgbatch_other", "type": "message_batch", "processing_status": "ended",
    "request_counts": dict(processing=0, succeeded=1, errored=0, canceled=2, expired=0),
    "ended_at": "2026-11-20T10:00:00Z", "created_at": "2026-11-20T09:00:00Z",
    "expires_at": "2026-11-21T09:00:00Z", "archived_at": None, "cancel_initiated_at": None,
    "results_url": None,
}  # fmt: skip


async def _started(url: str, *args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *OVERNIGHT, *args, stdin=PIPE, stdout=PIPE, stderr=PIPE,
        env=CLEAN | {"OVERNIGHT_BASE_URL": url},
    )  # fmt: skip


async def test_watch_follows_a_batch_of_a_server_without_live_progress() -> None:
    listed = answer(json.dumps({"data": [WIRE_BATCH], "has_more": False}).encode())
    missing = answer(b"nothing here", status=404, content_type="text/plain")
    async with RawServer([listed], [missing], [answer(json.dumps(WIRE_BATCH).encode())]) as other:
        process = await _started(other.url, "watch", "msgbatch_oth")
        out, err = await process.communicate()
    assert process.returncode == 3, err
    assert out.decode().startswith("msgbatch_other ended: 1 succeeded, 0 errored, 2 canceled")
    assert [request.target for request in other.requests][1:] == [
        "/overnight/v1/batches/msgbatch_other/progress",
        "/v1/messages/batches/msgbatch_other",
    ]


async def test_a_call_that_may_be_repeated_is_and_a_create_is_not() -> None:
    busy = answer(b'{"error":{"message":"busy"}}', status=529)
    page = answer(b'{"data":[],"has_more":false}')
    async with RawServer([busy], [busy], [page]) as server:
        process = await _started(server.url, "batches", "list", "--json")
        assert (await process.communicate())[0] == b"[]\n"
    async with RawServer([busy]) as server:
        process = await _started(server.url, "batches", "create", "-")
        _, err = await process.communicate(lines_of(1).encode())
        assert (process.returncode, len(server.requests)) == (5, 1)
        assert err.startswith(b"error: busy")
