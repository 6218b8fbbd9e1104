"""Webhook endpoints as they travel, and what is asked of them.

Source: protocol notes §14; types of SDK 2.12 (`client.beta.organization.webhooks`, read 2026-11).
The event types are ours: the hosted service has no webhook for batches.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from overnight.errors import InvalidRequest, NotFound
from overnight.model import BatchEvent, Webhook
from overnight.targets import MAX_URL
from overnight.wire.batches import moment
from overnight.wire.paging import read_page_query
from overnight.wire.schema import rule
from overnight.wire.syntax import read_json

BETA = "webhooks-2026-10-07"
EVENT_TYPES: tuple[BatchEvent, ...] = get_args(BatchEvent)
MAX_LIMIT = 100
MAX_NAME = 256
MAX_DESCRIPTION = 1_024
MAX_OVERLAP_S = 7 * 86_400

Order = Literal["asc", "desc"]
Body = TypeVar("Body", bound=msgspec.Struct)
_Url = Annotated[str, rule(maxLength=MAX_URL, pattern="^https?://")]
_EventName = Annotated[str, rule(enum=EVENT_TYPES)]
_Name = Annotated[str, rule(maxLength=MAX_NAME)]
_Description = Annotated[str, rule(maxLength=MAX_DESCRIPTION)]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint; every key is always present."""

    # Of the endpoint.
    id: str
    # When it was created.
    created_at: str
    # Notes about the endpoint; may be empty.
    description: str
    # Why the service disabled it; empty while enabled, and when its owner did it.
    disabled_reason: str
    # Event types that are delivered to it.
    enabled_events: list[BatchEvent]
    # A short label; may be empty.
    name: str
    # Whether events are sent to it.
    state: Literal["disabled", "enabled"]
    # When it was last changed.
    updated_at: str
    # Where events are sent.
    url: str


class NewEndpoint(Endpoint, frozen=True, kw_only=True):
    """An endpoint with its secret, which no other answer shows."""

    # What deliveries are signed with; shown once.
    signing_secret: str


class EndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[Endpoint]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    # Of the endpoint that is gone.
    id: str
    # Always `webhook_endpoint_deleted`.
    type: Literal["webhook_endpoint_deleted"] = "webhook_endpoint_deleted"


class SigningSecret(msgspec.Struct, frozen=True, kw_only=True):
    # What deliveries are signed with from now on; shown once.
    signing_secret: str


class CreateEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a create call."""

    url: _Url
    enabled_events: Annotated[list[_EventName], rule(minItems=1)]
    name: _Name = ""
    description: _Description = ""


class UpdateEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an update: only what is sent is changed."""

    url: _Url | msgspec.UnsetType = msgspec.UNSET
    enabled_events: list[_EventName] | msgspec.UnsetType = msgspec.UNSET
    name: _Name | msgspec.UnsetType = msgspec.UNSET
    description: _Description | msgspec.UnsetType = msgspec.UNSET
    state: Literal["disabled", "enabled"] | msgspec.UnsetType = msgspec.UNSET


class RotateSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a rotation, which SDKs leave out."""

    # How long the old secret signs beside the new one; 0 ends it now.
    overlap_s: Annotated[int, rule(minimum=0, maximum=MAX_OVERLAP_S)] = 86_400


class EndpointQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of the list of endpoints."""

    limit: int
    order: Order
    after_id: str | None
    before_id: str | None


def require_beta(names: tuple[str, ...]) -> None:
    """Answer as if nothing were there unless the beta is asked for. Raises: NotFound."""
    if BETA not in names:
        raise NotFound("Not found")


def endpoint(webhook: Webhook) -> Endpoint:
    return Endpoint(
        id=webhook.id,
        created_at=moment(webhook.created_at),
        description=webhook.description,
        disabled_reason=webhook.disabled_reason,
        enabled_events=list(webhook.events),
        name=webhook.name,
        state=webhook.state,
        updated_at=moment(webhook.updated_at),
        url=webhook.url,
    )


def new_endpoint(webhook: Webhook, signing_secret: str) -> NewEndpoint:
    """Show an endpoint that was just made, with its secret."""
    shown = msgspec.structs.asdict(endpoint(webhook))
    return NewEndpoint(**shown, signing_secret=signing_secret)


def read_body(body: bytes, kind: type[Body]) -> Body:
    """Read the body of a call. Raises: InvalidRequest that names the field."""
    fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
    return read_json(body, kind, hint=f"a JSON object with {fields}")


def read_events(names: Sequence[str]) -> tuple[BatchEvent, ...]:
    """Check event types, each once. Raises: InvalidRequest for one that does not exist."""
    for position, name in enumerate(names):
        if name not in EVENT_TYPES:
            raise InvalidRequest(
                f"enabled_events.{position}: {name!r} is no event of this service; "
                f"known are {', '.join(EVENT_TYPES)}"
            )
    return tuple(event for event in EVENT_TYPES if event in names)


def read_text(text: str, field: str, *, at_most: int) -> str:
    """Check a label or a note. Raises: InvalidRequest."""
    if len(text) > at_most:
        raise InvalidRequest(f"{field}: {len(text)} characters, at most {at_most}")
    if "\0" in text:
        raise InvalidRequest(f"{field}: must not hold the character NUL")
    return text


def read_overlap_s(asked: RotateSecret) -> int:
    """Check how long an old secret is to be used. Raises: InvalidRequest."""
    if not 0 <= asked.overlap_s <= MAX_OVERLAP_S:
        raise InvalidRequest(f"overlap_s: {asked.overlap_s}, must be from 0 to {MAX_OVERLAP_S}")
    return asked.overlap_s


def read_endpoint_query(query: Mapping[str, str]) -> EndpointQuery:
    """Read the query of the list; limit 0 means the default. Raises: InvalidRequest."""
    order = query.get("order") or "desc"
    if order not in get_args(Order):
        raise InvalidRequest(f"order: {order!r}: Input should be 'asc' or 'desc'")
    limit = query.get("limit")
    page = read_page_query(
        {**query, "limit": "" if limit == "0" else limit or ""}, max_limit=MAX_LIMIT
    )
    return EndpointQuery(
        limit=page.limit,
        order="asc" if order == "asc" else "desc",
        after_id=page.after_id,
        before_id=page.before_id,
    )


def endpoint_page(found: Sequence[Webhook], query: EndpointQuery) -> EndpointPage:
    """Cut one page out of all endpoints of a workspace, given the newest first.

    `before_id` gives the first ones of the list before that endpoint, as documented, not those
    next to it. Raises: NotFound for a cursor that is not in the list.
    """
    listed = list(found) if query.order == "desc" else list(found)[::-1]
    if query.after_id:
        listed = listed[_position(listed, query.after_id) + 1 :]
    elif query.before_id:
        listed = listed[: _position(listed, query.before_id)]
    shown = [endpoint(webhook) for webhook in listed[: query.limit]]
    return EndpointPage(
        data=shown,
        has_more=len(listed) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


def unknown_endpoint(webhook_id: str) -> NotFound:
    return NotFound(f"Webhook endpoint {webhook_id} not found.")


def _position(listed: Sequence[Webhook], webhook_id: str) -> int:
    for position, webhook in enumerate(listed):
        if webhook.id == webhook_id:
            return position
    raise unknown_endpoint(webhook_id)
