"""Keys with all that we know of them, and their creation: an extension. Needs role `admin`."""

from litestar import Response, get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from overnight.access.credentials import hint_of, new_secret
from overnight.errors import InvalidRequest
from overnight.http import audit
from overnight.http.body import whole_body
from overnight.http.listing import page_of
from overnight.http.organization import MAX_BODY_BYTES, find_key, key_page
from overnight.http.service import AService, HttpRequest, Service, caller_of
from overnight.store import keys, workspaces
from overnight.tenancy import Key, Role, in_order, new_key_id
from overnight.wire.headers import api_version
from overnight.wire.keys import (
    KeyDocument,
    KeyPage,
    KeyQuestion,
    NewKeyDocument,
    RevokedKey,
    key_document,
    key_of,
    new_key_document,
    read_key_question,
    read_limits_change,
)
from overnight.wire.organization import moment, optional_moment

_UNKEPT = {"cache-control": "no-store"}


@get("/overnight/v1/keys")
async def list_keys(request: HttpRequest, service: AService) -> Response[KeyPage]:
    """List keys, newest first; those of the settings are not among them."""
    api_version(request.headers)
    now = service.clock.now()
    found, has_more = await key_page(request, service)
    page = page_of(KeyPage, [key_document(key, now=now) for key in found], has_more=has_more)
    return Response(page, media_type="application/json")


@get("/overnight/v1/keys/{key_id:str}")
async def get_key(
    request: HttpRequest, key_id: FromPath[str], service: AService
) -> Response[KeyDocument]:
    """Show one key."""
    api_version(request.headers)
    found = await service.database.read(lambda c: find_key(c, key_id))
    return Response(key_document(found, now=service.clock.now()), media_type="application/json")


@post("/overnight/v1/keys", status_code=200, request_max_body_size=None)
async def create_key(request: HttpRequest, service: AService) -> Response[NewKeyDocument]:
    """Create a key. The answer holds its secret, this once."""
    api_version(request.headers)
    now = service.clock.now()
    asked = read_key_question(await whole_body(request, max_bytes=MAX_BODY_BYTES), now=now)
    await _refuse_lockout(asked, service)
    secret = new_secret(admin=Role.ADMIN in asked.granted)
    made = key_of(
        asked,
        key_id=new_key_id(),
        hint=hint_of(secret),
        created_by=caller_of(request).key_id,
        now=now,
    )
    await audit.done(
        request,
        service,
        lambda c: _create(c, made, secret, service),
        subject_id=made.id,
        details={
            "workspace_id": made.workspace_id,
            "roles": ",".join(in_order(made.roles)),
            "expires_at": optional_moment(made.expires_at),
        },
    )
    service.keyring.forget()
    return Response(
        new_key_document(made, secret, now=now), media_type="application/json", headers=_UNKEPT
    )


@post("/overnight/v1/keys/{key_id:str}", status_code=200, request_max_body_size=None)
async def limit_key(
    request: HttpRequest, key_id: FromPath[str], service: AService
) -> Response[KeyDocument]:
    """Give a key limits of its own, or take them away; those not named stay."""
    api_version(request.headers)
    changed = read_limits_change(await whole_body(request, max_bytes=MAX_BODY_BYTES))

    def change(connection: Connection) -> Key:
        keys.limit(connection, find_key(connection, key_id).id, changed)
        return find_key(connection, key_id)

    limited = await audit.done(request, service, change, details=dict(changed.items()))
    service.keyring.forget()
    return Response(key_document(limited, now=service.clock.now()), media_type="application/json")


@post("/overnight/v1/keys/{key_id:str}/revoke", status_code=200)
async def revoke_key(
    request: HttpRequest, key_id: FromPath[str], service: AService
) -> Response[RevokedKey]:
    """End a key for good: at once in this process, in others within seconds. Idempotent."""
    api_version(request.headers)
    now = service.clock.now()

    def change(connection: Connection) -> tuple[Key, Key]:
        before = find_key(connection, key_id)
        keys.revoke(connection, before.id, now=now)
        return before, find_key(connection, key_id)

    before, after = await audit.done(request, service, change)
    service.keyring.forget()
    assert after.revoked_at is not None
    revoked = RevokedKey(
        id=after.id,
        result="revoked" if before.revoked_at is None else "already_revoked",
        revoked_at=moment(after.revoked_at),
    )
    return Response(revoked, media_type="application/json")


def _create(connection: Connection, key: Key, secret: str, service: Service) -> None:
    if key.workspace_id is not None:
        # Locked: archiving it revokes the keys that are there then.
        workspace = workspaces.find_locked(connection, key.workspace_id)
        if workspace is None or workspace.archived_at is not None:
            raise InvalidRequest(
                f"workspace_id: no workspace {key.workspace_id} that is not archived",
                hint="GET /v1/organizations/workspaces lists them",
            )
    digest, pepper_id = service.keyring.sealed(secret)
    keys.create(connection, key, digest=digest, pepper_id=pepper_id)


async def _refuse_lockout(asked: KeyQuestion, service: Service) -> None:
    """The first key closes the service: it must be one that can make others."""
    if Role.ADMIN not in asked.granted and await service.keyring.is_open():
        raise InvalidRequest(
            "roles: the first key must have role admin: once there is a key, calls need one",
            hint="overnight keys create --role admin",
        )


routes = [list_keys, get_key, create_key, limit_key, revoke_key]
