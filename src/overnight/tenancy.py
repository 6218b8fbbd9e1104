"""The nouns of tenancy: workspace, key, role, allowance. Values only; no I/O."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, NewType, get_args

import msgspec

from overnight.model import WorkspaceId, random_text

KeyId = NewType("KeyId", str)
KeyStatus = Literal["active", "inactive", "archived", "expired"]

LimitName = Literal["requests_per_minute", "queued_requests", "body_bytes_in_flight", "uploads"]

LIMIT_NAMES: tuple[LimitName, ...] = get_args(LimitName)
MAX_NAME = 500
# Far above any limit that makes sense, and exact in every client's numbers.
MAX_LIMIT = 2**53 - 1
DEFAULT_COLOR = "#6C5BB9"


class Role(StrEnum):
    """What a key may do; a key has one role or several."""

    SUBMIT = "submit"
    READ = "read"
    CONTENT = "content"
    ADMIN = "admin"


ROLES: Mapping[Role, str] = {
    Role.SUBMIT: "create, cancel and delete batches; send messages and get their answers",
    Role.READ: "see batches, their progress and their cost, not what is in them",
    Role.CONTENT: "read results",
    Role.ADMIN: "workspaces, keys, limits and reports of the whole organization",
}
ALL_ROLES = frozenset(Role)
# What a key of a workspace may do unless its creator says otherwise.
DEFAULT_ROLES = frozenset({Role.SUBMIT, Role.READ, Role.CONTENT})


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How much a workspace or a key may take; None is no limit of its own, 0 is no limit.

    A workspace without a limit of its own has that of the settings; a key without one has only
    that of its workspace.
    """

    # Calls of batch endpoints.
    requests_per_minute: int | None = None
    # Requests of batches that have no outcome yet.
    queued_requests: int | None = None
    # Of bodies of creates that have not been answered.
    body_bytes_in_flight: int | None = None
    # Creates that have not been answered.
    uploads: int | None = None


class Limit(NamedTuple):
    """One number that a workspace or a key must not exceed."""

    scope: Literal["workspace", "key"]
    id: str
    at_most: int

    def __str__(self) -> str:
        return f"{self.scope} {self.id}"


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """What separates tenants: a batch, a key and an estimate belong to one."""

    id: WorkspaceId
    name: str
    created_at: datetime
    # Set once, for good: no key of it works from then on.
    archived_at: datetime | None = None
    display_color: str = DEFAULT_COLOR
    allowance: Allowance = Allowance()


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as the service knows it: everything but its secret."""

    id: KeyId
    # None for a key with role `admin`: it belongs to the organization.
    workspace_id: WorkspaceId | None
    name: str
    roles: frozenset[Role]
    # Enough of the secret to recognize it by.
    hint: str
    created_at: datetime
    # The key that created it; None for a key of the settings, or where no key was needed.
    created_by: KeyId | None = None
    expires_at: datetime | None = None
    # To the minute.
    last_used_at: datetime | None = None
    # Set while it is switched off, which can be undone.
    disabled_at: datetime | None = None
    # Set once, for good.
    revoked_at: datetime | None = None
    allowance: Allowance = Allowance()

    def status(self, now: datetime) -> KeyStatus:
        """Say in the wire's words whether the key works."""
        if self.revoked_at is not None:
            return "archived"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.disabled_at is None else "inactive"


def in_order(roles: Iterable[Role]) -> list[Role]:
    """List roles as the table above does."""
    given = set(roles)
    return [role for role in Role if role in given]


def new_workspace_id() -> WorkspaceId:
    return WorkspaceId("wrkspc_01" + random_text(22))


def new_key_id() -> KeyId:
    return KeyId("apikey_01" + random_text(22))
