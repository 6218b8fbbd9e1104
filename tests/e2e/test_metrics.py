"""What `GET /metrics` tells after a night with faults, to whom, and what it never tells."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.api import requests
from tests.support.metrics import Scraped, scrape
from tests.support.service import Service, serving, settings_for
from tests.support.waiting import until

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import (
    Reset,
    Rule,
    Status,
    Unreachable,
)
from overnight.clock import MovableClock

SECOND = timedelta(seconds=1)
# 4,300 tokens, more than the least that is kept of a prompt to this model.
SYSTEM = [
    {"type": "text", "text": "Answer in one word. " * 900, "cache_control": {"type": "ephemeral"}}
]
FAULTS = SimulatorScript(
    rules=(
        Rule(custom_id="limited-*", fault=Status(status=429, retry_after_s=5), first_attempts=1),
        Rule(custom_id="busy-*", fault=Status(status=529), first_attempts=2),
        Rule(custom_id="broken-*", fault=Reset(), first_attempts=1),
        Rule(custom_id="away-*", fault=Unreachable(), first_attempts=1),
        Rule(custom_id="wrong-*", fault=Status(status=400)),
        Rule(custom_id="never-*", fault=Status(status=500)),
    ),
)


async def ended_as_time_passes(service: Service, batch_id: str) -> Scraped:
    """Move the clock on until the batch has ended and nothing is held; give what is told then."""
    found: list[Scraped] = []

    async def is_over() -> bool:
        service.advance(SECOND)
        found[:] = [await scrape(service.api)]
        batch = (await service.api.get(batch_id)).json
        held = found[0].value("overnight_shards_held")
        return bool(batch["processing_status"] == "ended" and not held)

    await until(is_over, what=f"the end of {batch_id}")
    return found[0]


def usage_of(lines: Mapping[str, Any], name: str) -> int:
    return sum(line["message"]["usage"][name] for line in lines.values())


async def test_a_night_with_faults_is_told_to_the_last_call(
    tmp_path: Path, clock: MovableClock
) -> None:
    # One call at a time: each fault is met alone.
    settings = settings_for(tmp_path, concurrency=1, max_attempts=3, shard_requests=4)
    rows = [
        *requests(3, prefix="limited"), *requests(2, prefix="busy"), *requests(2, prefix="broken"),
        *requests(2, prefix="away"), *requests(2, prefix="wrong"), *requests(1, prefix="never"),
        *requests(6, prefix="good"),
    ]  # fmt: skip
    backend = Simulator(FAULTS, clock=clock)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(rows)
        told = await ended_as_time_passes(service, batch_id)
        lines = await service.api.lines(batch_id)
    assert told.shown("overnight_calls_total", "outcome") == {
        "succeeded": 15, "rate_limited": 3, "overloaded": 4, "reset": 2, "unreachable": 2,
        "invalid_request": 2, "server_error": 3,
    }  # fmt: skip
    assert told.shown("overnight_calls_total", "traffic") == {"batch": backend.calls}
    assert told.shown("overnight_calls_total", "model") == {"claude-haiku-4-5-20251001": 31}
    assert told.shown("overnight_retries_total", "reason") == {
        "rate_limited": 3, "overloaded": 4, "reset": 2, "unreachable": 2, "server_error": 2,
    }  # fmt: skip
    assert told.value("overnight_retries_total", reason="rate_limited", charged="false") == 3
    assert told.value("overnight_retries_total", reason="server_error", charged="true") == 2
    assert told.shown("overnight_given_up_total", "reason") == {
        "invalid_request": 2, "server_error": 1,
    }  # fmt: skip
    assert told.shown("overnight_cooldowns_total", "reason") == {"rate_limited": 3}
    assert told.shown("overnight_cooldown_seconds_total", "reason") == {"rate_limited": 15}
    assert told.shown("overnight_breaker_state", "state") == {"closed": 1}
    assert told.shown("overnight_outcomes_total", "outcome") == {"succeeded": 15, "errored": 3}
    assert told.value("overnight_journal_group_outcomes_sum") == 18
    assert told.value("overnight_journal_commit_seconds_count") == told.value(
        "overnight_journal_group_outcomes_count"
    )
    assert told.shown("overnight_shards_claimed_total", "lease") == {"first": 5}
    assert told.value("overnight_call_seconds_count") == 15
    good = {name: line for name, line in lines.items() if line["type"] == "succeeded"}
    assert told.value("overnight_prompt_tokens_total", cache="uncached") == usage_of(
        good, "input_tokens"
    )
    assert told.value("overnight_output_tokens_total") == usage_of(good, "output_tokens")
    for nothing in (
        "calls_in_flight", "requests_waiting", "requests_open", "batches_running",
        "batches_at_risk", "leaders_sent_total", "stragglers_cut_total",
    ):  # fmt: skip
        assert told.value(f"overnight_{nothing}") == 0, nothing
