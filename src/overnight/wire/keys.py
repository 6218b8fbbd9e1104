"""Keys as our own endpoints show them: with roles, last use, limits, and once their secret."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from overnight.errors import InvalidRequest
from overnight.model import WorkspaceId
from overnight.tenancy import (
    DEFAULT_ROLES,
    LIMIT_NAMES,
    Allowance,
    Key,
    KeyId,
    KeyStatus,
    LimitName,
    Role,
    in_order,
)
from overnight.wire.organization import Name, check_name, moment, optional_moment
from overnight.wire.rate_limits import NewLimit, checked
from overnight.wire.schema import rule
from overnight.wire.syntax import read_json

_MAX_LIFE_S = 100 * 366 * 86_400


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A key; `secret` is there in the answer to its creation and never again."""

    id: str
    type: Literal["key"] = "key"
    name: str
    # Null for a key of the organization.
    workspace_id: str | None
    roles: list[str]
    # Enough of the secret to recognize it by.
    hint: str
    status: KeyStatus
    created_at: str
    # Id of the key that created it; null for one of the settings, or where none was needed.
    created_by: str | None
    # Null for a key that never expires.
    expires_at: str | None
    # At most a minute behind; null before the first use.
    last_used_at: str | None
    # Null while it is not revoked.
    revoked_at: str | None
    # Its own, beside those of its workspace.
    limits: Allowance


class NewKeyDocument(KeyDocument, frozen=True, kw_only=True):
    # The key itself. Keep it: it is not shown again.
    secret: str


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[KeyDocument]
    has_more: bool
    first_id: str | None
    last_id: str | None


class RevokedKey(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a revocation: `already_revoked` is success too."""

    id: str
    type: Literal["key_revoked"] = "key_revoked"
    result: Literal["revoked", "already_revoked"]
    revoked_at: str


class LimitsQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a key's own; null or 0 is none, and what is left out stays as it is."""

    requests_per_minute: NewLimit | msgspec.UnsetType | None = msgspec.UNSET
    queued_requests: NewLimit | msgspec.UnsetType | None = msgspec.UNSET
    body_bytes_in_flight: NewLimit | msgspec.UnsetType | None = msgspec.UNSET
    uploads: NewLimit | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def named(self) -> dict[LimitName, int | None]:
        """Give those that are named. Raises: InvalidRequest for what cannot be a limit."""
        found: dict[LimitName, int | None] = {}
        for name in LIMIT_NAMES:
            value: int | msgspec.UnsetType | None = getattr(self, name)
            if value is not msgspec.UNSET:
                found[name] = checked(f"limits.{name}", value) or None
        return found


class LimitsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a change."""

    limits: LimitsQuestion


class KeyQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a creation."""

    name: Name
    # Needed unless `admin` is among the roles, and then not allowed.
    workspace_id: str | None = None
    # Without them: submit, read, content.
    roles: Annotated[list[Annotated[str, rule(enum=list(Role))]], rule(minItems=1)] | None = None
    expires_at: Annotated[datetime, rule(format="date-time")] | None = None
    expires_in_s: Annotated[int, rule(minimum=1, maximum=_MAX_LIFE_S)] | None = None
    limits: LimitsQuestion = LimitsQuestion()

    @property
    def granted(self) -> frozenset[Role]:
        return DEFAULT_ROLES if self.roles is None else frozenset(map(Role, self.roles))


def key_document(key: Key, *, now: datetime) -> KeyDocument:
    return KeyDocument(
        id=key.id,
        name=key.name,
        workspace_id=key.workspace_id,
        roles=[*in_order(key.roles)],
        hint=key.hint,
        status=key.status(now),
        created_at=moment(key.created_at),
        created_by=key.created_by,
        expires_at=optional_moment(key.expires_at),
        last_used_at=optional_moment(key.last_used_at),
        revoked_at=optional_moment(key.revoked_at),
        limits=key.allowance,
    )


def new_key_document(key: Key, secret: str, *, now: datetime) -> NewKeyDocument:
    shown = msgspec.structs.asdict(key_document(key, now=now))
    return NewKeyDocument(**shown, secret=secret)


def read_key_question(body: bytes, *, now: datetime) -> KeyQuestion:
    """Read what a new key shall be like; `expires_in_s` becomes `expires_at`.

    Raises: InvalidRequest that names the field.
    """
    asked = read_json(body, KeyQuestion)
    check_name(asked.name)
    unknown = [name for name in asked.roles or () if name not in set(Role)]
    if unknown or asked.roles == []:
        said = f"{unknown[0]!r} is none" if unknown else "none given"
        raise InvalidRequest(f"roles: {said}; there are {', '.join(Role)}")
    if Role.ADMIN in asked.granted and asked.workspace_id is not None:
        raise InvalidRequest(
            "workspace_id: a key with role admin belongs to no workspace, it opens all",
            hint="leave workspace_id out, or the role",
        )
    if Role.ADMIN not in asked.granted and asked.workspace_id is None:
        raise InvalidRequest("workspace_id: Field required, but for a key with role admin")
    return msgspec.structs.replace(asked, expires_at=_expiry(asked, now), expires_in_s=None)


def read_limits_change(body: bytes) -> dict[LimitName, int | None]:
    """Read which limits shall change. Raises: InvalidRequest that names the limit."""
    return read_json(body, LimitsChange).limits.named


def key_of(
    asked: KeyQuestion, *, key_id: KeyId, hint: str, created_by: KeyId | None, now: datetime
) -> Key:
    """Make the key that was asked for."""
    return Key(
        id=key_id,
        workspace_id=None if asked.workspace_id is None else WorkspaceId(asked.workspace_id),
        name=asked.name,
        roles=asked.granted,
        hint=hint,
        created_at=now,
        created_by=created_by,
        expires_at=asked.expires_at,
        allowance=Allowance(**asked.limits.named),
    )


def _expiry(asked: KeyQuestion, now: datetime) -> datetime | None:
    if asked.expires_at is not None and asked.expires_in_s is not None:
        raise InvalidRequest("expires_at, expires_in_s: only one of the two may be given")
    if asked.expires_in_s is not None:
        if not 1 <= asked.expires_in_s <= _MAX_LIFE_S:
            raise InvalidRequest(
                f"expires_in_s: {asked.expires_in_s}, from 1 to {_MAX_LIFE_S} (100 years)"
            )
        return now + timedelta(seconds=asked.expires_in_s)
    if asked.expires_at is None:
        return None
    if asked.expires_at.tzinfo is None:
        raise InvalidRequest("expires_at: without a zone; write it like 2027-01-31T00:00:00Z")
    try:
        expires_at = asked.expires_at.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(
            f"expires_at: {asked.expires_at.isoformat()} is out of the calendar in UTC",
            hint="leave it out for a key that never expires",
        ) from None
    if expires_at <= now:
        raise InvalidRequest(f"expires_at: {moment(expires_at)} has passed")
    return expires_at
