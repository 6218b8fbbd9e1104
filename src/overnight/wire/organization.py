"""Workspaces and API keys as the Admin API shows them.

Source: SDK 2.12 types `organization.workspace` and `organization.api_key`, and the older shape of
keys with `workspace_id` (documentation of 2026-05), read 2026-11.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from overnight.errors import InvalidRequest
from overnight.tenancy import MAX_NAME, Key, KeyStatus, Workspace
from overnight.wire.schema import rule
from overnight.wire.syntax import read_json

# As long as a name in the settings may be.
MAX_WORKSPACE_NAME = 64
STATUSES: tuple[KeyStatus, ...] = get_args(KeyStatus)
# What a geography of the hosted service has no meaning for.
_NOWHERE = "not_available"
_COLOR = "^#[0-9A-Fa-f]{6}$"
_is_color = re.compile(_COLOR).fullmatch

Read = TypeVar("Read")
Asked = TypeVar("Asked", "NewWorkspace", "WorkspaceQuestion")
Name = Annotated[str, rule(minLength=1, maxLength=MAX_NAME)]
_WorkspaceName = Annotated[str, rule(minLength=1, maxLength=MAX_WORKSPACE_NAME)]
# What workspaces of the hosted service have and ours do not.
_Unkept = Annotated[object, rule(enum=[None, {}])]


class DataResidency(msgspec.Struct, frozen=True, kw_only=True):
    allowed_inference_geos: str = "unrestricted"
    default_inference_geo: str = _NOWHERE
    workspace_geo: str = _NOWHERE


class WorkspaceObject(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace; every key is always present."""

    id: str
    archived_at: str | None
    compartment_id: str
    created_at: str
    data_residency: DataResidency = DataResidency()
    display_color: str
    external_key_id: None = None
    name: str
    tags: dict[str, str] = {}
    type: Literal["workspace"] = "workspace"
    user_profile_id: None = None


class WorkspacePage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[WorkspaceObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a key belongs: `workspace` with its id, or `organization`."""

    type: Literal["workspace", "organization"]
    workspace_id: str | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key; every key is always present."""

    id: str
    created_at: str
    # Keys are created by keys here, not by users.
    created_by: None = None
    expires_at: str | None
    name: str
    partial_key_hint: str
    principal: None = None
    scope: Scope
    status: KeyStatus
    type: Literal["api_key"] = "api_key"
    # Of the shape before `scope`.
    workspace_id: str | None


class ApiKeyPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ApiKey]
    has_more: bool
    first_id: str | None
    last_id: str | None


class _WorkspaceLook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a workspace shall be like beside its name; null is absent."""

    display_color: Annotated[str, rule(pattern=_COLOR)] | None = None
    data_residency: _Unkept = None
    external_key_id: _Unkept = None
    tags: _Unkept = None
    user_profile_id: _Unkept = None


class NewWorkspace(_WorkspaceLook, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a create."""

    name: _WorkspaceName


class WorkspaceQuestion(_WorkspaceLook, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an update; null is absent."""

    name: _WorkspaceName | None = None


class ApiKeyQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an update; null is absent."""

    name: Name | None = None
    status: Literal["active", "inactive", "archived"] | None = None


def workspace_object(workspace: Workspace) -> WorkspaceObject:
    return WorkspaceObject(
        id=workspace.id,
        archived_at=optional_moment(workspace.archived_at),
        compartment_id=workspace.id,
        created_at=moment(workspace.created_at),
        display_color=workspace.display_color,
        name=workspace.name,
    )


def api_key(key: Key, *, now: datetime) -> ApiKey:
    scope = Scope(type="organization")
    if key.workspace_id is not None:
        scope = Scope(type="workspace", workspace_id=key.workspace_id)
    return ApiKey(
        id=key.id,
        created_at=moment(key.created_at),
        expires_at=optional_moment(key.expires_at),
        name=key.name,
        partial_key_hint=key.hint,
        scope=scope,
        status=key.status(now),
        workspace_id=key.workspace_id,
    )


def read_workspace_question(body: bytes, kind: type[Asked]) -> Asked:
    """Read what a workspace shall be like. Raises: InvalidRequest that names the field."""
    asked = read_json(body, kind)
    for field in ("data_residency", "external_key_id", "tags", "user_profile_id"):
        if getattr(asked, field) not in (None, {}):
            raise InvalidRequest(
                f"{field}: workspaces of this service have none", hint="leave it out"
            )
    if asked.name is not None:
        check_name(asked.name, at_most=MAX_WORKSPACE_NAME)
    if asked.display_color is not None and not _is_color(asked.display_color):
        raise InvalidRequest(f"display_color: {asked.display_color!r} is not like #6C5BB9")
    return asked


def read_api_key_question(body: bytes) -> ApiKeyQuestion:
    """Read how a key shall change. Raises: InvalidRequest that names the field."""
    asked = read_json(body, ApiKeyQuestion)
    if asked.name is not None:
        check_name(asked.name)
    return asked


def changes(asked: WorkspaceQuestion | ApiKeyQuestion) -> dict[str, str]:
    """Give the fields that an update names, and what they shall be."""
    return {field: value for field, value in msgspec.structs.asdict(asked).items() if value}


def read_status(query: Mapping[str, str]) -> KeyStatus | None:
    """Read which keys a list shall show. Raises: InvalidRequest."""
    status = query.get("status")
    for known in STATUSES:
        if status == known:
            return known
    if status:
        raise InvalidRequest(f"status: {status!r}: Input should be {', '.join(STATUSES)}")
    return None


def check_name(name: str, *, at_most: int = MAX_NAME) -> None:
    """Raises: InvalidRequest for a name that is empty, too long, or cannot be printed."""
    if not 1 <= len(name) <= at_most:
        raise InvalidRequest(f"name: {len(name)} characters, between 1 and {at_most}")
    if not name.isprintable() or name != name.strip():
        raise InvalidRequest("name: it has characters that cannot be seen, or blanks at an end")


def moment(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def optional_moment(at: datetime | None) -> str | None:
    return None if at is None else moment(at)
