"""Who may read `GET /metrics`, and that nothing of a request is in it."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from tests.conformance.backend import upstream
from tests.support.api import Api, params
from tests.support.metrics import Scraped, scrape
from tests.support.service import serving, settings_for

from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import SimulatorScript
from overnight.backends.simulator.script import Rule, Status

KEY = "sk-" + "k" * 40
WITH_KEY = {"x-api-key": KEY}
AS_PROMETHEUS = {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("metrics", "keys", "headers", "status"),
    [
        ("key", (), {}, 200),
        ("key", (KEY,), {}, 401),
        ("key", (KEY,), {"x-api-key": "wrong"}, 401),
        ("key", (KEY,), WITH_KEY, 403),
        ("key", (f"admin={KEY}",), WITH_KEY, 200),
        ("key", (f"admin={KEY}",), AS_PROMETHEUS, 200),
        ("open", (KEY,), {}, 200),
        ("off", (), {}, 404),
        ("off", (KEY,), WITH_KEY, 404),
    ],
)
async def test_who_may_read_says_the_setting(
    tmp_path: Path, metrics: str, keys: tuple[str, ...], headers: Mapping[str, str], status: int
) -> None:
    async with serving(settings_for(tmp_path, metrics=metrics, api_keys=keys)) as service:
        answer = await service.api.call("GET", "/metrics", headers=headers)
    assert answer.status == status
    if status == 200:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert Scraped(answer.body.decode()).value("overnight_build_info") == 1


async def test_nothing_of_a_request_and_no_secret_is_told(tmp_path: Path) -> None:
    key = "sk-" + secrets.token_hex(20)
    planted = [secrets.token_hex(8) for _ in range(7)]
    custom_id, text, system, model, user, workspace, refusal = planted
    rows = [
        {"custom_id": f"{custom_id}-{number}", "params": params(
            text, system=system, model=f"claude-{model}-{number}", metadata={"user_id": user}
        )} for number in range(300)
    ]  # fmt: skip
    rules = (Rule(every=50, fault=Status(status=400, message=refusal)),)
    # All models are known to this server, and none of them to us.
    script = SimulatorScript(models=("*",), rules=rules)
    async with upstream(script) as url:
        backend = MessagesBackend(url=url, api_key="sk-ant-simulated")
        settings = settings_for(tmp_path, api_keys=(f"{workspace}={key}", f"admin={KEY}"))
        async with (
            serving(settings, backend=backend) as service,
            Api(service.base_url, headers={"x-api-key": key}) as api,
            Api(service.base_url, headers=WITH_KEY) as administrator,
        ):
            batch_id = await api.created(rows)
            await api.ended(batch_id)
            await api.call("POST", "/v1/messages", msgspec.json.encode(rows[0]["params"]))
            told = await scrape(administrator)
    assert told.value("overnight_outcomes_total") == 300
    assert told.value("overnight_given_up_total", reason="invalid_request") == 6
    assert told.shown("overnight_calls_total", "model") == {"*": 301}
    for secret in (*planted, key, "sk-ant-simulated", batch_id, "wrkspc_", "msgbatch_", url):
        assert secret not in told.text
