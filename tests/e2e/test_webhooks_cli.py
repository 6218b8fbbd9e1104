"""`overnight webhooks` against a real server and a receiver that verifies with the SDK."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_cli import Call, Server, lines_of
from tests.support.process import Process
from tests.support.receiver import command

PUBLIC = "https://example.com/hook"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, OVERNIGHT_WEBHOOKS_ALLOW="127.0.0.0/8")
    yield server.url
    assert server.stop() == 0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Run a receiver; gives its folder, whose file `url` says where it listens."""
    process = Process(command(tmp_path), tmp_path / "log")
    try:
        (tmp_path / "url").write_text(asyncio.run(process.address()))
        yield tmp_path
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def nothing_left(url: str) -> Iterator[None]:
    yield
    for endpoint in Call(url, "webhooks", "list", "--json").document:
        assert Call(url, "webhooks", "delete", endpoint["id"], "--yes").code == 0


def endpoint_of(call: Call) -> dict[str, Any]:
    assert call.code == 0, call.err
    found: dict[str, Any] = call.document
    return found


def test_a_receiver_is_told_tested_and_told_again(url: str, folder: Path) -> None:
    made = Call(url, "webhooks", "create", (folder / "url").read_text(), "--name", "mine")
    assert made.code == 0
    secret = made.out.strip()
    assert secret.startswith("whsec_") and secret not in made.err
    (folder / "secret").write_text(secret)
    (endpoint,) = Call(url, "webhooks", "list", "--json").document
    assert (endpoint["name"], endpoint["enabled_events"]) == ("mine", ["message_batch.ended"])
    tested = Call(url, "webhooks", "test", endpoint["id"][7:14])
    assert tested.code == 0, tested.out + tested.err
    assert "acknowledged" in tested.out and "answered 200 in" in tested.out
    batch_id = Call(url, "batches", "create", "-", stdin=lines_of(1)).out.strip()
    assert Call(url, "watch", batch_id, "-q").code == 0
    sent = _acknowledged(url, endpoint["id"], count=2)
    assert (sent["event_type"], sent["subject_id"]) == ("message_batch.ended", batch_id)
    again = Call(url, "webhooks", "redeliver", endpoint["id"], sent["event_id"][:12])
    assert again.code == 0 and again.out.startswith(sent["event_id"])
    log = Call(url, "webhooks", "deliveries", endpoint["id"]).out.splitlines()
    assert len(log) == 2 and "webhook_endpoint.test" in log[1]


def _acknowledged(url: str, webhook_id: str, *, count: int) -> dict[str, Any]:
    """Wait until so many deliveries are acknowledged; give the newest."""

    for _ in range(100):
        args = ("webhooks", "deliveries", webhook_id, "--state", "acknowledged", "--json")
        rows: list[dict[str, Any]] = Call(url, *args).document
        if len(rows) == count:
            return rows[0]
    raise AssertionError(f"not {count} acknowledged deliveries")


def test_a_rotated_secret_is_shown_and_both_verify(url: str, folder: Path) -> None:
    made = endpoint_of(Call(url, "webhooks", "create", (folder / "url").read_text(), "--json"))
    rotated = Call(url, "webhooks", "rotate", made["id"])
    assert rotated.code == 0 and "signs for 86,400 s more" in rotated.err
    for secret in (made["signing_secret"], rotated.out.strip()):
        (folder / "secret").write_text(secret)
        assert Call(url, "webhooks", "test", made["id"]).code == 0
    leaked = Call(url, "webhooks", "rotate", made["id"], "--overlap-s", "0", "--json")
    failed = Call(url, "webhooks", "test", made["id"], "--json")
    assert (failed.code, failed.document["last_error"]) == (3, "the receiver answered 400")
    (folder / "secret").write_text(leaked.document["signing_secret"])
    assert Call(url, "webhooks", "test", made["id"]).code == 0


def test_an_endpoint_is_changed_disabled_enabled_and_deleted(url: str) -> None:
    made = endpoint_of(
        Call(url, "webhooks", "create", PUBLIC, "--event", "message_batch.deleted", "--json")
    )
    assert made["enabled_events"] == ["message_batch.deleted"]
    args = ("--url", PUBLIC + "2", "--event", "message_batch.ended", "--description", "d")
    changed = endpoint_of(Call(url, "webhooks", "update", made["id"], *args, "--json"))
    assert (changed["url"], changed["description"]) == (PUBLIC + "2", "d")
    assert changed["enabled_events"] == ["message_batch.ended"]
    assert "state            disabled" in Call(url, "webhooks", "disable", made["id"]).out
    refused = Call(url, "webhooks", "test", made["id"])
    assert refused.code == 2 and "is disabled" in refused.err
    assert "state            enabled" in Call(url, "webhooks", "enable", made["id"]).out
    assert Call(url, "webhooks", "get", made["id"], "--json").document["state"] == "enabled"
    unsure = Call(url, "webhooks", "delete", made["id"])
    assert unsure.code == 2 and "--yes" in unsure.err
    deleted = Call(url, "webhooks", "delete", made["id"], "--yes", "--json")
    assert deleted.document == {"id": made["id"], "type": "webhook_endpoint_deleted"}
    assert Call(url, "webhooks", "list").err.strip() == "no webhook endpoints"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("create", "http://192.0.2.1/"), "not public"),
        (("create", "example.com"), "must be an absolute https URL"),
        (("create", PUBLIC, "--event", "session.idled"), "session.idled"),
        (("retrieve", "whep_01none"), "no webhook endpoint has this id"),
        (("update", "whep_01none"), "nothing to change"),
        (("rotate", "whep_01none", "--overlap-s", "-1"), "-1"),
        (("redeliver", "whep_01none", "whe_1"), "no webhook endpoint has this id"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(url: str, args: tuple[str, ...], said: str) -> None:
    call = Call(url, "webhooks", *args)
    assert call.code == 2 and said in call.err


def test_a_test_that_nobody_sends_ends_with_a_hint(tmp_path: Path) -> None:
    server = Server(tmp_path, OVERNIGHT_WORKER="false")
    made = endpoint_of(Call(server.url, "webhooks", "create", PUBLIC, "--json"))
    late = Call(server.url, "webhooks", "test", made["id"], "--timeout", "0.3")
    assert late.code == 8 and "a process with a worker" in late.err
    assert server.stop() == 0


def test_an_unknown_event_names_where_events_are_listed(url: str) -> None:
    made = endpoint_of(Call(url, "webhooks", "create", PUBLIC, "--json"))
    call = Call(url, "webhooks", "redeliver", made["id"], "whe_01none")
    assert call.code == 2 and f"overnight webhooks deliveries {made['id']}" in call.err
