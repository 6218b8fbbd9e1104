"""Webhook endpoints, by the API that the hosted service has for its other webhooks.

Here they belong to the workspace of the key.
"""

from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath
from msgspec.structs import replace
from sqlalchemy import Connection

from overnight.errors import InvalidRequest
from overnight.http import audit
from overnight.http.body import whole_body
from overnight.http.service import AService, HttpRequest, Service, workspace_of
from overnight.model import Webhook, WorkspaceId, new_webhook_id
from overnight.store import outbox, webhooks
from overnight.targets import admit, read_networks
from overnight.webhooks.signing import new_seed, signing_secret
from overnight.wire.headers import api_version, betas
from overnight.wire.webhooks import (
    EVENT_TYPES,
    MAX_DESCRIPTION,
    MAX_NAME,
    CreateEndpoint,
    DeletedEndpoint,
    Endpoint,
    EndpointPage,
    NewEndpoint,
    RotateSecret,
    SigningSecret,
    UpdateEndpoint,
    endpoint,
    endpoint_page,
    new_endpoint,
    read_body,
    read_endpoint_query,
    read_events,
    read_overlap_s,
    read_text,
    require_beta,
    unknown_endpoint,
)

MAX_BODY_BYTES = 64 * 1024

Shown = TypeVar("Shown")

_LIST = "/v1/organizations/webhooks"
_ONE = "/v1/organizations/webhooks/{webhook_id:str}"


@post(_LIST, status_code=200, request_max_body_size=None)
async def create_webhook(request: HttpRequest, service: AService) -> Response[NewEndpoint]:
    """Create an endpoint; its signing secret is in this answer and in no other."""
    _check_headers(request)
    asked = read_body(await whole_body(request, max_bytes=MAX_BODY_BYTES), CreateEndpoint)
    _admit_url(service, asked.url)
    events = read_events(asked.enabled_events)
    if not events:
        raise InvalidRequest(f"enabled_events: empty; name some of {', '.join(EVENT_TYPES)}")
    webhook_id, now = new_webhook_id(), service.clock.now()
    webhook = Webhook(
        id=webhook_id,
        workspace_id=workspace_of(request),
        url=asked.url,
        events=events,
        name=read_text(asked.name, "name", at_most=MAX_NAME),
        description=read_text(asked.description, "description", at_most=MAX_DESCRIPTION),
        created_at=now,
        updated_at=now,
        seed=new_seed(service.secret, webhook_id),
    )
    await audit.done(
        request,
        service,
        lambda c: webhooks.create(c, webhook),
        subject_id=webhook.id,
        details={"enabled_events": ",".join(events), "host": urlsplit(webhook.url).hostname},
    )
    secret = signing_secret(service.secret, webhook_id, webhook.seed)
    return _json(new_endpoint(webhook, secret))


@get(_LIST)
async def list_webhooks(request: HttpRequest, service: AService) -> Response[EndpointPage]:
    """List the workspace's endpoints, newest first unless asked otherwise."""
    _check_headers(request)
    query = read_endpoint_query(request.query_params)
    workspace = workspace_of(request)
    found = await service.database.read(lambda c: webhooks.of_workspace(c, workspace))
    return _json(endpoint_page(found, query))


@get(_ONE)
async def get_webhook(
    request: HttpRequest, webhook_id: FromPath[str], service: AService
) -> Response[Endpoint]:
    """Show one endpoint."""
    _check_headers(request)
    return _json(endpoint(await find_webhook(request, service, webhook_id)))


@post(_ONE, status_code=200, request_max_body_size=None)
async def update_webhook(
    request: HttpRequest, webhook_id: FromPath[str], service: AService
) -> Response[Endpoint]:
    """Change what is sent and nothing else; to enable it resumes what is pending."""
    _check_headers(request)
    asked = read_body(await whole_body(request, max_bytes=MAX_BODY_BYTES), UpdateEndpoint)
    changes = _changes(service, asked)
    workspace, now = workspace_of(request), service.clock.now()

    def update(connection: Connection) -> Webhook:
        webhook = _locked(connection, webhook_id, workspace)
        changed = replace(webhook, **changes, updated_at=now)
        if changes.keys() & {"state", "url"}:
            changed = replace(changed, failing_since=None)
        webhooks.change(connection, changed)
        if webhook.state == "disabled" and changed.state == "enabled":
            outbox.resume(connection, webhook.id, now=now)
        return changed

    changed = await audit.done(request, service, update, details=_told(changes))
    service.wakes.events.ring()
    return _json(endpoint(changed))


@delete(_ONE, status_code=200)
async def delete_webhook(
    request: HttpRequest, webhook_id: FromPath[str], service: AService
) -> Response[DeletedEndpoint]:
    """Delete an endpoint with the log of its deliveries."""
    _check_headers(request)
    workspace = workspace_of(request)

    def remove(connection: Connection) -> None:
        webhooks.remove(connection, _locked(connection, webhook_id, workspace).id)

    await audit.done(request, service, remove)
    return _json(DeletedEndpoint(id=webhook_id))


@post(_ONE + "/regenerate_signing_secret", status_code=200, request_max_body_size=None)
async def regenerate_signing_secret(
    request: HttpRequest, webhook_id: FromPath[str], service: AService
) -> Response[SigningSecret]:
    """Replace the signing secret; the old one signs beside the new one for a while."""
    _check_headers(request)
    body = await whole_body(request, max_bytes=MAX_BODY_BYTES)
    overlap_s = read_overlap_s(read_body(body or b"{}", RotateSecret))
    workspace, now = workspace_of(request), service.clock.now()

    def rotate(connection: Connection) -> Webhook:
        webhook = _locked(connection, webhook_id, workspace)
        changed = replace(
            webhook,
            seed=new_seed(service.secret, webhook.id),
            previous_seed=webhook.seed if overlap_s else None,
            previous_until=now + timedelta(seconds=overlap_s) if overlap_s else None,
            updated_at=now,
        )
        webhooks.change(connection, changed)
        return changed

    webhook = await audit.done(request, service, rotate, details={"overlap_s": overlap_s})
    secret = signing_secret(service.secret, webhook.id, webhook.seed)
    return _json(SigningSecret(signing_secret=secret))


async def find_webhook(request: HttpRequest, service: Service, webhook_id: str) -> Webhook:
    """Find an endpoint of the caller's workspace. Raises: NotFound, also for those of others."""
    workspace = workspace_of(request)
    webhook = await service.database.read(lambda c: webhooks.find(c, webhook_id, workspace))
    if webhook is None:
        raise unknown_endpoint(webhook_id)
    return webhook


def _check_headers(request: HttpRequest) -> None:
    require_beta(betas(request.headers))
    api_version(request.headers)


def _locked(connection: Connection, webhook_id: str, workspace: WorkspaceId) -> Webhook:
    webhook = webhooks.find(connection, webhook_id, workspace, lock=True)
    if webhook is None:
        raise unknown_endpoint(webhook_id)
    return webhook


def _admit_url(service: Service, url: str) -> None:
    admit(url, read_networks(service.settings.webhooks_allow))


def _changes(service: Service, asked: UpdateEndpoint) -> dict[str, Any]:
    """Check what an update sends; give the fields of a webhook that it changes."""
    sent = {
        name: value
        for name, value in msgspec.structs.asdict(asked).items()
        if value is not msgspec.UNSET
    }
    if "url" in sent:
        _admit_url(service, sent["url"])
    if events := read_events(sent.pop("enabled_events", [])):
        sent["events"] = events
    for name, at_most in (("name", MAX_NAME), ("description", MAX_DESCRIPTION)):
        if name in sent:
            read_text(sent[name], name, at_most=at_most)
    if "state" in sent:
        # Enabled, or disabled by its owner, whatever it was disabled for before.
        sent["disabled_reason"] = ""
    return sent


def _told(changes: dict[str, Any]) -> dict[str, str]:
    """Say what changed; of a URL only the host, for the rest may be a secret of the receiver."""
    told = {"changed": ",".join(sorted(changes.keys() - {"disabled_reason"}))}
    if "state" in changes:
        told["state"] = changes["state"]
    if "url" in changes:
        told["host"] = urlsplit(changes["url"]).hostname or ""
    return told


def _json(shown: Shown) -> Response[Shown]:
    return Response(shown, media_type="application/json")


routes = [
    create_webhook,
    list_webhooks,
    get_webhook,
    update_webhook,
    delete_webhook,
    regenerate_signing_secret,
]
