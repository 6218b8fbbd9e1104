"""What `GET /metrics` tells after a night with faults: to the last call, and nothing else."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.conformance.backend import API_KEY, upstream
from tests.support.api import params, requests
from tests.support.failing import FailingDatabase
from tests.support.metrics import Scraped, scrape
from tests.support.process import server, simulator
from tests.support.service import DAY, Service, serving, settings_for
from tests.support.waiting import until

from overnight.app import open_database
from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import (
    Latency,
    Limit,
    Reset,
    Rule,
    Slow,
    Status,
    Unreachable,
)
from overnight.clock import MovableClock
from overnight.model import WorkerId
from overnight.store import shards
from overnight.telemetry.table import TABLE

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


async def ended_as_time_passes(
    service: Service, batch_id: str, step: timedelta = SECOND
) -> Scraped:
    """Move the clock on until the batch has ended and nothing is held; give what is told then."""
    found: list[Scraped] = []

    async def is_over() -> bool:
        service.advance(step)
        if (await service.api.get(batch_id)).json["processing_status"] != "ended":
            return False
        found[:] = [await scrape(service.api)]
        left = ("shards_held", "batches_running", "requests_open")
        return not any(found[0].value(f"overnight_{name}") for name in left)

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


async def told_when(service: Service, name: str, value: float, **labels: str) -> Scraped:
    """Wait until a metric has this value; give what is told then."""
    found: list[Scraped] = []

    async def is_so() -> bool:
        found[:] = [await scrape(service.api)]
        return found[0].value(name, **labels) == value

    await until(is_so, what=f"{name} {labels} = {value}")
    return found[0]


async def test_what_is_under_way_and_what_waits_is_told(
    tmp_path: Path, clock: MovableClock
) -> None:
    script = SimulatorScript(
        latency=Latency(base_s=60),
        rules=(Rule(custom_id="busy-*", fault=Status(status=529), first_attempts=1),),
    )
    backend = Simulator(script, clock=clock)
    settings = settings_for(tmp_path, concurrency=4)
    rows = [*requests(1, prefix="busy"), *requests(20, prefix="slow")]
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(rows)
        await told_when(service, "overnight_calls_in_flight", 4, traffic="batch")
        told = await told_when(service, "overnight_requests_open", 21)
        assert told.shown("overnight_requests_waiting", "state") == {"sendable": 16, "retry": 1}
        assert told.value("overnight_shards_held") == 1
        assert told.value("overnight_batches_running") == 1
        assert told.value("overnight_concurrency_ceiling") == 4
        assert told.value("overnight_turns_total", urgent="false") == 5
        told = await ended_as_time_passes(service, batch_id, 30 * SECOND)
    assert told.shown("overnight_requests_waiting", "state") == {}
    # By the clock each call took its minute exactly.
    assert told.value("overnight_call_seconds_sum") == 21 * 60
    assert told.value("overnight_call_seconds_bucket", le="60.0") == 21
    assert told.value("overnight_call_seconds_bucket", le="40.0") == 0


async def test_leaders_and_what_they_spare_are_told(tmp_path: Path, clock: MovableClock) -> None:
    script = SimulatorScript(
        latency=Latency(base_s=1),
        rules=(Rule(custom_id="r-0", fault=Reset(), first_attempts=1),),
    )
    backend = Simulator(script, clock=clock)
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(6, system=SYSTEM))
        told = await told_when(service, "overnight_leaders_sent_total", 2)
        assert told.value("overnight_leaders_failed_total") == 1
        assert told.shown("overnight_requests_waiting", "state") == {"held_back": 4, "retry": 1}
        told = await ended_as_time_passes(service, batch_id)
        lines = await service.api.lines(batch_id)
    assert told.value("overnight_leaders_sent_total") == 2
    assert told.value("overnight_first_byte_seconds_count") == 1
    assert told.value("overnight_first_byte_seconds_sum") == 1
    for cache, name in (
        ("read", "cache_read_input_tokens"),
        ("written", "cache_creation_input_tokens"),
        ("uncached", "input_tokens"),
    ):
        tokens = usage_of(lines, name)
        assert tokens and told.value("overnight_prompt_tokens_total", cache=cache) == tokens


async def test_followers_that_go_without_their_leader_are_told(
    tmp_path: Path, clock: MovableClock
) -> None:
    backend = Simulator(SimulatorScript(latency=Latency(base_s=90)), clock=clock)
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(4, system=SYSTEM))
        told = await told_when(service, "overnight_requests_waiting", 3, state="held_back")
        service.advance(61 * SECOND)
        told = await told_when(service, "overnight_leaders_sent_total", 2)
        assert told.value("overnight_followers_released_total") == 3
        await ended_as_time_passes(service, batch_id, 30 * SECOND)


async def test_an_outage_is_told_from_its_beginning_to_its_end(
    tmp_path: Path, clock: MovableClock
) -> None:
    backend = Simulator(
        SimulatorScript(rules=(Rule(fault=Unreachable(), until_call=9),)), clock=clock
    )
    settings = settings_for(tmp_path, concurrency=2)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(20))
        told = await told_when(service, "overnight_breaker_state", 1, state="open")
        assert told.value("overnight_breaker_state") == 1
        told = await ended_as_time_passes(service, batch_id)
    assert told.shown("overnight_calls_total", "outcome") == {"unreachable": 9, "succeeded": 20}
    assert told.shown("overnight_breaker_state", "state") == {"closed": 1}
    # Each time it opened a probe followed, and the last one closed it.
    opens = told.value("overnight_breaker_opens_total")
    assert opens and told.value("overnight_breaker_probes_total") == opens
    assert told.shown("overnight_concurrency_cuts_total", "reason") == {"outage": 1}
    assert told.value("overnight_concurrency_growths_total") == 1
    assert told.value("overnight_concurrency_limit") == 2


async def test_waits_for_a_limit_are_told_with_what_is_left_of_it(
    tmp_path: Path, clock: MovableClock
) -> None:
    settings = settings_for(tmp_path, requests_per_minute=60, concurrency=8)
    async with serving(settings, clock=clock) as service:
        await service.api.created(requests(10))
        told = await told_when(service, "overnight_outcomes_total", 10)
        assert told.value("overnight_rate_limit_remaining", limit="requests", model="") == 50
        assert told.value("overnight_rate_limit_waits_total") == 0
        batch_id = await service.api.created(requests(70))
        told = await told_when(service, "overnight_rate_limit_waits_total", 1, limit="requests")
        assert told.value("overnight_rate_limit_per_minute", limit="requests") == 60
        # One call is left, of which a share of the limit is kept back.
        assert told.value("overnight_rate_limit_remaining", limit="requests") == 1
        waited = told.value("overnight_rate_limit_wait_seconds_total", limit="requests")
        assert abs(waited - 0.3) < 0.001
        await ended_as_time_passes(service, batch_id)


async def test_a_limit_that_answers_state_is_told_with_its_model(tmp_path: Path) -> None:
    script = SimulatorScript(limits=(Limit(input_tokens_per_minute=1_000_000),), models=("*",))
    async with upstream(script) as url:
        backend = MessagesBackend(url=url, api_key=API_KEY)
        async with serving(settings_for(tmp_path), backend=backend) as service:
            rows = requests(2)
            rows[1]["params"]["model"] = "a-model-that-nobody-knows"
            await service.api.ended(await service.api.created(rows))
            told = await scrape(service.api)
    limits = told.shown("overnight_rate_limit_per_minute", "model")
    assert limits == {"claude-haiku-4-5-20251001": 1_000_000, "*": 1_000_000}


async def test_a_straggler_that_is_cut_is_told_and_is_no_retry(
    tmp_path: Path, clock: MovableClock
) -> None:
    hung = Rule(custom_id="hung-*", fault=Slow(seconds=80_000), first_attempts=1)
    script = SimulatorScript(latency=Latency(base_s=1), rules=(hung,))
    backend = Simulator(script, clock=clock)
    settings = settings_for(tmp_path, concurrency=50, cut_stragglers="on")
    rows = [*requests(300), *requests(1, prefix="hung")]
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(rows)
        told = await ended_as_time_passes(service, batch_id, 10 * SECOND)
    assert told.value("overnight_stragglers_cut_total") == 1
    assert told.shown("overnight_calls_total", "outcome") == {"succeeded": 301, "timeout": 1}
    assert told.value("overnight_retries_total") == 0


async def test_real_time_calls_are_told_apart(tmp_path: Path, clock: MovableClock) -> None:
    script = SimulatorScript(rules=(Rule(contains="refused", fault=Status(status=400)),))
    async with serving(
        settings_for(tmp_path), clock=clock, backend=Simulator(script, clock=clock)
    ) as service:
        await service.api.ended(await service.api.created(requests(3)))
        for body in (params(), params(stream=True), params("to be refused")):
            await service.api.call("POST", "/v1/messages", msgspec.json.encode(body))
        told = await scrape(service.api)
    calls = "overnight_calls_total"
    assert told.shown(calls, "traffic") == {"batch": 3, "real_time": 3}
    assert told.value(calls, traffic="real_time", outcome="succeeded") == 2
    assert told.value(calls, traffic="real_time", outcome="invalid_request") == 1
    assert told.value("overnight_first_byte_seconds_count", traffic="real_time") == 1
    assert told.value("overnight_call_seconds_count", traffic="real_time") == 2


async def test_backends_urls_and_fallbacks_are_told_apart(tmp_path: Path) -> None:
    gone = "http://127.0.0.1:9"
    text = f"""
        [backends.gpus]
        url = ["{gone}", "{gone}"]
        [backends.spare]
        simulator = true
        [[routes]]
        model = "claude-*"
        backends = ["gpus"]
        fallbacks = ["spare"]
    """
    file = tmp_path / "routing.toml"
    file.write_text(text, encoding="utf-8")
    async with serving(settings_for(tmp_path / "data", routing=file)) as service:
        await service.api.ended(await service.api.created(requests(8)))
        told = await scrape(service.api)
    assert told.value("overnight_calls_total", backend="spare", outcome="succeeded") == 8
    assert told.value("overnight_fallback_calls_total", backend="spare", number="1") == 8
    assert told.value("overnight_fallback_calls_total", backend="gpus") == 0
    for number in ("1", "2"):
        assert told.value("overnight_breaker_opens_total", backend="gpus", number=number) > 0


async def test_shards_of_a_worker_that_died_are_told(tmp_path: Path) -> None:
    options = ["--concurrency", "2", "--shard-requests", "4"]
    async with simulator(tmp_path, "[latency]\nbase_s = 0.2\n") as backend:
        options += ["--backend", backend]
        async with server(tmp_path / "data", *options) as running:
            async with running.api() as api:
                batch_id = await api.created(requests(12))

                async def is_held() -> bool:
                    return (await scrape(api)).value("overnight_shards_held") == 3

                await until(is_held, what="three shards")
            running.kill()
            await running.start()
            async with running.api() as api:
                await api.ended(batch_id)
                told = await scrape(api)
    freed = told.value("overnight_shards_freed_total")
    assert 1 <= freed <= 3
    assert told.shown("overnight_shards_claimed_total", "lease") == {"again": freed}


async def test_a_lease_that_is_lost_is_told(tmp_path: Path, clock: MovableClock) -> None:
    settings = settings_for(tmp_path, concurrency=2)
    database = open_database(settings)
    backend = Simulator(SimulatorScript(latency=Latency(base_s=1)), clock=clock)
    async with serving(settings, clock=clock, backend=backend, database=database) as service:
        batch_id = await service.api.created(requests(3))
        await told_when(service, "overnight_calls_in_flight", 2, traffic="batch")
        now = clock.now() + DAY / 2
        thief = WorkerId("worker_thief")
        stolen = await database.write(
            lambda c: shards.claim(c, thief, now=now, until=now + DAY, limit=1)
        )
        assert len(stolen) == 1
        told = await ended_as_time_passes(service, batch_id)
    assert told.value("overnight_leases_lost_total") == 1
    # Nobody has ever seen the thief alive.
    assert told.value("overnight_shards_freed_total") == 1
    assert told.shown("overnight_shards_claimed_total", "lease") == {"first": 1, "again": 1}
    assert told.shown("overnight_outcomes_total", "outcome") == {"succeeded": 3}


async def test_a_commit_that_fails_is_told(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    database = FailingDatabase(open_database(settings))
    database.refuse = {"record"}
    async with serving(settings, database=database) as service:
        await service.api.ended(await service.api.created(requests(3)))
        told = await scrape(service.api)
    assert told.value("overnight_journal_failures_total") == 1
    assert told.value("overnight_outcomes_total") == 3


async def test_what_is_told_is_exactly_what_the_table_lists(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, requests_per_minute=1_000)
    async with serving(settings) as service:
        await service.api.ended(await service.api.created(requests(2)))
        told = await scrape(service.api)
    names = set()
    for family in told.families:
        name = family.name + ("_total" if family.type == "counter" else "")
        metric = TABLE[name]
        assert (family.type, family.documentation) == (metric.kind, metric.about)
        names |= {name} if family.samples else set()
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(metric.labels), sample
    assert names == TABLE.keys()


async def test_a_process_without_a_worker_tells_of_its_real_time_calls(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, worker=False)) as service:
        await service.api.created(requests(5))
        await service.api.call("POST", "/v1/messages", msgspec.json.encode(params()))
        told = await told_when(service, "overnight_requests_open", 5)
    assert told.shown("overnight_calls_total", "traffic") == {"real_time": 1}
    assert "overnight_outcomes_total{" not in told.text
