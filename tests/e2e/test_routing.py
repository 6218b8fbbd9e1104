"""Requests go to the backends that the routing names, and stay where their prompt is cached."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.api import params, requests
from tests.support.service import serving, settings_for

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency, Rule, Status, Unreachable
from overnight.backends.simulator.server import SimulatorServer

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-4-6"
SLOW = SimulatorScript(latency=Latency(base_s=0.01, jitter=0.5))
GROUPS, IN_GROUP = 24, 12


@asynccontextmanager
async def upstreams(*scripts: SimulatorScript) -> AsyncGenerator[list[tuple[str, Simulator]]]:
    """Serve a simulator for each script; give their URLs and themselves."""
    async with AsyncExitStack() as stack:
        found = []
        for script in scripts:
            simulator = Simulator(script)
            server = SimulatorServer(simulator)
            found.append((await server.start(), simulator))
            stack.push_async_callback(server.close)
        yield found


def routing(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "routing.toml"
    file.write_text(text)
    return file


def grouped() -> list[dict[str, Any]]:
    """Make groups of requests, each with a marked system prompt of its own."""
    made = []
    for group in range(GROUPS):
        text = f"System {group}. " + "Be exact. " * 2_000
        system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
        made += requests(IN_GROUP, prefix=f"g{group}", system=system)
    return made


async def test_two_urls_share_the_work_and_each_prompt_is_cached_at_one_of_them(
    tmp_path: Path,
) -> None:
    async with upstreams(SLOW, SLOW) as replicas:
        urls = ",".join(url for url, _ in replicas)
        settings = settings_for(tmp_path / "data", backend=urls, concurrency=8)
        async with serving(settings) as service:
            batch_id = await service.api.created(grouped())
            await service.api.ended(batch_id)
            lines = await service.api.lines(batch_id)
        calls = [simulator.calls for _, simulator in replicas]
    usages = [result["message"]["usage"] for result in lines.values()]
    assert sum(usage["cache_creation_input_tokens"] > 0 for usage in usages) == GROUPS
    assert sum(calls) == GROUPS * IN_GROUP
    assert min(calls) >= GROUPS * IN_GROUP / 4


async def test_a_fallback_answers_while_the_backend_is_away(tmp_path: Path) -> None:
    away = SimulatorScript(rules=(Rule(fault=Unreachable()),))
    async with upstreams(away, SLOW) as ((url, first), (other_url, second)):
        text = f"""
            [backends.first]
            url = "{url}"
            [backends.second]
            url = "{other_url}"
            [[routes]]
            backends = ["first"]
            fallbacks = ["second"]
        """
        settings = settings_for(tmp_path / "data", routing=routing(tmp_path, text))
        async with serving(settings) as service:
            batch_id = await service.api.created(requests(200))
            batch = await service.api.ended(batch_id)
            answer = await service.api.call("POST", "/v1/messages", _body())
        assert batch["request_counts"]["succeeded"] == 200
        assert answer.status == 200
        assert second.calls == 201
        # Those that were on their way when it was found out, then probes.
        assert 1 <= first.calls <= 2 * settings.concurrency


async def test_a_fallback_is_not_used_while_the_backend_only_refuses(tmp_path: Path) -> None:
    busy = SimulatorScript(rules=(Rule(fault=Status(status=429, retry_after_s=0.01), times=20),))
    async with upstreams(busy, SLOW) as ((url, first), (other_url, second)):
        text = f"""
            [backends.first]
            url = "{url}"
            [backends.second]
            url = "{other_url}"
            [[routes]]
            backends = ["first"]
            fallbacks = ["second"]
        """
        settings = settings_for(tmp_path / "data", routing=routing(tmp_path, text))
        async with serving(settings) as service:
            batch_id = await service.api.created(requests(50))
            batch = await service.api.ended(batch_id)
        assert batch["request_counts"]["succeeded"] == 50
        assert (first.calls, second.calls) == (70, 0)


async def test_models_are_routed_renamed_and_refused(tmp_path: Path) -> None:
    async with upstreams(SimulatorScript(), SimulatorScript()) as ((url, first), (other, second)):
        text = f"""
            [backends.first]
            url = "{url}"
            [backends.second]
            url = "{other}"
            [[routes]]
            model = "claude-*"
            backends = ["first"]
            [[routes]]
            model = "labels"
            backends = [{{backend = "second", model = "{SONNET}"}}]
        """
        asked = [HAIKU, "labels", "nobody"]
        batch = [
            {"custom_id": f"r{n}", "params": {**params(), "model": asked[n % 3]}} for n in range(30)
        ]
        settings = settings_for(tmp_path / "data", routing=routing(tmp_path, text))
        async with serving(settings) as service:
            batch_id = await service.api.created(batch)
            await service.api.ended(batch_id)
            lines = await service.api.lines(batch_id)
            listed = (await service.api.call("GET", "/v1/models?limit=1000")).json["data"]
            one = (await service.api.call("GET", "/v1/models/labels")).json
            refused = await service.api.call("POST", "/v1/messages", _body("nobody"))
            counted = await service.api.call(
                "POST", "/v1/messages/count_tokens", _body("labels", "")
            )
        assert (first.calls, second.calls) == (10, 10)
    answered = Counter(
        result["message"]["model"] for result in lines.values() if result["type"] == "succeeded"
    )
    assert answered == {"claude-haiku-4-5-20251001": 10, SONNET: 10}
    refusals = {
        result["error"]["error"]["message"]
        for result in lines.values()
        if result["type"] == "errored"
    }
    assert refusals == {"model: nobody"}
    assert {"labels", SONNET} <= {model["id"] for model in listed}
    assert one["id"] == "labels"
    assert (refused.status, refused.error["message"]) == (404, "model: nobody")
    assert counted.status == 200


async def test_backends_with_weights_share_accordingly(tmp_path: Path) -> None:
    async with upstreams(SLOW, SLOW) as ((url, first), (other, second)):
        text = f"""
            [backends.first]
            url = "{url}"
            [backends.second]
            url = "{other}"
            [[routes]]
            backends = [{{backend = "first", weight = 3}}, {{backend = "second", weight = 1}}]
        """
        settings = settings_for(tmp_path / "data", routing=routing(tmp_path, text), concurrency=64)
        async with serving(settings) as service:
            await service.api.ended(await service.api.created(requests(800)))
        assert first.calls + second.calls == 800
        assert 2.5 < first.calls / second.calls < 3.5


def _body(model: str = HAIKU, more: str = '"max_tokens":16,') -> bytes:
    text = '{"role":"user","content":"Hi"}'
    return f'{{"model":"{model}",{more}"messages":[{text}]}}'.encode()
