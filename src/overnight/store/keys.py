"""Questions about keys and the changes they go through; secrets are here only as digests."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from overnight.model import WorkspaceId
from overnight.store import listing
from overnight.store.listing import Place, findable
from overnight.store.schema import from_optional_us, from_us, keys, to_us
from overnight.store.workspaces import allowance_of, columns
from overnight.tenancy import LIMIT_NAMES, Key, KeyId, KeyStatus, LimitName, Role, in_order

# Built once: every call looks a key up, unless it was just found.
_BY_DIGEST = select(keys).where(keys.c.digest == bindparam("of_digest"))


class Kept(NamedTuple):
    """A key with the digest by which its secret was found."""

    key: Key
    digest: str


def create(connection: Connection, key: Key, *, digest: str, pepper_id: str) -> None:
    connection.execute(
        insert(keys).values(
            id=key.id,
            workspace_id=key.workspace_id,
            name=key.name,
            roles=",".join(in_order(key.roles)),
            digest=digest,
            pepper_id=pepper_id,
            hint=key.hint,
            created_at=to_us(key.created_at),
            created_by=key.created_by,
            expires_at=None if key.expires_at is None else to_us(key.expires_at),
            **columns({name: getattr(key.allowance, name) for name in LIMIT_NAMES}),
        )
    )


def find_by_digest(connection: Connection, digest: str) -> Kept | None:
    """Find the key of a secret, whether or not it still works."""
    row = connection.execute(_BY_DIGEST, {"of_digest": digest}).one_or_none()
    return None if row is None else Kept(_key(row), row.digest)


def find(connection: Connection, key_id: str) -> Key | None:
    row = connection.execute(select(keys).where(keys.c.id == findable(key_id))).one_or_none()
    return None if row is None else _key(row)


def is_any(connection: Connection) -> bool:
    """Tell whether a key was ever created."""
    return connection.execute(select(keys.c.id).limit(1)).first() is not None


def page(
    connection: Connection,
    *,
    now: datetime,
    limit: int,
    after: Place | None = None,
    before: Place | None = None,
    workspace_id: str | None = None,
    status: KeyStatus | None = None,
) -> tuple[list[Key], bool]:
    """List newest first, beyond a cursor; and tell whether more follow in that direction."""
    question = select(keys)
    if workspace_id is not None:
        question = question.where(keys.c.workspace_id == findable(workspace_id))
    if status is not None:
        question = question.where(_has_status(status, now))
    rows, has_more = listing.page(
        connection, question, keys, limit=limit, after=after, before=before
    )
    return [_key(row) for row in rows], has_more


def cursor(connection: Connection, key_id: str) -> Place | None:
    return listing.place(connection, keys, key_id)


def change(
    connection: Connection,
    key_id: KeyId,
    *,
    name: str | None = None,
    disabled: bool | None = None,
    now: datetime,
) -> None:
    """Rename a key, switch it off or on again; what is None stays."""
    values: dict[str, object] = {} if name is None else {"name": name}
    if disabled is not None:
        values["disabled_at"] = to_us(now) if disabled else None
    if values:
        connection.execute(update(keys).where(keys.c.id == key_id).values(**values))


def limit(connection: Connection, key_id: KeyId, limits: Mapping[LimitName, int | None]) -> None:
    """Give a key limits of its own; None takes one away, those not named stay."""
    if limits:
        connection.execute(update(keys).where(keys.c.id == key_id).values(columns(limits)))


def revoke(connection: Connection, key_id: KeyId, *, now: datetime) -> None:
    """End a key for good. Idempotent: the first time stays."""
    connection.execute(
        update(keys)
        .where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=to_us(now))
    )


def note_uses(connection: Connection, uses: Mapping[KeyId, datetime]) -> None:
    """Write when each key was last used; an earlier time changes nothing."""
    for key_id, at in uses.items():
        earlier = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < to_us(at))
        connection.execute(
            update(keys).where(keys.c.id == key_id, earlier).values(last_used_at=to_us(at))
        )


def count_lost(connection: Connection, *, pepper_id: str, now: datetime) -> int:
    """Count the keys that would work if the server secret were still that of their creation."""
    return connection.execute(
        select(func.count()).select_from(keys).where(_is_lost(pepper_id, now))
    ).scalar_one()


def revoke_lost(connection: Connection, *, pepper_id: str, now: datetime) -> list[KeyId]:
    """Revoke the keys that `count_lost` counts; give their ids."""
    lost = update(keys).where(_is_lost(pepper_id, now)).values(revoked_at=to_us(now))
    return list(connection.execute(lost.returning(keys.c.id)).scalars())


def _is_lost(pepper_id: str, now: datetime) -> ColumnElement[bool]:
    return and_(
        keys.c.pepper_id != pepper_id,
        or_(_has_status("active", now), _has_status("inactive", now)),
    )


def _has_status(status: KeyStatus, now: datetime) -> ColumnElement[bool]:
    """Say in SQL what `Key.status` says."""
    if status == "archived":
        return keys.c.revoked_at.is_not(None)
    has_expired = keys.c.expires_at.is_not(None) & (keys.c.expires_at <= to_us(now))
    if status == "expired":
        return and_(keys.c.revoked_at.is_(None), has_expired)
    is_off = (
        keys.c.disabled_at.is_not(None) if status == "inactive" else keys.c.disabled_at.is_(None)
    )
    return and_(keys.c.revoked_at.is_(None), ~has_expired, is_off)


def _key(row: Row[*tuple[Any, ...]]) -> Key:
    return Key(
        id=row.id,
        workspace_id=None if row.workspace_id is None else WorkspaceId(row.workspace_id),
        name=row.name,
        roles=frozenset(Role(name) for name in row.roles.split(",")),
        hint=row.hint,
        created_at=from_us(row.created_at),
        created_by=row.created_by,
        expires_at=from_optional_us(row.expires_at),
        last_used_at=from_optional_us(row.last_used_at),
        disabled_at=from_optional_us(row.disabled_at),
        revoked_at=from_optional_us(row.revoked_at),
        allowance=allowance_of(row),
    )
