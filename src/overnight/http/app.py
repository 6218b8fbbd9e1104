"""The HTTP application: routes, who may call, how errors look, and an id on every answer."""

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

from litestar import Litestar, Response
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send
from sqlalchemy.exc import DBAPIError

from overnight.access.keys import organization_id
from overnight.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    OvernightError,
    RequestTooLarge,
    Unavailable,
)
from overnight.http import (
    admission,
    audit,
    batches,
    browsers,
    calculator,
    costs,
    deliveries,
    extensions,
    keys,
    messages,
    metrics,
    models,
    openapi,
    organization,
    prices,
    rate_limits,
    reports,
    spend_limits,
    webhooks,
)
from overnight.http.service import CALLER, RATE, REQUEST_ID, WORKSPACE, HttpRequest, Service
from overnight.model import new_request_id
from overnight.settings import Settings
from overnight.store.database import reason
from overnight.wire.errors import error_body, error_headers

log = logging.getLogger(__name__)


def routes(settings: Settings) -> list[HTTPRouteHandler]:
    """Give every route of the service. Who may call each is said in `http.admission`."""
    described = [
        *audit.routes,
        *batches.routes,
        *calculator.routes,
        *costs.routes,
        *deliveries.routes,
        *extensions.routes,
        *keys.routes,
        *messages.routes,
        *metrics.routes(settings),
        *models.routes,
        *organization.routes,
        *prices.routes,
        *rate_limits.routes,
        *reports.routes,
        *spend_limits.routes,
        *webhooks.routes,
    ]
    return [*described, *openapi.routes(described, settings)]


def build(service: Service, *, more_routes: Sequence[ControllerRouterHandler] = ()) -> ASGIApp:
    """Compose the application around the given parts."""

    async def admit(request: HttpRequest) -> Response[None] | None:
        # Async, or it would run in a thread.
        is_open = await service.keyring.is_open()
        browsers.refuse_other_hosts(request, service.settings, is_open=is_open)
        browsers.refuse_other_sites(request, service)
        await admission.admit(request, service)
        if request.method != "OPTIONS":
            return None
        # The framework's own answer forgets the methods that came after a path's first one.
        allowed = {"allow": allow[request.scope["path_template"]]}
        return Response(None, status_code=204, headers=allowed)

    app = Litestar(
        route_handlers=[*routes(service.settings), *more_routes],
        dependencies={"service": Provide(lambda: service, sync_to_thread=False)},
        before_request=admit,
        exception_handlers={
            OvernightError: _render,
            HTTPException: _render_framework_error,
            DBAPIError: _render_database_error,
            Exception: _render_defect,
        },
        # `http.openapi` makes the document: handlers read what no signature of theirs tells.
        openapi_config=None,
        # Exceptions are logged by the handlers above, without bodies.
        logging_config=None,
    )
    allow = {route.path_format: ", ".join(sorted(route.methods)) for route in app.routes}
    prefix = urlsplit(service.settings.public_url or "").path.rstrip("/")
    refusals = audit.Refusals(service)
    return _identified(_under_prefix(app, prefix) if prefix else app, refusals)


def _identified(app: ASGIApp, refusals: audit.Refusals) -> ASGIApp:
    """Put a request id on every answer, and for known callers who they are and what is left.

    That an act is refused to them is recorded first.
    """
    organization = organization_id().encode()

    async def identified(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = new_request_id()
        is_tls = scope["scheme"] == "https"
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        state = scope.setdefault("state", {})
        state[REQUEST_ID] = request_id

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                await refusals.note(scope, message["status"])
                headers = [*message.get("headers", []), (b"request-id", request_id.encode())]
                if CALLER in state:
                    headers.append((b"anthropic-organization-id", organization))
                if workspace := state.get(WORKSPACE):
                    headers.append((b"anthropic-workspace-id", workspace.id.encode()))
                headers += state.get(RATE, ())
                headers += browsers.safety_headers(headers, is_tls=is_tls, host=host)
                message["headers"] = headers
            await send(message)

        await app(scope, receive, send_identified)

    return identified


def _under_prefix(app: ASGIApp, prefix: str) -> ASGIApp:
    """Serve under the path of the public URL, whether or not a proxy has cut it off."""

    async def under_prefix(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(prefix + "/"):
            path = scope["path"].removeprefix(prefix)
            scope["path"], scope["raw_path"] = path, path.encode()
        await app(scope, receive, send)

    return under_prefix


def _render(request: HttpRequest, error: OvernightError) -> Response[bytes]:
    request_id = request.scope["state"].get(REQUEST_ID, "")
    return Response(
        error_body(error, request_id),
        status_code=error.status,
        media_type="application/json",
        headers=error_headers(error),
    )


def _render_framework_error(request: HttpRequest, error: HTTPException) -> Response[bytes]:
    if isinstance(error, NotFoundException):
        return _render(request, NotFound("Not found"))
    if isinstance(error, MethodNotAllowedException):
        answer = _render(request, MethodNotAllowed())
        answer.headers.update(error.headers or {})
        return answer
    if error.status_code == 413:
        return _render(request, RequestTooLarge())
    return _render(request, InvalidRequest(str(error.detail)))


def _render_database_error(request: HttpRequest, error: DBAPIError) -> Response[bytes]:
    # Without the statement and its parameters.
    log.error("the database failed: %s", reason(error))
    return _render(
        request,
        Unavailable("The database does not answer or its disk is full; nothing was changed"),
    )


def _render_defect(request: HttpRequest, error: Exception) -> Response[bytes]:
    # Not the path: keys are pasted into wrong places.
    path = request.scope.get("path_template", "")
    log.error("a defect while answering %s %s", request.method, path, exc_info=error)
    return _render(request, OvernightError("Internal server error"))
