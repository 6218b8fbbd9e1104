"""Webhooks through the whole service: managed over the wire, delivered, repeated, disabled."""

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.raw_server import Answer, RawServer, Received, Step, answer
from tests.support.api import Api, requests
from tests.support.metrics import scrape
from tests.support.service import DAY, START, Service, serving, settings_for
from tests.support.waiting import until

from overnight.access.keys import workspace_id
from overnight.backends.simulator import Simulator
from overnight.backends.simulator.script import Rule, SimulatorScript, Slow
from overnight.clock import MovableClock
from overnight.wire.webhooks import BETA, EVENT_TYPES, MAX_OVERLAP_S

LOOPBACK = ("127.0.0.0/8",)
LIST = "/v1/organizations/webhooks"
HEADERS = {"anthropic-beta": BETA}
OK = answer(b"")
BROKEN = answer(b"", status=500)
HOUR = timedelta(hours=1)
# How long the answer to a request takes whose id begins with `held`.
HELD = timedelta(seconds=3)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service with a clock that stands still, open to receivers on this machine."""
    settings = settings_for(tmp_path / "data", webhooks_allow=LOOPBACK)
    clock = MovableClock(START)
    held = SimulatorScript(rules=(Rule(custom_id="held*", fault=Slow(seconds=HELD.seconds)),))
    async with serving(settings, clock=clock, backend=Simulator(held, clock=clock)) as running:
        yield running


async def canceled(service: Service) -> str:
    """Cancel a batch before its end, and let it end; give its id."""
    batch_id = await service.api.created(requests(1, prefix="held"))
    assert (await service.api.cancel(batch_id)).status == 200
    service.advance(HELD)
    await service.api.ended(batch_id)
    return batch_id


@contextlib.asynccontextmanager
async def receiving(*answers: Answer) -> AsyncIterator[RawServer]:
    async with RawServer(*answers) as receiver:
        yield receiver


async def call(
    service: Service | Api, method: str, path: str, body: object = None, **headers: str
) -> Any:
    """Make a call that must succeed; give its answer."""
    api = service.api if isinstance(service, Service) else service
    sent = None if body is None else msgspec.json.encode(body)
    found = await api.call(method, path, sent, HEADERS | headers)
    assert found.status == 200, found
    return found.json


async def created(service: Service | Api, url: str, **more: object) -> dict[str, Any]:
    body = {"url": url, "enabled_events": list(EVENT_TYPES)} | more
    endpoint: dict[str, Any] = await call(service, "POST", LIST, body)
    return endpoint


async def log_of(service: Service, webhook_id: str, query: str = "") -> list[dict[str, Any]]:
    """Give the log of deliveries, the oldest event first."""
    path = f"/overnight/v1/webhooks/{webhook_id}/deliveries{query}"
    found: list[dict[str, Any]] = (await call(service, "GET", path))["data"]
    return found[::-1]


async def received(receiver: RawServer, count: int) -> list[dict[str, Any]]:
    """Wait for so many webhooks; give their events."""

    async def has_come() -> bool:
        return len(receiver.requests) >= count

    await until(has_come, what=f"{count} webhooks")
    return [msgspec.json.decode(request.body) for request in receiver.requests]


async def settled(service: Service, webhook_id: str, **expected: object) -> dict[str, Any]:
    """Wait until the newest delivery is so; give it."""
    found: dict[str, Any] = {}

    async def is_so() -> bool:
        log = await log_of(service, webhook_id)
        found.update(log[-1] if log else {})
        return all(name in found and found[name] == value for name, value in expected.items())

    await until(is_so, what=f"a delivery with {expected}")
    return found


async def state_of(service: Service, webhook_id: str) -> tuple[str, str]:
    found = await call(service, "GET", f"{LIST}/{webhook_id}")
    return found["state"], found["disabled_reason"]


async def disabled(service: Service, webhook_id: str) -> str:
    """Wait until an endpoint is disabled; give the reason."""

    async def is_disabled() -> bool:
        return (await state_of(service, webhook_id))[0] == "disabled"

    await until(is_disabled, what="the endpoint disabled")
    return (await state_of(service, webhook_id))[1]


def events_of(receiver: RawServer) -> list[str]:
    return [msgspec.json.decode(r.body)["data"]["type"] for r in receiver.requests]


async def test_each_event_of_a_batch_is_delivered_in_order(service: Service) -> None:
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url)
        batch_id = await canceled(service)
        await received(receiver, 2)
        service.advance(29 * DAY)
        await received(receiver, 3)
        assert (await service.api.delete(batch_id)).status == 200
        found = await received(receiver, 4)
        await settled(service, endpoint["id"], state="acknowledged")
    assert [event["data"]["type"] for event in found] == list(EVENT_TYPES)
    assert {event["data"]["id"] for event in found} == {batch_id}
    assert {event["data"]["workspace_id"] for event in found} == {workspace_id("default")}
    log = await log_of(service, endpoint["id"])
    assert [entry["event_id"] for entry in log] == [event["id"] for event in found]
    assert {(entry["state"], entry["attempts"]) for entry in log} == {("acknowledged", 1)}
    for request, event in zip(receiver.requests, found, strict=True):
        assert request.headers["webhook-id"] == event["id"]


async def test_a_batch_that_expires_or_ends_by_itself_is_told_once(service: Service) -> None:
    async with receiving([OK]) as receiver:
        await created(service, receiver.url, enabled_events=["message_batch.ended"])
        batch_id = await service.api.created(requests(2))
        await service.api.ended(batch_id)
        (event,) = await received(receiver, 1)
        assert event["data"]["id"] == batch_id
        assert event["created_at"] == "2026-11-22T06:40:25.141141Z"
        assert event.keys() == {"type", "id", "created_at", "data"}
    assert events_of(receiver) == ["message_batch.ended"]


async def test_a_failed_delivery_is_repeated_with_the_same_id_and_a_new_signature(
    service: Service,
) -> None:
    async with receiving([BROKEN], [BROKEN], [OK]) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        await service.api.ended(await service.api.created(requests(1)))
        first = await settled(service, endpoint["id"], attempts=1, under_way=False)
        assert (first["state"], first["last_status"]) == ("pending", 500)
        assert first["last_error"] == "the receiver answered 500"
        service.advance(timedelta(seconds=4))
        for attempt, wait in ((2, 5), (3, 40)):
            service.advance(timedelta(seconds=wait))
            await settled(service, endpoint["id"], attempts=attempt, under_way=False)
        last = await settled(service, endpoint["id"], state="acknowledged")
        assert (last["last_status"], last["last_error"]) == (200, None)
        assert last["next_attempt_at"] is None and last["acknowledged_at"] is not None
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    stamps = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    signatures = {request.headers["webhook-signature"] for request in receiver.requests}
    assert len(receiver.requests) == 3 and len(ids) == 1
    assert stamps == sorted(set(stamps)) and len(signatures) == 3
    assert len({request.body for request in receiver.requests}) == 1


async def test_the_next_event_does_not_wait_for_what_is_repeated(service: Service) -> None:
    async with receiving([BROKEN], [OK]) as receiver:
        endpoint = await created(service, receiver.url)
        await canceled(service)
        await received(receiver, 2)
        await settled(service, endpoint["id"], state="acknowledged")
        service.advance(timedelta(seconds=7))
        await received(receiver, 3)
    assert events_of(receiver) == [
        "message_batch.canceling",
        "message_batch.ended",
        "message_batch.canceling",
    ]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answer(b"", status=302, location="https://example.com/"), "302: redirects are not"),
        (answer(b"", status=410), "410: it wants no more events"),
    ],
)
async def test_some_answers_disable_an_endpoint_at_once(
    service: Service, response: bytes, reason: str
) -> None:
    async with receiving([response], [OK]) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        await service.api.ended(await service.api.created(requests(1)))
        assert reason in await disabled(service, endpoint["id"])
        query = f"subject_id={endpoint['id']}&action=webhook.disable"
        [act] = (await call(service, "GET", f"/overnight/v1/audit?{query}"))["data"]
        assert act["actor"]["type"] == "service"
        told = await scrape(service.api)
        assert told.shown("overnight_webhook_attempts_total", "outcome") == {"refused": 1}
        assert told.value("overnight_webhook_endpoints_disabled_total") == 1
        # What happens meanwhile is never told.
        await service.api.ended(await service.api.created(requests(1)))
        service.advance(9 * DAY)
        entry = await settled(service, endpoint["id"], next_attempt_at=None)
        assert (entry["state"], entry["attempts"]) == ("pending", 1)
        path = f"{LIST}/{endpoint['id']}"
        shown = await call(service, "POST", path, {"state": "enabled"})
        assert (shown["state"], shown["disabled_reason"]) == ("enabled", "")
        await settled(service, endpoint["id"], state="acknowledged", attempts=2)
    assert len(receiver.requests) == 2


async def test_a_target_within_disables_an_endpoint_at_once(tmp_path: Path) -> None:
    async with receiving([OK]) as receiver, serving(settings_for(tmp_path)) as service:
        port = urlsplit(receiver.url).port
        endpoint = await created(service, f"https://localhost:{port}/hook")
        await service.api.ended(await service.api.created(requests(1)))
        reason = await disabled(service, endpoint["id"])
        assert reason == "the URL is not allowed: its host has an address that is not public"
        assert receiver.connections == set()


async def test_continued_failure_disables_an_endpoint_and_loses_nothing(service: Service) -> None:
    async with receiving([BROKEN]) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        await service.api.ended(await service.api.created(requests(1)))
        attempts = 0
        while (await state_of(service, endpoint["id"]))[0] == "enabled":
            attempts += 1
            await settled(service, endpoint["id"], attempts=attempts, under_way=False)
            service.advance(timedelta(hours=12))
        assert attempts == 5
        _, reason = await state_of(service, endpoint["id"])
        assert reason == (
            "all attempts have failed since 2026-11-22 06:40 UTC; "
            "the last one: the receiver answered 500"
        )
        receiver.answers = ([OK],)
        await call(service, "POST", f"{LIST}/{endpoint['id']}", {"state": "enabled"})
        await settled(service, endpoint["id"], state="acknowledged")


async def test_an_event_that_always_fails_is_given_up_while_others_arrive(
    service: Service,
) -> None:
    async with receiving([BROKEN], [OK], *([BROKEN], [OK]) * 12) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        await service.api.ended(await service.api.created(requests(1)))
        await settled(service, endpoint["id"], attempts=1, under_way=False)
        for _ in range(9):
            # In between another event is acknowledged: the endpoint is not failing.
            await service.api.ended(await service.api.created(requests(1)))
            await settled(service, endpoint["id"], state="acknowledged")
            service.advance(timedelta(hours=30))
            count = len(receiver.requests) + 1
            await received(receiver, count)

            async def ended() -> bool:
                return not (await log_of(service, endpoint["id"]))[0]["under_way"]

            await until(ended, what="the attempt ended")
        log = await log_of(service, endpoint["id"])
        assert (log[0]["state"], log[0]["attempts"]) == ("failed", 10)
        assert [entry["state"] for entry in log[1:]] == ["acknowledged"] * 9
        assert (await state_of(service, endpoint["id"]))[0] == "enabled"
        assert await log_of(service, endpoint["id"], "?state=failed") == log[:1]
        path = f"/overnight/v1/webhooks/{endpoint['id']}/deliveries/{log[0]['event_id']}"
        again = await call(service, "POST", f"{path}/redeliver")
        assert again["state"] == "pending"

        async def acknowledged() -> bool:
            return bool((await call(service, "GET", path))["state"] == "acknowledged")

        await until(acknowledged, what="the redelivery acknowledged")


async def test_an_acknowledged_event_is_sent_again_on_demand(service: Service) -> None:
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        await service.api.ended(await service.api.created(requests(1)))
        entry = await settled(service, endpoint["id"], state="acknowledged")
        path = f"/overnight/v1/webhooks/{endpoint['id']}/deliveries/{entry['event_id']}"
        await call(service, "POST", f"{path}/redeliver")
        await settled(service, endpoint["id"], state="acknowledged", attempts=2)
    assert len({request.body for request in receiver.requests}) == 1 < len(receiver.requests)


async def test_a_test_is_sent_once_and_tells_what_came_of_it(service: Service) -> None:
    async with receiving([OK], [BROKEN], [OK]) as receiver:
        endpoint = await created(service, receiver.url)
        path = f"/overnight/v1/webhooks/{endpoint['id']}/test"
        begun = await call(service, "POST", path)
        assert (begun["event_type"], begun["state"]) == ("webhook_endpoint.test", "pending")
        good = await settled(service, endpoint["id"], state="acknowledged")
        assert good["event_id"] == begun["event_id"]
        await call(service, "POST", path)
        bad = await settled(service, endpoint["id"], state="failed")
        assert (bad["attempts"], bad["last_error"]) == (1, "the receiver answered 500")
        service.advance(9 * DAY)
        (event, _) = await received(receiver, 2)
        assert event["data"]["id"] == endpoint["id"]
        assert (await state_of(service, endpoint["id"]))[0] == "enabled"
        assert len(receiver.requests) == 2


async def test_a_slow_endpoint_does_not_hold_up_others(service: Service) -> None:
    release = asyncio.Event()
    async with receiving([release, OK]) as slow, receiving([OK]) as quick:
        await created(service, slow.url, enabled_events=["message_batch.ended"])
        await created(service, quick.url, enabled_events=["message_batch.ended"])
        for _ in range(8):
            await service.api.ended(await service.api.created(requests(1)))
        await received(quick, 8)
        assert len(slow.requests) == 4
        release.set()
        await received(slow, 8)


async def test_a_rotated_secret_signs_beside_the_old_one_for_its_time(service: Service) -> None:
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url)
        rotate = f"{LIST}/{endpoint['id']}/regenerate_signing_secret"

        async def signatures() -> list[str]:
            count = len(receiver.requests) + 1
            await call(service, "POST", f"/overnight/v1/webhooks/{endpoint['id']}/test")
            await received(receiver, count)
            return receiver.requests[-1].headers["webhook-signature"].split(" ")

        assert len(await signatures()) == 1
        renewed = await call(service, "POST", rotate)
        assert renewed.keys() == {"signing_secret"}
        assert renewed["signing_secret"] != endpoint["signing_secret"]
        assert len(await signatures()) == 2
        service.advance(25 * HOUR)
        assert len(await signatures()) == 1
        await call(service, "POST", rotate, {"overlap_s": 0})
        assert len(await signatures()) == 1
        for overlap_s in (-1, MAX_OVERLAP_S + 1):
            body = msgspec.json.encode({"overlap_s": overlap_s})
            refused = await service.api.call("POST", rotate, body, HEADERS)
            assert refused.status == 400 and str(MAX_OVERLAP_S) in refused.error["message"]


async def test_the_secret_is_shown_once_and_stored_nowhere(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url)
        secret = endpoint.pop("signing_secret")
        batch_id = await service.api.created(requests(1))
        await service.api.ended(batch_id)
        await received(receiver, 1)
        assert await call(service, "GET", f"{LIST}/{endpoint['id']}") == endpoint
        assert (await call(service, "GET", LIST))["data"] == [endpoint]
        changed = await call(service, "POST", f"{LIST}/{endpoint['id']}", {"name": "new"})
    assert changed["name"] == "new" and "signing_secret" not in changed
    text = secret.removeprefix("whsec_").encode()
    for file in service.settings.data.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert text not in content and b64decode(text) not in content, file
    assert secret not in caplog.text and receiver.url not in caplog.text


async def test_without_its_beta_the_api_does_not_exist(service: Service) -> None:
    missing = await service.api.call("GET", "/v1/organizations/no-such-thing")
    for method, path in (
        ("GET", LIST), ("POST", LIST), ("GET", f"{LIST}/whep_1"), ("POST", f"{LIST}/whep_1"),
        ("DELETE", f"{LIST}/whep_1"), ("POST", f"{LIST}/whep_1/regenerate_signing_secret"),
    ):  # fmt: skip
        found = await service.api.call(method, path, b"{}" if method == "POST" else None)
        assert (found.status, found.error) == (404, missing.error)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "missing required field `url`"),
        ({"url": "https://h/"}, "missing required field `enabled_events`"),
        ({"url": "https://h/", "enabled_events": []}, "enabled_events: empty"),
        (
            {"url": "https://h/", "enabled_events": ["message_batch.ended", "session.idled"]},
            "enabled_events.1: 'session.idled' is no event of this service",
        ),
        ({"url": "https://h/", "enabled_events": ["message_batch.ended"], "x": 1}, "`x`"),
        ({"url": "ftp://h/", "enabled_events": ["message_batch.ended"]}, "url: must be"),
        ({"url": "https://10.0.0.1/", "enabled_events": ["message_batch.ended"]}, "not public"),
        ({"url": "http://8.8.8.8/", "enabled_events": ["message_batch.ended"]}, "not https"),
        (
            {"url": "https://h/", "enabled_events": ["message_batch.ended"], "name": "n" * 257},
            "name: 257 characters, at most 256",
        ),
        (
            {"url": "https://h/", "enabled_events": ["message_batch.ended"], "name": "\0"},
            "name: must not hold the character NUL",
        ),
        (
            {
                "url": "https://h/",
                "enabled_events": ["message_batch.ended"],
                "description": "d" * 1_025,
            },
            "description: 1025 characters, at most 1024",
        ),
    ],
)
async def test_a_bad_endpoint_is_refused_with_the_field_at_fault(
    service: Service, body: Mapping[str, object], message: str
) -> None:
    sent = msgspec.json.encode(body)
    found = await service.api.call("POST", LIST, sent, HEADERS)
    assert found.status == 400 and found.error["type"] == "invalid_request_error"
    assert message in found.error["message"]
    assert (await call(service, "GET", LIST))["data"] == []


async def test_http_is_refused_where_no_network_is_open(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as service:
        body = {"url": "http://receiver.example/", "enabled_events": ["message_batch.ended"]}
        found = await service.api.call("POST", LIST, msgspec.json.encode(body), HEADERS)
    assert found.status == 400 and found.error["message"] == "url: it is not https"


async def test_only_what_is_sent_is_changed(service: Service) -> None:
    endpoint = await created(service, "https://example.com/a", name="n", description="d")
    endpoint.pop("signing_secret")
    path = f"{LIST}/{endpoint['id']}"
    service.advance(HOUR)
    now = (START + HOUR).isoformat(timespec="microseconds")
    for change in (
        {"url": "https://example.com/b"},
        {"enabled_events": ["message_batch.deleted", "message_batch.ended"]},
        {"name": ""},
        {"description": "other"},
        {"state": "disabled"},
    ):
        found = await call(service, "POST", path, change)
        endpoint |= change | {"updated_at": now}
        # In an order of their own.
        endpoint["enabled_events"] = [e for e in EVENT_TYPES if e in endpoint["enabled_events"]]
        assert found == endpoint
    assert await call(service, "POST", path, {"enabled_events": []}) == endpoint
    for bad in ({"state": "off"}, {"url": "x"}, {"name": None}, {"id": "whep_2"}):
        sent = msgspec.json.encode(bad)
        assert (await service.api.call("POST", path, sent, HEADERS)).status == 400
    assert await call(service, "GET", path) == endpoint


async def test_a_disabled_endpoint_is_neither_tested_nor_redelivered_to(service: Service) -> None:
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        await service.api.ended(await service.api.created(requests(1)))
        entry = await settled(service, endpoint["id"], state="acknowledged")
        await call(service, "POST", f"{LIST}/{endpoint['id']}", {"state": "disabled"})
        base = f"/overnight/v1/webhooks/{endpoint['id']}"
        for path in (f"{base}/test", f"{base}/deliveries/{entry['event_id']}/redeliver"):
            found = await service.api.call("POST", path)
            assert found.status == 400 and "is disabled" in found.error["message"]


async def test_endpoints_are_listed_as_documented(service: Service) -> None:
    ids = []
    for number in range(5):
        ids.append((await created(service, f"https://example.com/{number}"))["id"])
        service.advance(timedelta(seconds=1))

    async def page(query: str) -> tuple[list[int], bool]:
        found = await call(service, "GET", f"{LIST}?{query}")
        numbers = [ids.index(endpoint["id"]) for endpoint in found["data"]]
        shown = [endpoint["id"] for endpoint in found["data"]]
        assert found["first_id"] == (shown[0] if shown else None)
        assert found["last_id"] == (shown[-1] if shown else None)
        return numbers, found["has_more"]

    assert await page("") == ([4, 3, 2, 1, 0], False)
    assert await page("limit=0") == ([4, 3, 2, 1, 0], False)
    assert await page("limit=2") == ([4, 3], True)
    assert await page("order=asc&limit=2") == ([0, 1], True)
    assert await page(f"limit=2&after_id={ids[3]}") == ([2, 1], True)
    assert await page(f"limit=2&after_id={ids[1]}") == ([0], False)
    assert await page(f"after_id={ids[0]}") == ([], False)
    # The first ones before it, not those next to it.
    assert await page(f"limit=2&before_id={ids[1]}") == ([4, 3], True)
    assert await page(f"limit=3&before_id={ids[1]}") == ([4, 3, 2], False)
    for query, status in (
        ("limit=101", 400), ("limit=x", 400), ("order=up", 400), ("after_id=whep_1", 404),
        (f"after_id={ids[0]}&before_id={ids[1]}", 400),
    ):  # fmt: skip
        assert (await service.api.call("GET", f"{LIST}?{query}", None, HEADERS)).status == status


async def test_a_workspace_has_its_own_endpoints_and_events(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, webhooks_allow=LOOPBACK, api_keys=("one=k1", "two=k2"))
    async with (
        serving(settings) as service,
        receiving([OK]) as mine,
        receiving([OK]) as theirs,
        Api(service.base_url, headers={"x-api-key": "k1"}) as one,
        Api(service.base_url, headers={"x-api-key": "k2"}) as two,
    ):
        endpoint = await created(one, mine.url)
        await created(two, theirs.url)
        batch_id = await one.created(requests(1))
        await one.ended(batch_id)
        (event,) = await received(mine, 1)
        assert event["data"]["workspace_id"] == workspace_id("one")
        assert theirs.requests == []
        base = f"/overnight/v1/webhooks/{endpoint['id']}"
        for method, path in (
            ("GET", f"{LIST}/{endpoint['id']}"), ("POST", f"{LIST}/{endpoint['id']}"),
            ("DELETE", f"{LIST}/{endpoint['id']}"), ("GET", f"{base}/deliveries"),
            ("POST", f"{LIST}/{endpoint['id']}/regenerate_signing_secret"),
            ("POST", f"{base}/test"), ("GET", f"{base}/deliveries/{event['id']}"),
            ("POST", f"{base}/deliveries/{event['id']}/redeliver"),
        ):  # fmt: skip
            found = await two.call(method, path, b"{}" if method == "POST" else None, HEADERS)
            assert found.status == 404, path
            assert "not found" in found.error["message"]
        assert (await one.call("GET", f"{base}/deliveries")).status == 200
        nobody = await service.api.call("GET", LIST, None, HEADERS)
        assert nobody.status == 401


async def test_a_deleted_endpoint_gets_nothing_more(service: Service) -> None:
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url)
        gone = await call(service, "DELETE", f"{LIST}/{endpoint['id']}")
        assert gone == {"id": endpoint["id"], "type": "webhook_endpoint_deleted"}
        again = await service.api.call("DELETE", f"{LIST}/{endpoint['id']}", None, HEADERS)
        assert again.status == 404
        batch_id = await service.api.created(requests(1))
        await service.api.ended(batch_id)
        await call(service, "GET", LIST)
    assert receiver.connections == set() and receiver.requests == []


async def test_a_new_secret_of_the_server_disables_what_it_cannot_sign(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, webhooks_allow=LOOPBACK, server_secret="a" * 32)
    async with receiving([OK]) as receiver:
        async with serving(settings) as service:
            endpoint = await created(service, receiver.url)
        other = msgspec.structs.replace(settings, server_secret="b" * 32)
        async with serving(other) as service:
            await service.api.ended(await service.api.created(requests(1)))
            assert "rotate it" in await disabled(service, endpoint["id"])
            assert receiver.requests == []
            path = f"{LIST}/{endpoint['id']}"
            await call(service, "POST", f"{path}/regenerate_signing_secret")
            await call(service, "POST", path, {"state": "enabled"})
            await received(receiver, 1)


async def test_the_log_is_paged_and_forgotten(service: Service) -> None:
    async with receiving([OK]) as receiver:
        endpoint = await created(service, receiver.url, enabled_events=["message_batch.ended"])
        for _ in range(3):
            await service.api.ended(await service.api.created(requests(1)))
        await received(receiver, 3)
        await settled(service, endpoint["id"], state="acknowledged")
        log = await log_of(service, endpoint["id"])
        path = f"/overnight/v1/webhooks/{endpoint['id']}/deliveries"
        first = await call(service, "GET", f"{path}?limit=2")
        assert first["has_more"] and first["data"] == log[:0:-1]
        second = await call(service, "GET", f"{path}?limit=2&after_id={first['last_id']}")
        assert not second["has_more"] and second["data"] == log[:1]
        newer = await call(service, "GET", f"{path}?before_id={second['first_id']}")
        assert newer["data"] == first["data"]
        for query, status in (("limit=101", 400), ("state=lost", 400), ("after_id=whe_1", 404)):
            assert (await service.api.call("GET", f"{path}?{query}")).status == status
        service.advance(31 * DAY)

        async def is_empty() -> bool:
            return await log_of(service, endpoint["id"]) == []

        await until(is_empty, what="the log forgotten")


def described(request: Received) -> str:
    return f"{request.method} {request.target}"


@pytest.mark.parametrize("ending", [Step.RESET, Step.CLOSE])
async def test_a_broken_answer_is_repeated(service: Service, ending: Step) -> None:
    async with receiving([ending], [OK]) as receiver:
        endpoint = await created(service, receiver.url + "/hook?x=1", name="flaky")
        await service.api.ended(await service.api.created(requests(1)))
        await settled(service, endpoint["id"], attempts=1, under_way=False)
        service.advance(timedelta(seconds=7))
        await received(receiver, 2)
    assert {described(request) for request in receiver.requests} == {"POST /hook?x=1"}
