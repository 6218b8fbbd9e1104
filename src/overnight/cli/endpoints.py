"""The API of webhooks as the command line uses it."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from overnight.cli.client import Client
from overnight.errors import InvalidRequest, NotFound
from overnight.wire.events import DeliveryObject, DeliveryPage
from overnight.wire.webhooks import (
    BETA,
    MAX_LIMIT,
    DeletedEndpoint,
    Endpoint,
    EndpointPage,
    NewEndpoint,
    SigningSecret,
)

_ENDPOINTS = "/v1/organizations/webhooks"
_EXTENSIONS = "/overnight/v1/webhooks"
_POLL_S = 0.1

Row = TypeVar("Row")


class Endpoints:
    """The webhook endpoints of one workspace. Every method raises an OvernightError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, fields: Mapping[str, Any]) -> NewEndpoint:
        return self._client.post(_ENDPOINTS, fields, NewEndpoint, beta=BETA)

    def all(self) -> list[Endpoint]:
        """Give all endpoints, the newest first; there are no more than one page holds."""
        return self._client.get(f"{_ENDPOINTS}?limit={MAX_LIMIT}", EndpointPage, beta=BETA).data

    def find(self, text: str) -> Endpoint:
        """Find the endpoint that has this id, or whose id begins so."""
        return _only(
            {row.id: row for row in self.all()},
            text,
            noun="webhook endpoint",
            prefix="whep_01",
            hint="overnight webhooks list",
        )

    def update(self, webhook_id: str, changes: Mapping[str, Any]) -> Endpoint:
        return self._client.post(_path(webhook_id), changes, Endpoint, beta=BETA)

    def delete(self, webhook_id: str) -> DeletedEndpoint:
        return self._client.remove(_path(webhook_id), DeletedEndpoint, beta=BETA)

    def rotate(self, webhook_id: str, *, overlap_s: int) -> SigningSecret:
        path = f"{_path(webhook_id)}/regenerate_signing_secret"
        return self._client.post(path, {"overlap_s": overlap_s}, SigningSecret, beta=BETA)

    def deliveries(
        self, webhook_id: str, *, limit: int, state: str | None = None
    ) -> list[DeliveryObject]:
        """Give up to `limit` deliveries, the newest event first."""
        found: list[DeliveryObject] = []
        query = {"state": state} if state else {}
        while len(found) < limit:
            query["limit"] = str(min(limit - len(found), MAX_LIMIT))
            path = f"{_log(webhook_id)}?{urlencode(query)}"
            page = self._client.get(path, DeliveryPage)
            found += page.data
            if not page.has_more or page.last_id is None:
                break
            query["after_id"] = page.last_id
        return found

    def event(self, webhook_id: str, text: str) -> str:
        """Give the id of the event that `text` is, or begins; of the newest hundred."""
        rows = self.deliveries(webhook_id, limit=MAX_LIMIT)
        found: str = _only(
            {row.event_id: row.event_id for row in rows},
            text,
            noun="event",
            prefix="whe_01",
            hint=f"overnight webhooks deliveries {webhook_id}",
        )
        return found

    def redeliver(self, webhook_id: str, event_id: str) -> DeliveryObject:
        path = f"{_log(webhook_id)}/{quote(event_id, safe='')}/redeliver"
        return self._client.post(path, {}, DeliveryObject)

    def test(self, webhook_id: str) -> DeliveryObject:
        return self._client.post(
            f"{_EXTENSIONS}/{quote(webhook_id, safe='')}/test", {}, DeliveryObject
        )

    def outcome(self, delivery: DeliveryObject, *, timeout_s: float) -> DeliveryObject:
        """Wait until a delivery is no longer pending or the time is up; give what it is then."""
        deadline = time.monotonic() + timeout_s
        path = f"{_log(delivery.webhook_id)}/{quote(delivery.event_id, safe='')}"
        while delivery.state == "pending" and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            delivery = self._client.get(path, DeliveryObject)
        return delivery


def _path(webhook_id: str) -> str:
    return f"{_ENDPOINTS}/{quote(webhook_id, safe='')}"


def _log(webhook_id: str) -> str:
    return f"{_EXTENSIONS}/{quote(webhook_id, safe='')}/deliveries"


def _only(rows: Mapping[str, Row], text: str, *, noun: str, prefix: str, hint: str) -> Row:
    """Give the one row whose id is a text, or begins with it, with or without the prefix."""
    if text in rows:
        return rows[text]
    found = [row_id for row_id in rows if row_id.startswith((text, prefix + text))]
    if not found:
        raise NotFound(f"{text}: no {noun} has this id", hint=hint)
    if len(found) > 1:
        raise InvalidRequest(
            f"{text}: {len(found)} ids begin so: {_listed(found)}", hint="give more of the id"
        )
    return rows[found[0]]


def _listed(ids: Iterable[str]) -> str:
    first = list(ids)
    return ", ".join(first[:5]) + (", …" if len(first) > 5 else "")
