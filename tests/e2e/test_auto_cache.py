"""Automatic caching end to end: one request writes, the others read, and the report says so."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.api import params
from tests.support.costs import charged
from tests.support.service import START, Service, serving, settings_for

from overnight import prompt
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency, Rule, Status
from overnight.backends.simulator.simulator import Attempt
from overnight.clock import MovableClock
from overnight.model import Call
from overnight.pricing.money import to_cent

# Its shortest prefix is 1,024 tokens; a million cost in a batch 1.50 plain, 3.75 written, 0.30
# read.
SONNET = "claude-sonnet-4-6"
SYSTEM = "You are exact. " * 800
ON = {"overnight-auto-cache": "true"}


class Recorder(Simulator):
    """The simulator, and what was sent to it."""

    def __init__(self, script: SimulatorScript | None = None, **more: Any) -> None:
        super().__init__(script, **more)
        self.sent: dict[str, bytes] = {}

    def begin(self, call: Call) -> Attempt:
        self.sent[str(call.custom_id)] = call.params
        return super().begin(call)


def documents(count: int, *, prefix: str = "r", model: str = SONNET) -> list[dict[str, Any]]:
    """Make requests that share a system prompt which nobody marked."""
    return [
        {
            "custom_id": f"{prefix}-{number}",
            "params": params(f"Document {prefix} {number}", model=model, system=SYSTEM),
        }
        for number in range(count)
    ]


def system_tokens() -> int:
    return next(iter(prompt.prefixes({"system": SYSTEM}, SONNET))).tokens


async def ended(service: Service, rows: list[dict[str, Any]], headers: Any = ON) -> dict[str, Any]:
    """Run a batch; give its cost, which is checked against its results."""
    answer = await service.api.create(rows, headers)
    assert answer.status == 200, answer
    await service.api.ended(answer.json["id"])
    return await charged(service.api, answer.json["id"])


async def usages(service: Service, batch_id: str) -> list[dict[str, Any]]:
    lines = await service.api.lines(batch_id)
    return [line["message"]["usage"] for line in lines.values()]


@pytest.mark.parametrize("senders", [1, 64])
async def test_an_unmarked_batch_is_written_once_read_by_the_others_and_the_saving_told(
    tmp_path: Path, database_url: str | None, senders: int
) -> None:
    settings = settings_for(tmp_path, database_url=database_url, concurrency=senders)
    backend = Simulator(SimulatorScript(latency=Latency(base_s=0.01, jitter=0.5)))
    async with serving(settings, backend=backend) as service:
        found = await ended(service, documents(100))
        used = await usages(service, found["id"])
    tokens = system_tokens()
    assert sum(usage["cache_creation_input_tokens"] for usage in used) == tokens
    assert sum(usage["cache_read_input_tokens"] > 0 for usage in used) == 99
    assert sum(usage["cache_read_input_tokens"] for usage in used) == 99 * tokens
    report = found["auto_cache"]
    plain = sum(usage["input_tokens"] for usage in used)
    million = Decimal(1_000_000)
    assert report["requests"] == 100
    assert Decimal(report["uncached_usd"]) == (plain + 100 * tokens) * Decimal("1.50") / million
    assert (
        Decimal(report["usd"])
        == (plain * Decimal("1.50") + tokens * Decimal("3.75") + 99 * tokens * Decimal("0.30"))
        / million
    )
    saved = tokens * (100 * Decimal("1.20") - Decimal("3.45")) / million
    assert Decimal(report["saving_usd"]) == saved
    # 3,004 tokens.
    assert to_cent(saved) == Decimal("0.35")
    assert [line["token_class"] for line in report["lines"]] == [
        "input", "cache_write_5m", "cache_read",
    ]  # fmt: skip
    assert sum(Decimal(line["saving_usd"]) for line in report["lines"]) == saved


async def test_systems_and_documents_are_each_written_once(tmp_path: Path) -> None:
    rows = []
    for system in range(3):
        for document in range(4):
            for question in range(5):
                content = [
                    {"type": "text", "text": f"Document {document} " + "lorem " * 700},
                    {"type": "text", "text": f"Question {question}?"},
                ]
                made = {
                    "model": SONNET, "max_tokens": 16, "system": f"{system} {SYSTEM}",
                    "messages": [{"role": "user", "content": content}],
                }  # fmt: skip
                rows.append({"custom_id": f"{system}-{document}-{question}", "params": made})
    backend = Recorder(SimulatorScript(latency=Latency(base_s=0.01, jitter=0.5)))
    async with serving(settings_for(tmp_path, shard_requests=20), backend=backend) as service:
        found = await ended(service, rows[::-1])
        used = await usages(service, found["id"])
    assert sum(usage["cache_creation_input_tokens"] > 0 for usage in used) == 12
    assert sum(usage["cache_read_input_tokens"] > 0 for usage in used) == 60 - 3
    marked = msgspec.json.decode(backend.sent["0-0-0"])
    assert [bool(prefix.ttl) for prefix in prompt.prefixes(marked, SONNET)] == [True, True, False]


async def test_without_it_bytes_go_out_unchanged_and_the_report_says_nothing(
    tmp_path: Path,
) -> None:
    rows = documents(5)
    backend = Recorder()
    async with serving(settings_for(tmp_path), backend=backend) as service:
        found = await ended(service, rows, None)
    assert found["auto_cache"] is None
    assert backend.sent == {row["custom_id"]: msgspec.json.encode(row["params"]) for row in rows}


async def test_the_header_of_a_batch_stands_above_the_setting(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, auto_cache=True)) as service:
        by_setting = await ended(service, documents(3, prefix="a"), None)
        by_header = await ended(
            service, documents(3, prefix="b"), {"overnight-auto-cache": "false"}
        )
    assert by_setting["auto_cache"]["requests"] == 3
    assert by_header["auto_cache"] is None


async def test_another_value_of_the_header_refuses_the_batch(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as service:
        answer = await service.api.create(documents(3), {"overnight-auto-cache": "on"})
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
        assert answer.error["message"] == 'overnight-auto-cache: "on", must be true or false'
        assert (await service.api.list()).json["data"] == []


async def test_requests_that_their_caller_marked_stay_as_they_are_and_are_not_counted(
    tmp_path: Path,
) -> None:
    block = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    theirs: list[dict[str, Any]] = [
        {"custom_id": f"theirs-{n}", "params": params(f"Theirs {n}", model=SONNET, system=[block])}
        for n in range(6)
    ]
    backend = Recorder()
    async with serving(settings_for(tmp_path), backend=backend) as service:
        found = await ended(service, [*theirs, *documents(4)])
    for row in theirs:
        assert backend.sent[row["custom_id"]] == msgspec.json.encode(row["params"])
    report = found["auto_cache"]
    assert report["requests"] == 4
    prompts = sum(line["count"] for line in report["lines"])
    assert 4 * system_tokens() < prompts < 5 * system_tokens()
    # One entry for all of them: whoever came first has written it.
    written = {line["token_class"]: line["count"] for line in found["lines"]}["cache_write_5m"]
    assert written == system_tokens()


async def test_where_nothing_would_pay_nothing_is_marked(tmp_path: Path) -> None:
    backend = Recorder()
    async with serving(settings_for(tmp_path), backend=backend) as service:
        two = await ended(service, documents(2))
        unpriced = await ended(service, documents(9, prefix="u", model="claude-opus-4-5"))
    for found in (two, unpriced):
        report = found["auto_cache"]
        assert (report["requests"], report["saving_usd"], report["lines"]) == (0, "0.00", [])
    assert not [sent for sent in backend.sent.values() if b"cache_control" in sent]


async def test_a_write_that_nobody_reads_is_told_as_a_loss(tmp_path: Path) -> None:
    rules = (Rule(custom_id="failing*", fault=Status(status=400, message="no")),)
    rows = [*documents(1), *documents(4, prefix="failing")]
    async with serving(
        settings_for(tmp_path), backend=Simulator(SimulatorScript(rules=rules))
    ) as s:
        found = await ended(s, rows)
    loss = system_tokens() * Decimal("-2.25") / 1_000_000
    assert Decimal(found["auto_cache"]["saving_usd"]) == loss


async def test_a_running_batch_tells_what_was_saved_so_far(tmp_path: Path) -> None:
    clock = MovableClock(START)
    script = SimulatorScript(latency=Latency(base_s=10))
    backend = Simulator(script, clock=clock)
    settings = settings_for(tmp_path, concurrency=1)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = (await service.api.create(documents(3), ON)).json["id"]
        path = f"/overnight/v1/batches/{batch_id}/cost"
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["status"] != "ended":
            service.advance(timedelta(seconds=1))
            seen.append((await service.api.call("GET", path)).json)
    savings = [Decimal(found["auto_cache"]["saving_usd"]) for found in seen]
    assert savings[0] == 0
    assert min(savings) == system_tokens() * Decimal("-2.25") / 1_000_000
    assert savings[-1] == system_tokens() * Decimal("0.15") / 1_000_000
