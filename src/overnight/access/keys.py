"""Who calls: keys of the settings and of the database, and the workspaces that they open."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID, uuid5

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight.access.credentials import Pepper, is_formed
from overnight.access.recent import Recent
from overnight.audit import SERVICE, Act, ActorKind, new_act_id
from overnight.clock import Clock
from overnight.errors import (
    AuthenticationFailed,
    ConfigInvalid,
    InvalidRequest,
    PermissionDenied,
)
from overnight.model import WorkspaceId
from overnight.store import audit, keys, workspaces
from overnight.store.database import Database, reason
from overnight.store.keys import Kept
from overnight.tenancy import ALL_ROLES, DEFAULT_ROLES, Key, KeyId, Role, Workspace

DEFAULT_WORKSPACE_NAME = "default"
# Keys of the settings that belong to this workspace have role `admin` too.
ADMIN_WORKSPACE_NAME = "admin"
# A change made by another process is seen within so many seconds.
KEEP_S = 5.0
_NOTE_USE_EVERY = timedelta(minutes=1)
_TRY_AGAIN_S = 1.0
_NAMESPACE = UUID("6f76651a-0000-5000-8000-6e6967687400")

log = logging.getLogger(__name__)


class Headers(Protocol):
    def get(self, key: str, /) -> str | None: ...


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and what they may do."""

    roles: frozenset[Role]
    # Whose batches they mean unless they say otherwise; None for a key of the organization.
    workspace_id: WorkspaceId | None
    # None for a key of the settings, and where no key is needed.
    key: Key | None = None
    kind: ActorKind = "key"
    # What the key is called; of the settings, the workspace that it is given there.
    name: str | None = None

    @property
    def key_id(self) -> KeyId | None:
        return None if self.key is None else self.key.id


def workspace_id(name: str) -> WorkspaceId:
    """Give the id that a workspace of the settings gets; the same everywhere."""
    return WorkspaceId("wrkspc_01" + hashlib.sha256(name.encode()).hexdigest()[:22])


DEFAULT_WORKSPACE = workspace_id(DEFAULT_WORKSPACE_NAME)
_ANYONE = Caller(roles=ALL_ROLES, workspace_id=DEFAULT_WORKSPACE, kind="anyone")


def organization_id() -> str:
    return str(uuid5(_NAMESPACE, "organization"))


class Keyring:
    """Finds who calls. Knows digests, never secrets.

    What the database says is kept for `KEEP_S`; a change by this process counts at once.
    """

    def __init__(
        self, *, database: Database, clock: Clock, pepper: Pepper, api_keys: Sequence[str]
    ) -> None:
        """Each of `api_keys` is `key` or `workspace=key`."""
        self._database = database
        self._clock = clock
        self._pepper = pepper
        self._configured = [_named(entry) for entry in api_keys]
        self._callers: dict[str, Caller] = {}
        self._kept: Recent[str, Kept] = Recent(clock, keep_s=KEEP_S)
        self._workspaces: Recent[str, Workspace] = Recent(clock, keep_s=KEEP_S)
        # Once a key exists, calls need one: for good, even when all of them are revoked.
        self._closed = bool(api_keys)
        self._look_again_at_s = float("-inf")
        # When keys were last used, and what of it is still to be written.
        self._noted: dict[KeyId, datetime] = {}
        self._unwritten: dict[KeyId, datetime] = {}
        self._used = asyncio.Event()

    async def start(self, *, revoke_lost: bool = False) -> None:
        """Make the workspaces that the settings name, and check that all keys can be read.

        Raises: ConfigInvalid when keys were hashed with another pepper and shall not be revoked.
        """
        now, pepper_id = self._clock.now(), self._pepper.id
        if revoke_lost:
            await self._database.write(partial(_revoke_lost, pepper_id=pepper_id, now=now))
        lost = await self._database.read(partial(keys.count_lost, pepper_id=pepper_id, now=now))
        if lost:
            raise ConfigInvalid(
                f"keys of the database that were hashed with another secret: {lost}",
                hint="restore server_secret in the data folder, or OVERNIGHT_SERVER_SECRET; "
                "if it is lost, --revoke-lost-keys revokes them",
            )
        names = {DEFAULT_WORKSPACE_NAME, *(name for name, _ in self._configured)}
        ids = await self._database.write(lambda c: _named_workspaces(c, names, now))
        for name, secret in self._configured:
            roles = ALL_ROLES if name == ADMIN_WORKSPACE_NAME else DEFAULT_ROLES
            caller = Caller(roles=roles, workspace_id=ids[name], kind="settings_key", name=name)
            self._callers[self._pepper.digest(secret)] = caller
        self._configured.clear()

    async def run(self) -> None:
        """Write when keys were last used, until canceled."""
        while True:
            await self._used.wait()
            self._used.clear()
            uses, self._unwritten = self._unwritten, {}
            try:
                await self._database.write(partial(keys.note_uses, uses=uses))
            except DBAPIError as error:
                log.error("the last use of keys was not written: %s", reason(error))
                self._unwritten = uses | self._unwritten
                self._used.set()
                await asyncio.sleep(_TRY_AGAIN_S)

    async def is_open(self) -> bool:
        """Tell whether calls need no key: none is configured, and none was ever created."""
        if not self._closed and self._clock.seconds() >= self._look_again_at_s:
            self._look_again_at_s = self._clock.seconds() + KEEP_S
            if await self._database.read(keys.is_any):
                self._closed = True
        return not self._closed

    async def admit(self, headers: Headers) -> Caller:
        """Find the caller, by `x-api-key` or `Authorization: Bearer`.

        Raises: AuthenticationFailed.
        """
        if await self.is_open():
            return _ANYONE
        secret = _secret(headers)
        digest = self._pepper.digest(secret)
        caller = self._callers.get(digest)
        if caller is not None:
            return caller
        if not is_formed(secret):
            raise AuthenticationFailed
        kept = await self._kept.get(digest, partial(self._find, digest))
        if kept is None or not hmac.compare_digest(kept.digest, digest):
            raise AuthenticationFailed
        self._refuse_unless_active(kept.key)
        self._note_use(kept.key)
        return Caller(
            roles=kept.key.roles,
            workspace_id=kept.key.workspace_id,
            key=kept.key,
            name=kept.key.name,
        )

    async def workspace(self, caller: Caller, headers: Headers) -> Workspace:
        """Find the workspace that a call is about: that of its key, or the one a header names.

        Raises: PermissionDenied when the key does not open it, the same whether or not it exists;
        InvalidRequest when the key has none and no header says which.
        """
        named = headers.get("anthropic-workspace-id")
        asked = named or caller.workspace_id
        if asked is None:
            raise InvalidRequest(
                "anthropic-workspace-id: header is required: this key opens all workspaces",
                hint="GET /v1/organizations/workspaces lists them",
            )
        found = None
        if asked == caller.workspace_id or Role.ADMIN in caller.roles:
            found = await self._workspaces.get(asked, partial(self._find_workspace, asked))
        if found is None:
            raise PermissionDenied(
                f"anthropic-workspace-id: this key does not belong to workspace {asked}"
            )
        if found.archived_at is not None:
            raise PermissionDenied(f"workspace {found.id} ({found.name}) is archived")
        return found

    def sealed(self, secret: str) -> tuple[str, str]:
        """Give what may be kept of a secret: its digest, and the id of the pepper in it."""
        return self._pepper.digest(secret), self._pepper.id

    def forget(self) -> None:
        """See a change at once that this process has made to keys or workspaces."""
        self._kept.forget()
        self._workspaces.forget()
        self._look_again_at_s = float("-inf")

    async def _find(self, digest: str) -> Kept | None:
        return await self._database.read(partial(keys.find_by_digest, digest=digest))

    async def _find_workspace(self, asked: str) -> Workspace | None:
        return await self._database.read(partial(workspaces.find, workspace_id=asked))

    def _refuse_unless_active(self, key: Key) -> None:
        match key.status(self._clock.now()):
            case "expired":
                raise AuthenticationFailed("API key is invalid: it has expired")
            case "archived":
                raise AuthenticationFailed("API key is invalid: it was revoked")
            case "inactive":
                raise AuthenticationFailed("API key is invalid: it is switched off")
            case "active":
                return

    def _note_use(self, key: Key) -> None:
        """Have the use written, unless one was written less than a minute ago."""
        now = self._clock.now()
        noted = self._noted.get(key.id) or key.last_used_at
        if noted is None or now - noted >= _NOTE_USE_EVERY:
            self._noted[key.id] = self._unwritten[key.id] = now
            self._used.set()


def _revoke_lost(connection: Connection, *, pepper_id: str, now: datetime) -> None:
    for key_id in keys.revoke_lost(connection, pepper_id=pepper_id, now=now):
        act = Act(
            id=new_act_id(),
            created_at=now,
            action="key.revoke",
            actor=SERVICE,
            subject_id=key_id,
            details={"because": "revoke_lost_keys"},
        )
        audit.record(connection, act)


def _named_workspaces(
    connection: Connection, names: Iterable[str], now: datetime
) -> dict[str, WorkspaceId]:
    """Give the ids of workspaces that the settings name; missing ones are made."""
    return {
        name: workspaces.named(connection, name, workspace_id=workspace_id(name), now=now).id
        for name in sorted(names)
    }


def _named(entry: str) -> tuple[str, str]:
    """Split `workspace=key`."""
    name, separator, key = entry.partition("=")
    return (name, key) if separator else (DEFAULT_WORKSPACE_NAME, entry)


def _secret(headers: Headers) -> str:
    scheme, _, token = (headers.get("authorization") or "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    secret = headers.get("x-api-key") or bearer
    if not secret:
        raise AuthenticationFailed("x-api-key header is required")
    if bearer and bearer != secret:
        raise AuthenticationFailed("x-api-key and Authorization carry different keys")
    return secret
