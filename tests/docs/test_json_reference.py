"""docs/reference/json.md lists every field that our JSON has, and loses none."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from script.json_fields import Field, paths
from script.json_reference import Document, names, page, printed, render
from script.reference import JSON_PAGE, removed_fields
from tests.support.api import params, requests
from tests.support.service import START, Service, serving, settings_for

from overnight.cli.program import run
from overnight.model import Event, EventId, WorkspaceId
from overnight.wire.events import event_body
from overnight.wire.rate_limits import RATE_LIMIT_ID
from overnight.wire.webhooks import BETA

COST = "Price of a usage"
LINKED = dict.fromkeys(["price", *(f"models[].{name}" for name in ("low", "high", "expected"))], "")
WORK = ["--requests", "100", "--in", "5000", "--shared", "4500", "--out", "50"]


def listed(title: str) -> set[str]:
    return {path for found, path in names(JSON_PAGE.read_text(encoding="utf-8")) if found == title}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(settings_for(tmp_path)) as running:
        yield running


def test_page_is_current() -> None:
    assert JSON_PAGE.read_text(encoding="utf-8") == page(), "run script/docs"


def test_no_field_of_the_page_is_gone() -> None:
    assert removed_fields(page()) == []


def test_a_field_that_is_gone_is_named() -> None:
    text = JSON_PAGE.read_text(encoding="utf-8")
    without = "".join(line for line in text.splitlines(True) if "`estimate.verdict`" not in line)
    assert removed_fields(without) == ["Batch cost: estimate.verdict"]


def test_a_field_without_a_meaning_is_refused() -> None:
    document = Document("Thing", "It.", lambda: [Field("size_bytes", "whole number")])
    with pytest.raises(LookupError, match="Thing: size_bytes"):
        render([document], {})
    assert "| `size_bytes` | whole number | bytes | How big. |" in render(
        [document], {"every": {"size_bytes": "how big"}}
    )


def test_a_meaning_without_a_field_is_refused() -> None:
    with pytest.raises(LookupError, match="color"):
        render([], {"every": {"color": "of the thing"}})


async def test_answers_of_a_service_have_the_listed_fields(service: Service) -> None:
    quoted = {"models": ["claude-haiku-4-5"], "input_tokens": 9, "output_tokens": 9}
    kept = await call(service, "POST", "/overnight/v1/estimates", {"price": quoted})
    assert paths(kept, LINKED) == listed("Kept estimate")
    # Enough for the request that writes the cache, and not for another one like it.
    headers = {"overnight-estimate-id": kept["id"], "overnight-auto-cache": "true"}
    headers["overnight-max-cost-usd"] = "0.0115"
    system = "Answer in one word. " * 1_000
    body = msgspec.json.encode({"requests": requests(3, system=system)})
    created = await service.api.call("POST", "/v1/messages/batches", body, headers)
    assert paths(created.json, {}) == listed("Batch")
    batch = f"/overnight/v1/batches/{created.json['id']}"
    await service.api.ended(created.json["id"])
    cost = await call(service, "GET", f"{batch}/cost")
    assert paths(cost, {}) == listed("Batch cost")
    progress = await call(service, "GET", f"{batch}/progress")
    assert listed("Live progress") - paths(progress, {}) <= {"eta.earliest", "eta.latest"}
    assert paths(progress, {}) <= listed("Live progress")
    usage = {"model": "claude-haiku-4-5", "usage": {"input_tokens": 9, "output_tokens": 9}}
    assert paths(await call(service, "POST", "/overnight/v1/price", usage), {}) == listed(COST)
    quote = await call(service, "POST", "/overnight/v1/price", quoted)
    assert paths(quote, {}) <= listed("Price of a workload")


async def test_budgets_of_a_service_have_the_listed_fields(service: Service) -> None:
    url = "/v1/organizations/spend_limits"
    whose = {"amount": "1", "scope": {"type": "organization"}}
    made = await call(service, "POST", url, whose)
    ids = {"scope.workspace_id", "scope.api_key_id"}
    assert paths(made, {}) == listed("Budget") - ids
    [row] = (await call(service, "GET", f"{url}/effective"))["data"]
    ids |= {"source.workspace_id", "source.api_key_id"}
    assert paths(row, {}) == listed("Budget and spend") - ids - {
        "actor.type",
        "actor.scoped_api_key_id",
    }
    gone = await call(service, "DELETE", f"{url}/{made['id']}")
    assert paths(gone, {}) == listed("Removed budget")


async def test_webhooks_of_a_service_have_the_listed_fields(service: Service) -> None:
    beta = {"anthropic-beta": BETA}
    url = "/v1/organizations/webhooks"
    body = {"url": "https://192.0.2.1.example/", "enabled_events": ["message_batch.ended"]}
    made = await call(service, "POST", url, body, beta)
    assert paths(made, {}) == listed("Webhook endpoint") | listed("Signing secret")
    one = f"{url}/{made['id']}"
    assert paths(await call(service, "GET", one, None, beta), {}) == listed("Webhook endpoint")
    rotated = await call(service, "POST", f"{one}/regenerate_signing_secret", {}, beta)
    assert paths(rotated, {}) == listed("Signing secret")
    begun = await call(service, "POST", f"/overnight/v1/webhooks/{made['id']}/test")
    assert paths(begun, {}) == listed("Delivery")
    gone = await call(service, "DELETE", one, None, beta)
    assert paths(gone, {}) == listed("Deleted webhook endpoint")


def test_the_body_of_a_webhook_has_the_listed_fields() -> None:
    event = Event(
        number=1,
        id=EventId("whe_1"),
        type="message_batch.ended",
        subject_id="msgbatch_1",
        workspace_id=WorkspaceId("wrkspc_1"),
        created_at=START,
    )
    body = msgspec.json.decode(event_body(event, organization_id="org"))
    assert paths(body, {}) == listed("Webhook event")


async def test_keys_and_workspaces_have_the_listed_fields(service: Service) -> None:
    workspace = await call(service, "POST", "/v1/organizations/workspaces", {"name": "team"})
    assert paths(workspace, {}) == listed("Workspace")
    limits = f"/v1/organizations/workspaces/{workspace['id']}/rate_limits/{RATE_LIMIT_ID}"
    own = {"limits": [{"type": "requests_per_minute", "value": 1}]}
    assert paths(await call(service, "POST", limits, own), {}) == listed("Workspace limits")
    made = await call(service, "POST", "/overnight/v1/keys", {"name": "me", "roles": ["admin"]})
    assert paths(made, {}) == listed("Key") | {"secret"}
    admin = {"x-api-key": made["secret"]}
    path = f"/overnight/v1/keys/{made['id']}"
    shown = await service.api.call("GET", path, None, admin)
    assert paths(shown.json, {}) == listed("Key")
    revoked = await service.api.call("POST", f"{path}/revoke", None, admin)
    assert paths(revoked.json, {}) == listed("Revoked key")


def test_prices_of_the_command_line_have_the_listed_fields() -> None:
    found = printed("price", "--model", "claude-haiku-4-5", *WORK)
    hidden = ("disagreements[].", "other_books[].")
    shown = {p for p in listed("Price of a workload") if not any(part in p for part in hidden)}
    assert shown <= paths(found, {}) <= listed("Price of a workload")


def test_estimates_of_the_command_line_have_the_listed_fields(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    system = "Answer in one word. " * 5_000
    rows = [{"custom_id": f"r-{i}", "params": params(f"{i}", system=system)} for i in range(3)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = paths(printed("estimate", str(file), "--out", "9"), LINKED)
    by_server = {path for path in listed("Estimate of a file") if "pilot." in path}
    assert listed("Estimate of a file") - found == by_server | {"estimate_id"}
    assert found <= listed("Estimate of a file")


def test_errors_of_the_command_line_have_the_listed_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["price", "--model", "no-such-model", "--in", "1", "--out", "1", "--json"]) != 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(found) == ["error"]
    assert {"type", "message", "exit_code"} <= paths(found["error"], {}) <= listed("Error")


async def call(
    service: Service,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    sent = None if body is None else msgspec.json.encode(body)
    answer = await service.api.call(method, path, sent, headers)
    assert answer.status == 200, answer
    return answer.json
