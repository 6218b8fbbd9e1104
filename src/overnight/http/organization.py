"""The Admin API: workspaces and API keys in the documented shapes. Needs role `admin`.

Keys cannot be created here, as they cannot there: that is `http.keys`.
"""

from datetime import datetime

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from overnight.access.keys import DEFAULT_WORKSPACE
from overnight.errors import InvalidRequest, NotFound
from overnight.http import audit
from overnight.http.body import whole_body
from overnight.http.listing import cursors, page_of
from overnight.http.service import AService, HttpRequest, Service
from overnight.store import keys, workspaces
from overnight.tenancy import Key, Workspace, new_workspace_id
from overnight.wire.headers import api_version
from overnight.wire.organization import (
    ApiKey,
    ApiKeyPage,
    ApiKeyQuestion,
    Asked,
    NewWorkspace,
    WorkspaceObject,
    WorkspacePage,
    WorkspaceQuestion,
    api_key,
    changes,
    read_api_key_question,
    read_status,
    read_workspace_question,
    workspace_object,
)
from overnight.wire.paging import read_page_query, switch

MAX_BODY_BYTES = 65_536
_MAX_IDS = 100


@get("/v1/organizations/workspaces")
async def list_workspaces(request: HttpRequest, service: AService) -> Response[WorkspacePage]:
    """List workspaces, newest first; the default one and archived ones only when asked for."""
    api_version(request.headers)
    query = read_page_query(request.query_params)
    with_archived = switch(request.query_params, "include_archived")
    without = None if switch(request.query_params, "include_default") else DEFAULT_WORKSPACE
    only = request.query_params.getall("ids[]", [])
    if len(only) > _MAX_IDS:
        raise InvalidRequest(f"ids: {len(only)} of them, at most {_MAX_IDS}")

    def ask(connection: Connection) -> tuple[list[Workspace], bool]:
        at = cursors(query, lambda named: workspaces.cursor(connection, named), _no_workspace)
        return workspaces.page(
            connection,
            limit=query.limit,
            after=at.after,
            before=at.before,
            with_archived=with_archived,
            without=without,
            only=only,
        )

    found, has_more = await service.database.read(ask)
    page = page_of(WorkspacePage, [workspace_object(row) for row in found], has_more=has_more)
    return Response(page, media_type="application/json")


@post("/v1/organizations/workspaces", status_code=200, request_max_body_size=None)
async def create_workspace(request: HttpRequest, service: AService) -> Response[WorkspaceObject]:
    """Create a workspace; its name must not be that of another live one."""
    asked = await _workspace_question(request, NewWorkspace)
    made = Workspace(id=new_workspace_id(), name=asked.name, created_at=service.clock.now())
    if asked.display_color is not None:
        made = msgspec.structs.replace(made, display_color=asked.display_color)
    try:
        await audit.done(
            request,
            service,
            lambda c: workspaces.create(c, made),
            subject_id=made.id,
            details={"name": made.name},
        )
    except IntegrityError:
        raise _name_taken(asked.name) from None
    return Response(workspace_object(made), media_type="application/json")


@get("/v1/organizations/workspaces/{workspace_id:str}")
async def get_workspace(
    request: HttpRequest, workspace_id: FromPath[str], service: AService
) -> Response[WorkspaceObject]:
    """Show one workspace."""
    api_version(request.headers)
    found = await service.database.read(lambda c: find_workspace(c, workspace_id))
    return Response(workspace_object(found), media_type="application/json")


@post(
    "/v1/organizations/workspaces/{workspace_id:str}", status_code=200, request_max_body_size=None
)
async def update_workspace(
    request: HttpRequest, workspace_id: FromPath[str], service: AService
) -> Response[WorkspaceObject]:
    """Rename a workspace, or give it another color."""
    asked = await _workspace_question(request, WorkspaceQuestion)

    def change(connection: Connection) -> Workspace:
        found = find_workspace(connection, workspace_id)
        if found.archived_at is not None:
            raise InvalidRequest(f"Workspace {found.id} is archived and stays as it is")
        workspaces.change(connection, found.id, name=asked.name, display_color=asked.display_color)
        return find_workspace(connection, workspace_id)

    try:
        changed = await audit.done(request, service, change, details=changes(asked))
    except IntegrityError:
        raise _name_taken(asked.name) from None
    service.keyring.forget()
    return Response(workspace_object(changed), media_type="application/json")


@post("/v1/organizations/workspaces/{workspace_id:str}/archive", status_code=200)
async def archive_workspace(
    request: HttpRequest, workspace_id: FromPath[str], service: AService
) -> Response[WorkspaceObject]:
    """Close a workspace for good and revoke its keys; what runs in it runs to its end."""
    api_version(request.headers)
    now = service.clock.now()

    def change(connection: Connection) -> Workspace:
        found = find_workspace(connection, workspace_id)
        if found.id == DEFAULT_WORKSPACE:
            raise InvalidRequest(f"Workspace {found.id} is the default one: it stays")
        workspaces.archive(connection, found.id, now=now)
        return find_workspace(connection, workspace_id)

    archived = await audit.done(request, service, change)
    service.keyring.forget()
    return Response(workspace_object(archived), media_type="application/json")


@get("/v1/organizations/api_keys")
async def list_api_keys(request: HttpRequest, service: AService) -> Response[ApiKeyPage]:
    """List keys, newest first; those of the settings are not among them."""
    api_version(request.headers)
    now = service.clock.now()
    found, has_more = await key_page(request, service)
    page = page_of(ApiKeyPage, [api_key(key, now=now) for key in found], has_more=has_more)
    return Response(page, media_type="application/json")


@get("/v1/organizations/api_keys/{key_id:str}")
async def get_api_key(
    request: HttpRequest, key_id: FromPath[str], service: AService
) -> Response[ApiKey]:
    """Show one key."""
    api_version(request.headers)
    found = await service.database.read(lambda c: find_key(c, key_id))
    return Response(api_key(found, now=service.clock.now()), media_type="application/json")


@post("/v1/organizations/api_keys/{key_id:str}", status_code=200, request_max_body_size=None)
async def update_api_key(
    request: HttpRequest, key_id: FromPath[str], service: AService
) -> Response[ApiKey]:
    """Rename a key, switch it off, on again, or revoke it for good (`archived`)."""
    api_version(request.headers)
    asked = read_api_key_question(await whole_body(request, max_bytes=MAX_BODY_BYTES))
    now = service.clock.now()

    def change(connection: Connection) -> Key:
        found = find_key(connection, key_id)
        _change_key(connection, found, asked, now)
        return find_key(connection, key_id)

    changed = await audit.done(request, service, change, details=changes(asked))
    service.keyring.forget()
    return Response(api_key(changed, now=now), media_type="application/json")


async def key_page(request: HttpRequest, service: Service) -> tuple[list[Key], bool]:
    """Give the page of keys that a query asks for, and whether more follow."""
    query = read_page_query(request.query_params)
    status = read_status(request.query_params)
    workspace_id = request.query_params.get("workspace_id") or None
    if request.query_params.get("created_by_user_id"):
        # There are no users.
        return [], False
    now = service.clock.now()

    def ask(connection: Connection) -> tuple[list[Key], bool]:
        at = cursors(query, lambda named: keys.cursor(connection, named), no_key)
        return keys.page(
            connection,
            now=now,
            limit=query.limit,
            after=at.after,
            before=at.before,
            workspace_id=workspace_id,
            status=status,
        )

    return await service.database.read(ask)


def find_workspace(connection: Connection, workspace_id: str) -> Workspace:
    """Find a workspace. Raises: NotFound."""
    found = workspaces.find(connection, workspace_id)
    if found is None:
        raise _no_workspace(workspace_id)
    return found


def find_key(connection: Connection, key_id: str) -> Key:
    """Find a key. Raises: NotFound."""
    found = keys.find(connection, key_id)
    if found is None:
        raise no_key(key_id)
    return found


def no_key(key_id: str) -> NotFound:
    return NotFound(f"API key {key_id} not found.")


def _change_key(connection: Connection, key: Key, asked: ApiKeyQuestion, now: datetime) -> None:
    if key.revoked_at is not None and asked.status in ("active", "inactive"):
        raise InvalidRequest(
            f"status: API key {key.id} is archived, which cannot be undone",
            hint="create another key",
        )
    if asked.status == "archived":
        keys.revoke(connection, key.id, now=now)
    elif asked.status is not None:
        keys.change(connection, key.id, disabled=asked.status == "inactive", now=now)
    if asked.name is not None:
        keys.change(connection, key.id, name=asked.name, now=now)


async def _workspace_question(request: HttpRequest, kind: type[Asked]) -> Asked:
    api_version(request.headers)
    return read_workspace_question(await whole_body(request, max_bytes=MAX_BODY_BYTES), kind)


def _no_workspace(workspace_id: str) -> NotFound:
    return NotFound(f"Workspace {workspace_id} not found.")


def _name_taken(name: str | None) -> InvalidRequest:
    return InvalidRequest(
        f"name: a workspace {name!r} is there already", hint="GET /v1/organizations/workspaces"
    )


routes = [
    list_workspaces,
    create_workspace,
    get_workspace,
    update_workspace,
    archive_workspace,
    list_api_keys,
    get_api_key,
    update_api_key,
]
