"""What we add to webhooks: the log of deliveries, redelivery on demand, and a test."""

from typing import Any, cast, get_args

from litestar import Response, get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from overnight.errors import InvalidRequest
from overnight.http import audit
from overnight.http.service import AService, HttpRequest
from overnight.http.webhooks import find_webhook
from overnight.model import Delivery, DeliveryState, Webhook
from overnight.store import outbox
from overnight.wire.events import (
    DeliveryObject,
    DeliveryPage,
    delivery_object,
    unknown_delivery,
)
from overnight.wire.paging import PageQuery, read_page_query
from overnight.wire.webhooks import MAX_LIMIT

_ALL = "/overnight/v1/webhooks/{webhook_id:str}/deliveries"
_ONE = _ALL + "/{event_id:str}"


@get(_ALL)
async def list_deliveries(
    request: HttpRequest, webhook_id: FromPath[str], service: AService
) -> Response[DeliveryPage]:
    """List the deliveries to an endpoint, the newest event first."""
    query = read_page_query(request.query_params, max_limit=MAX_LIMIT)
    state = _state(request.query_params.get("state"))
    webhook = await find_webhook(request, service, webhook_id)
    found, has_more = await service.database.read(lambda c: _page(c, webhook, query, state))
    shown = [delivery_object(delivery) for delivery in found]
    page = DeliveryPage(
        data=shown,
        has_more=has_more,
        first_id=shown[0].event_id if shown else None,
        last_id=shown[-1].event_id if shown else None,
    )
    return Response(page, media_type="application/json")


@get(_ONE)
async def get_delivery(
    request: HttpRequest, webhook_id: FromPath[str], event_id: FromPath[str], service: AService
) -> Response[DeliveryObject]:
    """Show how the delivery of one event stands."""
    webhook = await find_webhook(request, service, webhook_id)
    delivery = await service.database.read(lambda c: _found(c, webhook, event_id))
    return Response(delivery_object(delivery), media_type="application/json")


@post(_ONE + "/redeliver", status_code=200)
async def redeliver(
    request: HttpRequest, webhook_id: FromPath[str], event_id: FromPath[str], service: AService
) -> Response[DeliveryObject]:
    """Send an event again, also one that was acknowledged; one that is under way goes on."""
    webhook = _enabled(await find_webhook(request, service, webhook_id))
    now = service.clock.now()

    def again(connection: Connection) -> Delivery:
        outbox.redeliver(connection, _found(connection, webhook, event_id), now=now)
        return _found(connection, webhook, event_id)

    delivery = await audit.done(request, service, again, details={"event_id": event_id})
    service.wakes.events.ring()
    return Response(delivery_object(delivery), media_type="application/json")


@post("/overnight/v1/webhooks/{webhook_id:str}/test", status_code=200)
async def test_webhook(
    request: HttpRequest, webhook_id: FromPath[str], service: AService
) -> Response[DeliveryObject]:
    """Send an event that says nothing, once; its delivery tells what came of it."""
    webhook = _enabled(await find_webhook(request, service, webhook_id))
    now = service.clock.now()

    def begin(connection: Connection) -> Delivery:
        event_id = outbox.record_test(connection, webhook, at=now)
        return _found(connection, webhook, event_id)

    delivery = await audit.done(request, service, begin)
    service.wakes.events.ring()
    return Response(delivery_object(delivery), media_type="application/json")


def _page(
    connection: Connection, webhook: Webhook, query: PageQuery, state: DeliveryState | None
) -> tuple[list[Delivery], bool]:
    bounds: dict[str, Any] = {}
    for bound, event_id in (("after", query.after_id), ("before", query.before_id)):
        if event_id is not None:
            bounds[bound] = _found(connection, webhook, event_id).event.number
    return outbox.page(connection, webhook.id, limit=query.limit, state=state, **bounds)


def _found(connection: Connection, webhook: Webhook, event_id: str) -> Delivery:
    delivery = outbox.find(connection, webhook.id, event_id)
    if delivery is None:
        raise unknown_delivery(event_id)
    return delivery


def _enabled(webhook: Webhook) -> Webhook:
    if webhook.state != "enabled":
        raise InvalidRequest(
            f"Webhook endpoint {webhook.id} is disabled: nothing is sent to it",
            hint="enable it; what is pending is then sent by itself",
        )
    return webhook


def _state(text: str | None) -> DeliveryState | None:
    if text and text not in get_args(DeliveryState):
        raise InvalidRequest(
            f"state: {text!r}: Input should be {', '.join(get_args(DeliveryState))}"
        )
    return cast(DeliveryState, text) if text else None


routes = [list_deliveries, get_delivery, redeliver, test_webhook]
