"""What was charged is what the results cost, to the last digit, whatever happened on the way."""

import random
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.api import params, requests
from tests.support.costs import charged
from tests.support.service import DAY, START, Service, serving, settings_for
from tests.support.waiting import until

from overnight.backends.simulator import Simulator
from overnight.backends.simulator.script import Rule, SimulatorScript, Slow, Status
from overnight.clock import MovableClock

# The last one is not in the default book.
MODELS = ("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-7", "claude-opus-4-5")
SCRIPT = SimulatorScript(
    rules=(
        Rule(custom_id="failing*", fault=Status(status=400, message="no")),
        Rule(custom_id="flaky*", fault=Status(status=529), first_attempts=1),
        Rule(custom_id="stuck*", fault=Slow(seconds=10 * 86_400)),
    )
)
ROUNDS = 12


def cached(ttl: str, text: str) -> list[dict[str, Any]]:
    marked = {"type": "ephemeral", "ttl": ttl}
    return [{"type": "text", "text": f"{text} " * 5_000, "cache_control": marked}]


def a_request(draw: random.Random, number: int) -> dict[str, Any]:
    """Make a request of any kind: plain, cached, failing now or for ever, refused."""
    kind = draw.choice(["plain", "plain", "5m", "1h", "failing", "flaky", "refused"])
    made = params(f"Question {number}", model=draw.choice(MODELS))
    if kind in ("5m", "1h"):
        made["system"] = cached(kind, draw.choice(["one", "two"]))
    if kind == "refused":
        made["max_tokens"] = 0
    return {"custom_id": f"{kind}-{number}", "params": made}


async def cost(service: Service, batch_id: str) -> dict[str, Any]:
    answer = await service.api.call("GET", f"/overnight/v1/batches/{batch_id}/cost")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


async def reported_cents(service: Service) -> Decimal:
    """Give the whole of the cost report."""
    query = "starting_at=2026-11-01T00:00:00Z&limit=31"
    answer = await service.api.call("GET", f"/v1/organizations/cost_report?{query}")
    assert answer.status == 200, answer
    results = [result for bucket in answer.json["data"] for result in bucket["results"]]
    return sum((Decimal(r["amount"]) for r in results if r["amount"] is not None), Decimal(0))


async def test_the_charges_of_any_batches_sum_to_the_cost_of_their_results(
    tmp_path: Path, database_url: str | None
) -> None:
    clock, draw = MovableClock(START), random.Random(20261122)
    settings = settings_for(tmp_path, database_url=database_url, shard_requests=7, concurrency=4)
    async with serving(settings, clock=clock, backend=Simulator(SCRIPT, clock=clock)) as service:
        whole, hits = Decimal(0), 0
        for _ in range(ROUNDS):
            rows = [a_request(draw, number) for number in range(draw.randint(1, 30))]
            batch_id = await service.api.created(rows)
            await drained(service, batch_id)
            found = await charged(service.api, batch_id)
            whole += Decimal(found["spent_usd"] or 0)
            hits += any(line["token_class"] == "cache_read" for line in found["lines"])
        assert whole > 0
        assert hits, "no batch read from the cache: the test has lost its point"
        assert await reported_cents(service) == whole * 100


async def drained(service: Service, batch_id: str) -> None:
    """Move the clock until retries have had their turn."""

    async def has_ended() -> bool:
        service.advance(timedelta(seconds=1))
        return bool((await service.api.get(batch_id)).json["processing_status"] == "ended")

    await until(has_ended, what="the end", timeout_s=30)


@pytest.mark.parametrize("fate", ["canceled", "expired"])
async def test_a_batch_that_stops_early_is_charged_for_what_succeeded(
    tmp_path: Path, fate: str
) -> None:
    clock = MovableClock(START)
    simulator = Simulator(SCRIPT, clock=clock)
    async with serving(
        settings_for(tmp_path, concurrency=2), clock=clock, backend=simulator
    ) as service:
        rows = [*requests(3), *requests(2, prefix="stuck"), *requests(4, prefix="late")]
        batch_id = await service.api.created(rows)

        async def are_stuck() -> bool:
            return simulator.in_flight == 2 and (await cost(service, batch_id))["recorded"] == 3

        await until(are_stuck, what="two stuck requests")
        running = await cost(service, batch_id)
        if fate == "canceled":
            await service.api.cancel(batch_id)
        # Enough for those that are stuck; more than the batch has.
        service.advance(11 * DAY)
        batch = await service.api.ended(batch_id)
        found = await charged(service.api, batch_id)
    counts = batch["request_counts"]
    assert counts[fate] >= 4
    assert counts["succeeded"] == found["succeeded"] < 9
    assert (running["status"], running["recorded"], running["requests"]) == ("in_progress", 3, 9)
    spent = Decimal(running["spent_usd"])
    assert spent <= Decimal(found["spent_usd"])
    projected = {name: Decimal(usd) for name, usd in running["projected"].items() if "usd" in name}
    assert spent <= projected["low_usd"] < projected["usd"] < projected["high_usd"]
    assert projected["usd"] == 3 * spent


BOOK = """\
name = "steps"
dated = 2026-11-01
[source]
title = "a test"
read = 2026-11-01
[rules.batch]
factor = 0.5
applies_to = ["input", "output"]
[[models]]
id = "claude-haiku-4-5"
[[models.prices]]
from = 2026-01-01
input = 0.7
output = 3.3
[models.prices.long_prompt]
over_tokens = 300
input = 1.9
output = 7.1
"""


async def test_a_price_that_depends_on_the_prompt_is_charged_request_by_request(
    tmp_path: Path,
) -> None:
    (tmp_path / "steps.toml").write_text(BOOK, encoding="utf-8")
    book = str(tmp_path / "steps.toml")
    settings = settings_for(tmp_path / "data", price_book=book)
    async with serving(settings, clock=MovableClock(START)) as service:
        rows = [
            {"custom_id": f"r-{number}", "params": params("word " * 40 * number)}
            for number in range(1, 20)
        ]
        batch_id = await service.api.created(rows)
        await service.api.ended(batch_id)
        found = await charged(service.api, batch_id, book=book)
    assert {line["over_tokens"] for line in found["lines"]} == {0, 300}
    assert {(line["book"], line["book_version"]) for line in found["lines"]} == {
        ("steps", "2026-11-01")
    }


async def test_a_model_without_a_price_is_unknown_and_never_free(service: Service) -> None:
    rows = [{"custom_id": "a", "params": params(model="claude-opus-4-5")}]
    batch_id = await service.api.created(rows)
    await service.api.ended(batch_id)
    found = await charged(service.api, batch_id)
    assert (found["spent_usd"], found["complete"], found["projected"]) == (None, False, None)
    assert {line["usd"] for line in found["lines"]} == {None}
    answer = await service.api.call(
        "GET", "/v1/organizations/cost_report?starting_at=2026-11-22T00:00:00Z"
    )
    [bucket] = answer.json["data"]
    assert [result["amount"] for result in bucket["results"]] == [None]


async def test_a_batch_is_compared_with_the_estimate_it_was_created_with(
    service: Service,
) -> None:
    estimate = await estimated(service, {"low_usd": "0.00000001", "high_usd": "1"})
    answer = await service.api.create(requests(2), {"overnight-estimate-id": estimate["id"]})
    batch_id = answer.json["id"]
    await service.api.ended(batch_id)
    compared = (await charged(service.api, batch_id))["estimate"]
    assert compared["id"] == estimate["id"]
    assert (compared["low_usd"], compared["high_usd"]) == ("0.00000001", "1.00")
    assert (compared["verdict"], compared["difference_usd"]) == ("within", "0.00")


async def test_a_price_can_be_kept_as_an_estimate(service: Service) -> None:
    question = {"model": "claude-haiku-4-5", "requests": "100k", "input_tokens": 200,
                "output_tokens": 50, "on": "2026-11-22"}  # fmt: skip
    estimate = await estimated(service, {"price": question})
    assert (estimate["low_usd"], estimate["high_usd"]) == ("18.00", "18.00")
    assert estimate["price"]["models"][0]["batch_usd"] == "18.00"
    answer = await service.api.create(requests(1), {"overnight-estimate-id": estimate["id"]})
    batch_id = answer.json["id"]
    await service.api.ended(batch_id)
    found = await charged(service.api, batch_id)
    assert found["estimate"]["verdict"] == "below"
    assert Decimal(found["estimate"]["difference_usd"]) == Decimal(found["spent_usd"]) - 18


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"low_usd": "1"},
        {"low_usd": "2", "high_usd": "1"},
        {"low_usd": "-1", "high_usd": "1"},
        {"low_usd": "1e30", "high_usd": "1e30"},
        {"low_usd": 1.5, "high_usd": 2},
        {"price": {"model": "nonsense"}},
        {"price": {"models": ["claude-haiku-4-5", "claude-opus-4-7"], "input_tokens": 1}},
        {"price": {"model": "claude-haiku-4-5", "input_tokens": 1}, "low_usd": "1"},
        {"more": 1},
    ],
)
async def test_an_estimate_without_one_amount_is_refused(
    service: Service, body: Mapping[str, Any]
) -> None:
    answer = await service.api.call("POST", "/overnight/v1/estimates", msgspec.json.encode(body))
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


async def test_an_unknown_estimate_refuses_the_batch(service: Service) -> None:
    answer = await service.api.create(requests(1), {"overnight-estimate-id": "estimate_01nope"})
    assert answer.error["message"] == "overnight-estimate-id: no estimate has this id"
    assert (await service.api.list()).json["data"] == []


async def test_the_cost_of_a_batch_is_seen_in_its_workspace_only(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, api_keys=("one=sk-one", "two=sk-two"))
    async with serving(settings) as service:
        key = {"x-api-key": "sk-one"}
        answer = await service.api.create(requests(1), key)
        path = f"/overnight/v1/batches/{answer.json['id']}/cost"
        assert (await service.api.call("GET", path, headers=key)).status == 200
        other = await service.api.call("GET", path, headers={"x-api-key": "sk-two"})
        estimate = await service.api.call(
            "POST", "/overnight/v1/estimates", b'{"low_usd":"1","high_usd":"1"}', key
        )
        foreign = {"x-api-key": "sk-two", "overnight-estimate-id": estimate.json["id"]}
        refused = await service.api.create(requests(1), foreign)
    assert other.status == 404
    assert refused.status == 400


async def estimated(service: Service, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = await service.api.call("POST", "/overnight/v1/estimates", msgspec.json.encode(body))
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found
