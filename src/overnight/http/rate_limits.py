"""The Admin API's limits: of every workspace, and of one. Needs role `admin`."""

from litestar import Response, get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from overnight.errors import InvalidRequest, NotFound
from overnight.http import audit
from overnight.http.body import whole_body
from overnight.http.organization import MAX_BODY_BYTES, find_workspace
from overnight.http.service import AService, HttpRequest
from overnight.store import workspaces
from overnight.tenancy import Workspace
from overnight.wire.headers import api_version
from overnight.wire.paging import switch
from overnight.wire.rate_limits import (
    RATE_LIMIT_ID,
    RateLimitPage,
    WorkspaceRateLimit,
    WorkspaceRateLimitPage,
    rate_limit,
    read_new_limits,
    shows_batches,
    workspace_rate_limit,
)


@get("/v1/organizations/rate_limits")
async def list_rate_limits(request: HttpRequest, service: AService) -> Response[RateLimitPage]:
    """Show the limits that the settings give to each workspace."""
    api_version(request.headers)
    shown = [rate_limit(service.limiter.defaults)] if shows_batches(request.query_params) else []
    return Response(RateLimitPage(data=shown), media_type="application/json")


@get("/v1/organizations/workspaces/{workspace_id:str}/rate_limits")
async def list_workspace_rate_limits(
    request: HttpRequest, workspace_id: FromPath[str], service: AService
) -> Response[WorkspaceRateLimitPage]:
    """Show the limits of a workspace's own; with `include_inherited` all that hold."""
    api_version(request.headers)
    asked = shows_batches(request.query_params)
    with_inherited = switch(request.query_params, "include_inherited")
    workspace = await service.database.read(lambda c: find_workspace(c, workspace_id))
    entry = workspace_rate_limit(workspace, service.limiter.defaults, with_inherited=with_inherited)
    page = WorkspaceRateLimitPage(data=[entry] if asked and entry.limits else [])
    return Response(page, media_type="application/json")


@post(
    "/v1/organizations/workspaces/{workspace_id:str}/rate_limits/{rate_limit_id:str}",
    status_code=200,
    request_max_body_size=None,
)
async def update_workspace_rate_limits(
    request: HttpRequest,
    workspace_id: FromPath[str],
    rate_limit_id: FromPath[str],
    service: AService,
) -> Response[WorkspaceRateLimit]:
    """Set limits of a workspace's own or clear them; those not named stay."""
    api_version(request.headers)
    changed = read_new_limits(await whole_body(request, max_bytes=MAX_BODY_BYTES))

    def change(connection: Connection) -> Workspace:
        found = find_workspace(connection, workspace_id)
        if rate_limit_id != RATE_LIMIT_ID:
            raise NotFound(f"Rate limit {rate_limit_id} not found.")
        if found.archived_at is not None:
            raise InvalidRequest(f"Workspace {found.id} is archived and stays as it is")
        workspaces.limit(connection, found.id, changed)
        return find_workspace(connection, workspace_id)

    workspace = await audit.done(request, service, change, details=dict(changed.items()))
    service.keyring.forget()
    entry = workspace_rate_limit(workspace, service.limiter.defaults, with_inherited=False)
    return Response(entry, media_type="application/json")


routes = [list_rate_limits, list_workspace_rate_limits, update_workspace_rate_limits]
