"""Questions about workspaces and the changes they go through."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from overnight.model import WorkspaceId
from overnight.store import listing
from overnight.store.listing import Place, findable
from overnight.store.schema import from_optional_us, from_us, keys, to_us, workspaces
from overnight.tenancy import Allowance, LimitName, Workspace

Question = Select[*tuple[Any, ...]]


def create(connection: Connection, workspace: Workspace) -> None:
    """Add a workspace. Raises: IntegrityError when a live one has its name."""
    connection.execute(
        insert(workspaces).values(
            id=workspace.id,
            name=workspace.name,
            display_color=workspace.display_color,
            created_at=to_us(workspace.created_at),
        )
    )


def named(
    connection: Connection, name: str, *, workspace_id: WorkspaceId, now: datetime
) -> Workspace:
    """Give the workspace that the settings name; make it with this id when there is none.

    A live workspace of that name counts first. Else the id does: the workspace may have been
    renamed or archived since the settings first named it. Idempotent, also when two processes
    start at once.
    """
    found = _one(connection, _live_by_name(name)) or find(connection, workspace_id)
    if found is not None:
        return found
    made = Workspace(id=workspace_id, name=name, created_at=now)
    try:
        with connection.begin_nested():
            create(connection, made)
    except IntegrityError:
        made_elsewhere = _one(connection, _live_by_name(name)) or find(connection, workspace_id)
        assert made_elsewhere is not None, name
        return made_elsewhere
    return made


def find(connection: Connection, workspace_id: str) -> Workspace | None:
    return _one(connection, _by_id(workspace_id))


def find_locked(connection: Connection, workspace_id: str) -> Workspace | None:
    """Find a workspace and keep it as it is until the transaction ends."""
    return _one(connection, _by_id(workspace_id).with_for_update())


def ids(connection: Connection, names: Collection[str]) -> dict[str, WorkspaceId]:
    """Give the ids of the live workspaces that have one of these names."""
    rows = connection.execute(
        select(workspaces.c.name, workspaces.c.id).where(
            workspaces.c.name.in_(names), workspaces.c.archived_at.is_(None)
        )
    )
    return {row.name: row.id for row in rows}


def page(
    connection: Connection,
    *,
    limit: int,
    after: Place | None = None,
    before: Place | None = None,
    with_archived: bool = False,
    without: WorkspaceId | None = None,
    only: Sequence[str] = (),
) -> tuple[list[Workspace], bool]:
    """List newest first, beyond a cursor; and tell whether more follow in that direction."""
    question = select(workspaces)
    if not with_archived:
        question = question.where(workspaces.c.archived_at.is_(None))
    if without is not None:
        question = question.where(workspaces.c.id != without)
    if only:
        question = question.where(workspaces.c.id.in_([findable(given) for given in only]))
    rows, has_more = listing.page(
        connection, question, workspaces, limit=limit, after=after, before=before
    )
    return [_workspace(row) for row in rows], has_more


def cursor(connection: Connection, workspace_id: str) -> Place | None:
    return listing.place(connection, workspaces, workspace_id)


def change(
    connection: Connection,
    workspace_id: WorkspaceId,
    *,
    name: str | None = None,
    display_color: str | None = None,
) -> None:
    """Change what is given. Raises: IntegrityError when another live one has the name."""
    given = {"name": name, "display_color": display_color}
    values = {column: value for column, value in given.items() if value is not None}
    if values:
        connection.execute(
            update(workspaces).where(workspaces.c.id == workspace_id).values(**values)
        )


def limit(
    connection: Connection, workspace_id: WorkspaceId, limits: Mapping[LimitName, int | None]
) -> None:
    """Give a workspace limits of its own; None takes one away, those not named stay."""
    if limits:
        connection.execute(
            update(workspaces).where(workspaces.c.id == workspace_id).values(columns(limits))
        )


def archive(connection: Connection, workspace_id: WorkspaceId, *, now: datetime) -> None:
    """Close a workspace and revoke its keys. Idempotent: the first time stays."""
    connection.execute(
        update(workspaces)
        .where(workspaces.c.id == workspace_id, workspaces.c.archived_at.is_(None))
        .values(archived_at=to_us(now))
    )
    connection.execute(
        update(keys)
        .where(keys.c.workspace_id == workspace_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=to_us(now))
    )


def columns(limits: Mapping[LimitName, int | None]) -> dict[str, int | None]:
    """Give the columns of `workspaces` or `keys` that hold some limits."""
    return {f"max_{name}": value for name, value in limits.items()}


def allowance_of(row: Row[*tuple[Any, ...]]) -> Allowance:
    """Read the limits of a row of `workspaces` or `keys`."""
    return Allowance(
        requests_per_minute=row.max_requests_per_minute,
        queued_requests=row.max_queued_requests,
        body_bytes_in_flight=row.max_body_bytes_in_flight,
        uploads=row.max_uploads,
    )


def _by_id(workspace_id: str) -> Question:
    return select(workspaces).where(workspaces.c.id == findable(workspace_id))


def _live_by_name(name: str) -> Question:
    return select(workspaces).where(workspaces.c.name == name, workspaces.c.archived_at.is_(None))


def _one(connection: Connection, question: Question) -> Workspace | None:
    row = connection.execute(question).one_or_none()
    return None if row is None else _workspace(row)


def _workspace(row: Row[*tuple[Any, ...]]) -> Workspace:
    return Workspace(
        id=row.id,
        name=row.name,
        created_at=from_us(row.created_at),
        archived_at=from_optional_us(row.archived_at),
        display_color=row.display_color,
        allowance=allowance_of(row),
    )
