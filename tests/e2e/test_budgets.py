"""Budgets in the whole service: batches stop before they pass one, and say so."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.test_keys import call
from tests.support.api import Api, params, requests
from tests.support.costs import charged
from tests.support.process import server
from tests.support.service import Service, serving, settings_for
from tests.support.waiting import until

from overnight.model import Unsent

SPEND_LIMITS = "/v1/organizations/spend_limits"
ORGANIZATION = {"type": "organization"}


async def limited(api: Api, cents: int, scope: dict[str, str], period: str = "monthly") -> str:
    """Set a budget; give its id."""
    body = {"amount": str(cents), "scope": scope, "period": period}
    answer = await api.call("POST", SPEND_LIMITS, msgspec.json.encode(body))
    assert answer.status == 200, answer
    return str(answer.json["id"])


async def default_workspace(api: Api) -> dict[str, str]:
    workspace_id = (await api.list()).headers["anthropic-workspace-id"]
    return {"type": "workspace", "workspace_id": workspace_id}


def under(usd: str) -> dict[str, str]:
    return {"overnight-max-cost-usd": usd}


@pytest.mark.parametrize("rest_as", ["canceled", "expired"])
async def test_a_batch_sends_no_request_that_could_pass_its_budget(
    tmp_path: Path, rest_as: Unsent
) -> None:
    async with serving(settings_for(tmp_path, over_budget=rest_as)) as service:
        api = service.api
        batch_id = (await api.create(requests(300), under("0.01"))).json["id"]
        ended = await api.ended(batch_id)
        counts = ended["request_counts"]
        assert counts[rest_as] + counts["succeeded"] == 300 and counts["succeeded"] > 50
        assert ended["cancel_initiated_at"] is None
        cost = await charged(api, batch_id)
        progress = await api.progress(batch_id)
    # One more request might have cost 64 tokens of output and some of input, $0.000133.
    assert Decimal("0.00985") < Decimal(cost["spent_usd"]) <= Decimal("0.01")
    assert cost["stopped"] == {"by": "batch", "rest_as": rest_as}
    assert (progress["stopped_by"], progress["stopped_as"]) == ("batch", rest_as)
    [own] = cost["budgets"]
    assert (own["scope"], own["limit_usd"], own["used_usd"]) == ("batch", "0.01", cost["spent_usd"])


async def test_a_batch_within_its_budget_is_sent_whole(service: Service) -> None:
    batch_id = (await service.api.create(requests(20), under("1"))).json["id"]
    assert (await service.api.ended(batch_id))["request_counts"]["succeeded"] == 20
    cost = await charged(service.api, batch_id)
    assert cost["stopped"] is None


async def test_twenty_batches_at_once_share_a_budget(
    tmp_path: Path, database_url: str | None
) -> None:
    settings = settings_for(tmp_path, database_url=database_url, shard_requests=20)
    async with serving(settings) as service:
        api = service.api
        await limited(api, 1, await default_workspace(api))
        answers = await asyncio.gather(*(api.create(requests(50)) for _ in range(20)))
        accepted = [answer.json["id"] for answer in answers if answer.status == 200]
        # Each costs at least $0.0002.
        assert len(accepted) == 20
        costs = []
        for batch_id in accepted:
            await api.ended(batch_id, timeout_s=60)
            costs.append(await charged(api, batch_id))
        refused = await api.create(requests(50))
    spent = sum(Decimal(cost["spent_usd"]) for cost in costs)
    assert Decimal("0.0098") < spent <= Decimal("0.01")
    assert {"by": "workspace", "rest_as": "canceled"} in [cost["stopped"] for cost in costs]
    assert refused.status == 400 and refused.error["details"]["error_code"] == "spend_limit_reached"
    assert Decimal(refused.error["details"]["used_usd"]) == spent


async def test_a_budget_that_is_set_while_a_batch_runs_holds_for_it(tmp_path: Path) -> None:
    script = tmp_path / "slow.toml"
    script.write_text("[latency]\nbase_s = 0.02\n", encoding="utf-8")
    settings = settings_for(tmp_path, simulator_script=script, concurrency=4)
    async with serving(settings) as service:
        batch_id = await service.api.created(requests(2_000))
        await limited(service.api, 1, ORGANIZATION, "daily")
        ended = await service.api.ended(batch_id)
        cost = await charged(service.api, batch_id)
    assert ended["request_counts"]["canceled"] > 1_000
    assert Decimal(cost["spent_usd"]) <= Decimal("0.01")
    # What the organization has spent is not told to its workspaces.
    assert (cost["stopped"]["by"], cost["budgets"]) == ("organization", [])


async def test_calls_in_real_time_and_batches_count_together(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as service:
        api = service.api
        await limited(api, 1, await default_workspace(api))

        async def say(**more: Any) -> Any:
            return await api.call("POST", "/v1/messages", msgspec.json.encode(params(**more)))

        while (answer := await say()).status == 200:
            pass
        assert answer.error["message"].startswith(
            "You have reached your specified workspace API usage limits. You will regain access on "
        )
        assert answer.headers["x-should-retry"] == "false"
        assert (await say(stream=True)).status == 400
        found = (await api.call("GET", f"{SPEND_LIMITS}/effective")).json["data"][0]["overnight"]
        assert Decimal("0.0095") < Decimal(found["used_usd"]) <= Decimal("0.01")
        assert (await api.create(requests(100))).status == 400


async def test_a_model_without_a_price_is_refused_where_a_budget_holds(service: Service) -> None:
    asked = requests(1, model="claude-fable-5")
    assert (await service.api.create(asked)).status == 200
    refused = await service.api.create(asked, under("1"))
    told = "model: claude-fable-5 has no price in the book published-2026, so the budget of "
    assert (refused.status, refused.error["message"]) == (400, f"{told}this batch cannot be kept")
    await limited(service.api, 1, ORGANIZATION)
    call = await service.api.call(
        "POST", "/v1/messages", msgspec.json.encode(params(model="claude-fable-5"))
    )
    assert call.status == 400 and "the monthly budget of the organization" in call.error["message"]


async def test_who_nears_a_budget_is_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    api = service.api
    await limited(api, 1, await default_workspace(api))
    told: list[str | None] = []
    body = msgspec.json.encode(params())
    while (answer := await api.call("POST", "/v1/messages", body)).status == 200:
        told.append(answer.headers.get("overnight-budget-warning"))
    assert told[0] is None
    last = str(told[-1])
    assert last.endswith("of $0.01") and "of the monthly budget of workspace" in last

    async def all_told() -> bool:
        metrics = (await api.call("GET", "/metrics")).body.decode()
        counter = "overnight_budget_warnings_total"
        return all(f'{counter}{{percent="{at}"}} 1' in metrics for at in (50, 80, 100))

    await until(all_told, what="three warnings")
    logged = [record.__dict__["fields"] for record in caplog.records if "used" in record.message]
    assert [fields["percent"] for fields in logged] == [50, 80, 100]


async def test_the_command_line_sets_shows_and_removes_budgets(tmp_path: Path) -> None:
    lines = [msgspec.json.encode(request) for request in requests(40)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    file = str(tmp_path / "in.jsonl")
    async with server(tmp_path / "data") as running:
        url = running.base_url
        small = await call(url, "budgets", "set", "$0.01", "--workspace", "default")
        assert (small.code, small.err) == (0, "monthly budget of workspace default: $0.01\n")
        wrong = await call(url, "budgets", "set", "0.001")
        assert wrong.code == 2 and "USD: 0.001: has more than two decimals" in wrong.err
        above = await call(url, "batches", "create", file, "--budget", "0.0001")
        assert above.code == 6 and "Its budget is $0.0001." in above.err
        for _ in range(2):
            created = await call(url, "batches", "create", file)
            assert (created.code, "warning" in created.err) == (0, False), created.err
            await call(url, "watch", created.out.strip(), "--progress", "none")
        created = await call(url, "batches", "create", file)
        assert "warning: " in created.err and "of workspace" in created.err
        cost = await call(url, "batches", "cost", created.out.strip())
        assert "workspace budget     $0.01, monthly: used $0.0" in cost.out
        [row] = (await call(url, "budgets", "list")).out.splitlines()
        assert row.split()[1:5] == ["monthly", "workspace", "default", "$0.01"]
        gone = await call(url, "budgets", "remove", "--workspace", "default", "--yes")
        assert gone.err == "monthly budget of workspace default removed\n"
        nothing = await call(url, "budgets", "list", "--json")
    assert nothing.json == []
