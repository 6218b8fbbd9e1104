"""What can go wrong around a server: each fault one clear message, and no accepted batch lost."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import pytest
from tests.support.api import Api, params, requests
from tests.support.postgres import Cluster
from tests.support.process import Server, server, simulator
from tests.support.waiting import until

_MIB = 1 << 20


async def refusal(started: Server) -> str:
    """Start a server that must refuse; give its error. It is one line with a hint."""
    process = started.launch()
    assert await process.ended() == 2
    found = re.fullmatch(r"error: (.+)\n\nhint: .+\n", process.output)
    assert found, process.output
    return found[1]


@contextlib.contextmanager
def taken_port() -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with taken_port() as port:
        return port


def limited_files(size_bytes: int) -> Callable[[], None]:
    """Make every file of a process end at this size, as a full disk ends it."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    return limit


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with taken_port() as port:
        error = await refusal(Server(tmp_path / "data", "--port", str(port)))
    assert error == f"cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await refusal(Server(tmp_path / "file" / "data"))
    assert error == (
        f"the data directory {tmp_path / 'file' / 'data'} cannot be written: Not a directory"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_data_directory_without_rights_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "Permission denied" in await refusal(Server(closed / "data"))


async def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "overnight.db").write_bytes(b"This is no database. " * 500)
    error = await refusal(Server(data))
    assert error == f"{data / 'overnight.db'}: file is not a database"


async def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/overnight"
    error = await refusal(Server(tmp_path / "data", "--database-url", url))
    assert error.startswith("the database at 127.0.0.1:")


@pytest.mark.parametrize(
    ("text", "place"),
    [("concurrency = ", ":1"), ("concurrency = 0\n", ":1"), ("\n[concurency]\n", ":2")],
    ids=["no TOML", "value out of range", "unknown setting"],
)
async def test_a_broken_config_file_is_named_with_its_line(
    tmp_path: Path, text: str, place: str
) -> None:
    config = tmp_path / "overnight.toml"
    config.write_text(text)
    error = await refusal(Server(tmp_path / "data", "--config", str(config)))
    assert error.startswith(f"{config}{place}")


async def test_a_batch_waits_for_a_backend_that_is_away_and_ends_when_it_is_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with server(tmp_path / "data", "--backend", f"http://127.0.0.1:{port}") as running:
        async with running.api() as api:
            batch_id = await api.created(requests(50))
            direct = await api.call("POST", "/v1/messages", msgspec.json.encode(params()))
            assert direct.status >= 500 and direct.json["type"] == "error"
            batch = (await api.get(batch_id)).json
            assert batch["request_counts"]["processing"] == 50
            async with simulator(tmp_path, "", port=port):
                batch = await api.ended(batch_id, timeout_s=60)
            assert batch["request_counts"]["succeeded"] == 50
        assert "Traceback" not in running.output


async def test_an_unknown_model_is_an_error_of_that_request_only(tmp_path: Path) -> None:
    async with server(tmp_path / "data") as running, running.api() as api:
        rows = requests(2)
        rows[1]["params"]["model"] = "no-such-model"
        batch_id = await api.created(rows)
        batch = await api.ended(batch_id)
        lines = await api.lines(batch_id)
        assert batch["request_counts"] | {"canceled": 0, "expired": 0} == {
            "processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0,
        }  # fmt: skip
        assert lines["r-1"]["error"]["error"]["message"] == "model: no-such-model"
        direct = await api.call(
            "POST", "/v1/messages", msgspec.json.encode(params() | {"model": "no-such-model"})
        )
        assert (direct.status, direct.error["type"]) == (404, "not_found_error")


async def test_a_batch_outlives_a_database_that_breaks_all_connections(
    tmp_path: Path, postgres: Cluster
) -> None:
    script = "[latency]\nbase_s = 0.01\n"
    with postgres.database() as url:
        async with simulator(tmp_path, script) as backend, Api(backend) as stats:
            options = ["--backend", backend, "--database-url", url, "--concurrency", "8"]
            async with server(tmp_path / "data", *options) as running, running.api() as api:
                batch_id = await api.created(requests(1_000))
                for calls in (50, 300, 600):

                    async def reached(calls: int = calls) -> bool:
                        return bool((await stats.call("GET", "/stats")).json["calls"] >= calls)

                    await until(reached, what=f"{calls} calls")
                    postgres.break_connections(url)

                async def has_ended() -> bool:
                    answer = await api.get(batch_id)
                    # 503: this call was the one that found out.
                    assert answer.status in (200, 503)
                    return answer.status == 200 and answer.json["ended_at"] is not None

                await until(has_ended, what="the end", timeout_s=60)
                assert len(await api.lines(batch_id)) == 1_000
                assert "Traceback" not in running.output
            assert (await stats.call("GET", "/stats")).json["repeated"] == 0


# The disk is full.


async def test_a_batch_that_does_not_fit_on_the_disk_is_refused_and_nothing_remains(
    tmp_path: Path,
) -> None:
    limit = limited_files(_MIB)
    async with server(tmp_path / "data", preexec=limit) as running, running.api() as api:
        answer = await api.create(requests(10_000))
        assert (answer.status, answer.error["type"]) == (503, "api_error")
        assert "nothing was accepted" in answer.error["message"]
        assert (await api.list()).json["data"] == []
        assert list((tmp_path / "data" / "objects").iterdir()) == []
        batch_id = await api.created(requests(5))
        assert (await api.ended(batch_id))["request_counts"]["succeeded"] == 5
        assert "Traceback" not in running.output


async def test_an_accepted_batch_outlives_a_disk_that_fills_up(tmp_path: Path) -> None:
    options = ["--concurrency", "8", "--drain-timeout-s", "1"]
    async with simulator(tmp_path, "") as backend:
        options += ["--backend", backend]
        full = server(tmp_path / "data", *options, preexec=limited_files(_MIB))
        async with full as running:
            async with running.api() as api:
                batch_id = await api.created(requests(3_000))
                await _complains(running)
                assert (await api.get(batch_id)).json["processing_status"] == "in_progress"
                assert (await api.call("GET", "/healthz")).status == 200
            assert running.process is not None
            running.process.send(signal.SIGTERM)
            await running.process.ended()
            assert "Traceback" not in running.output
        async with server(tmp_path / "data", *options) as running, running.api() as api:
            batch = await api.ended(batch_id, timeout_s=60)
            assert len(await api.lines(batch_id)) == 3_000
        async with Api(backend) as api:
            counted = (await api.call("GET", "/stats")).json
    assert batch["request_counts"]["succeeded"] == 3_000
    assert counted["repeated"] <= 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """Mount a disk of three megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_disk_that_has_room_again_lets_the_batch_end(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    async with server(small_disk / "data") as running, running.api() as api:
        batch_id = await api.created(requests(500))
        await api.ended(batch_id)
        refused = await api.create(requests(10))
        while refused.status == 200:
            # What the end of a batch still deletes makes room for another one.
            _fill(ballast)
            refused = await api.create(requests(10))
        assert refused.status == 503
        assert "nothing was accepted" in refused.error["message"]
        assert len(await api.lines(batch_id)) == 500
        ballast.unlink()
        batch_id = await api.created(requests(10))
        assert (await api.ended(batch_id, timeout_s=30))["request_counts"]["succeeded"] == 10
        assert "Traceback" not in running.output


def _fill(ballast: Path) -> None:
    with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


async def _complains(running: Server) -> None:
    async def says() -> bool:
        return "cannot be stored, to be tried again" in running.output

    await until(says, what="a word about the full disk")
