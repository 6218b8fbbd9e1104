"""Webhooks without any I/O: signatures, what an answer means, when and what is sent next."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anthropic import Anthropic
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from standardwebhooks import WebhookVerificationError
from tests.support.service import START

from overnight.access.secret import ServerSecret
from overnight.model import Delivery, Event, EventId, Webhook, WebhookId, WorkspaceId
from overnight.store.outbox import Key, Line
from overnight.webhooks.delivery import chosen
from overnight.webhooks.judgement import (
    JITTER,
    MAX_RETRY_AFTER_S,
    WAITS_S,
    Acknowledged,
    Failed,
    Refused,
    judge,
    wait_s,
)
from overnight.webhooks.signing import SecretLost, headers, new_seed, signing_secret
from overnight.wire.events import event_body

SERVER = ServerSecret(b"s" * 32)
WEBHOOK_ID = WebhookId("whep_01a")
EVENT = Event(
    number=1,
    id=EventId("whe_01a"),
    type="message_batch.ended",
    subject_id="msgbatch_01a",
    workspace_id=WorkspaceId("wrkspc_01a"),
    created_at=START,
)
BODY = event_body(EVENT, organization_id="org")
FAILED = Failed("the receiver answered 500", 500)
SDK = Anthropic(api_key="none")


def a_webhook(**changes: Any) -> Webhook:
    webhook = Webhook(
        id=WEBHOOK_ID,
        workspace_id=EVENT.workspace_id,
        url="https://example.com/",
        events=("message_batch.ended",),
        created_at=START,
        updated_at=START,
        seed=new_seed(SERVER, WEBHOOK_ID),
    )
    return replace(webhook, **changes)


def signed(webhook: Webhook, *, now: datetime | None = None) -> dict[str, str]:
    return headers(SERVER, webhook, EVENT.id, BODY, now=now or datetime.now(UTC))


def unwrap(found: dict[str, str], secret: str, body: bytes = BODY) -> Any:
    return SDK.beta.webhooks.unwrap(body.decode(), headers=found, key=secret)


def secret_of(seed: bytes) -> str:
    return signing_secret(SERVER, WEBHOOK_ID, seed)


def test_the_sdk_unwraps_what_was_signed() -> None:
    webhook = a_webhook()
    found = signed(webhook)
    event = unwrap(found, secret_of(webhook.seed))
    assert (event.type, event.id, event.created_at) == ("event", found["webhook-id"], START)
    assert (event.data.type, event.data.id) == ("message_batch.ended", "msgbatch_01a")
    assert (event.data.organization_id, event.data.workspace_id) == ("org", "wrkspc_01a")


def test_the_sdk_refuses_another_secret_another_body_and_another_time() -> None:
    webhook = a_webhook()
    secret = secret_of(webhook.seed)
    found = signed(webhook)
    with pytest.raises(WebhookVerificationError):
        unwrap(found, secret_of(new_seed(SERVER, WEBHOOK_ID)))
    with pytest.raises(WebhookVerificationError):
        unwrap(found, secret, BODY.replace(b"ended", b"endet"))
    with pytest.raises(WebhookVerificationError):
        unwrap(found | {"webhook-id": "whe_01b"}, secret)
    with pytest.raises(WebhookVerificationError, match="too old"):
        unwrap(signed(webhook, now=datetime.now(UTC) - timedelta(minutes=6)), secret)


def test_a_secret_is_32_bytes_behind_its_prefix_and_in_no_row() -> None:
    webhook = a_webhook()
    secret = secret_of(webhook.seed)
    assert secret.startswith("whsec_") and len(secret) == len("whsec_") + 44
    assert secret == secret_of(webhook.seed) != secret_of(new_seed(SERVER, WEBHOOK_ID))
    assert signing_secret(SERVER, WEBHOOK_ID, webhook.seed) not in repr(webhook)


def test_the_secret_before_a_rotation_signs_too_until_its_time_is_over() -> None:
    now = datetime.now(UTC)
    old, new = new_seed(SERVER, WEBHOOK_ID), new_seed(SERVER, WEBHOOK_ID)
    webhook = a_webhook(seed=new, previous_seed=old, previous_until=now + timedelta(hours=1))
    found = signed(webhook, now=now)
    assert len(found["webhook-signature"].split(" ")) == 2
    for seed in (old, new):
        assert unwrap(found, secret_of(seed)).id == EVENT.id
    over = replace(webhook, previous_until=now)
    assert unwrap(signed(over, now=now), secret_of(new)).id == EVENT.id
    with pytest.raises(WebhookVerificationError):
        unwrap(signed(over, now=now), secret_of(old))


def test_another_secret_of_the_server_signs_nothing() -> None:
    webhook, other = a_webhook(), ServerSecret(b"o" * 32)
    now = datetime.now(UTC)
    with pytest.raises(SecretLost):
        headers(other, webhook, EVENT.id, BODY, now=now)
    with pytest.raises(SecretLost):
        signing_secret(SERVER, WebhookId("whep_01b"), webhook.seed)
    # After a rotation only the new secret signs: the one before is lost.
    rotated = replace(
        webhook,
        seed=new_seed(other, WEBHOOK_ID),
        previous_seed=webhook.seed,
        previous_until=now + timedelta(hours=1),
    )
    found = headers(other, rotated, EVENT.id, BODY, now=now)
    assert unwrap(found, signing_secret(other, WEBHOOK_ID, rotated.seed)).id == EVENT.id
    assert " " not in found["webhook-signature"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Acknowledged) for status in (200, 201, 202, 204, 299)),
        *((status, Refused) for status in (300, 301, 302, 303, 307, 308, 399, 410)),
        *((status, Failed) for status in (400, 401, 403, 404, 408, 409, 411, 429, 500, 503, 599)),
    ],
)
def test_what_an_answer_means(status: int, kind: type) -> None:
    outcome = judge(status)
    assert type(outcome) is kind and outcome.status == status
    assert isinstance(outcome, Acknowledged) or str(status) in outcome.reason


def a_delivery(number: int = 1, **changes: Any) -> Delivery:
    changes.setdefault("event", replace(EVENT, number=number))
    return replace(Delivery(webhook_id=WEBHOOK_ID, event=EVENT, state="pending"), **changes)


@given(st.integers(0, 20), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_waits_grow_and_end(tries: int, jitter: float, asked_s: float | None) -> None:
    failed = FAILED._replace(retry_after_s=asked_s)
    wait = wait_s(a_delivery(tries=tries), failed, jitter=jitter)
    if tries >= len(WAITS_S):
        assert wait is None
        return
    assert wait is not None
    assert wait >= WAITS_S[tries]
    asked = min(asked_s or 0, MAX_RETRY_AFTER_S)
    assert asked <= wait <= max(WAITS_S[tries] * (1 + JITTER), asked)


def test_the_attempts_are_spread_over_three_days() -> None:
    assert list(WAITS_S) == sorted(WAITS_S)
    assert timedelta(days=2.5) < timedelta(seconds=sum(WAITS_S)) < timedelta(days=3)


def test_a_refused_delivery_waits_for_its_endpoint_and_a_test_for_nothing() -> None:
    assert wait_s(a_delivery(tries=99), Refused("redirect", 302), jitter=0) == WAITS_S[-1]
    test = a_delivery(event=replace(EVENT, type="webhook_endpoint.test"))
    assert wait_s(test, FAILED, jitter=0) is None
    assert wait_s(test, Refused("redirect", 302), jitter=0) is None


names = st.sampled_from(["whep_1", "whep_2", "whep_3"])
subjects = st.sampled_from(["msgbatch_1", "msgbatch_2", "msgbatch_3"])
found_ones = st.lists(
    st.builds(
        lambda number, webhook, subject, tries: a_delivery(
            webhook_id=WebhookId(webhook),
            tries=tries,
            event=replace(EVENT, number=number, subject_id=subject),
        ),
        st.integers(1, 20), names, subjects, st.integers(0, 2),
    ),
    max_size=20,
    unique_by=lambda delivery: (delivery.webhook_id, delivery.event.number),
)  # fmt: skip


@given(found_ones, st.dictionaries(names.map(WebhookId), st.integers(0, 6)), st.integers(0, 16))
def test_what_is_chosen_keeps_to_room_places_and_order(
    found: list[Delivery], under_way: dict[WebhookId, int], room: int
) -> None:
    fresh = [delivery for delivery in found if not delivery.tries]
    unsettled: dict[Line, int] = {}
    for delivery in fresh:
        line = Line(delivery.webhook_id, delivery.event.subject_id)
        number = delivery.event.number
        unsettled[line] = min(number, unsettled.get(line, number))
    keys = chosen(found, unsettled, under_way=under_way, room=room)
    assert len(keys) == len(set(keys)) <= room
    counts = Counter(key.webhook_id for key in keys)
    assert all(under_way.get(webhook, 0) + count <= 4 for webhook, count in counts.items())
    by_key = {Key(one.webhook_id, one.event.number): one for one in found}
    lines = [
        Line(key.webhook_id, by_key[key].event.subject_id) for key in keys if not by_key[key].tries
    ]
    assert len(lines) == len(set(lines)), "two first attempts of one subject at once"
    assert all(
        by_key[key].tries
        or unsettled[Line(key.webhook_id, by_key[key].event.subject_id)] == key.event_number
        for key in keys
    )
    free = [one for one in found if under_way.get(one.webhook_id, 0) < 4]
    may = [
        one
        for one in free
        if one.tries or unsettled[Line(one.webhook_id, one.event.subject_id)] == one.event.number
    ]
    assert bool(keys) == bool(may and room), "somebody waits for nothing"
