"""The Admin API as the commands `workspaces`, `keys`, `budgets` and `audit` use it."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from overnight.budget import RecurringPeriod
from overnight.cli.client import PAGE_ROWS, Client
from overnight.errors import InvalidRequest, NotFound
from overnight.tenancy import LimitName
from overnight.wire.audit import ActDocument
from overnight.wire.keys import KeyDocument, NewKeyDocument, RevokedKey
from overnight.wire.organization import WorkspaceObject
from overnight.wire.rate_limits import (
    LIMITERS,
    RATE_LIMIT_ID,
    WorkspaceRateLimit,
    WorkspaceRateLimitPage,
)
from overnight.wire.spend_limits import (
    SpendLimit,
    SpendLimitDeleted,
    SpendScope,
    SpendSummary,
    SpendSummaryPage,
)

WORKSPACES = "/v1/organizations/workspaces"
KEYS = "/overnight/v1/keys"
ACTS = "/overnight/v1/audit"
SPEND_LIMITS = "/v1/organizations/spend_limits"

Row = TypeVar("Row", WorkspaceObject, KeyDocument, ActDocument)


class Page(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    data: list[Row]
    has_more: bool


class Organization:
    """Administers one server. Every method raises an OvernightError for whatever goes wrong."""

    def __init__(self, base_url: str | None) -> None:
        self._client = Client(base_url, as_admin=True)

    def create_workspace(self, name: str) -> WorkspaceObject:
        return self._client.post(WORKSPACES, {"name": name}, WorkspaceObject)

    def workspaces(self, *, with_archived: bool = False) -> Iterator[WorkspaceObject]:
        """Give all workspaces, the newest first."""
        query = {"include_default": "true", "include_archived": str(with_archived).lower()}
        return self._rows(WORKSPACES, query, Page[WorkspaceObject])

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Give the names of all workspaces by their ids."""
        return {row.id: row.name for row in self.workspaces(with_archived=True)}

    def archive_workspace(self, workspace_id: str) -> WorkspaceObject:
        path = f"{WORKSPACES}/{quote(workspace_id, safe='')}/archive"
        return self._client.post(path, {}, WorkspaceObject)

    def limits_of(self, workspace_id: str) -> WorkspaceRateLimit:
        """Give the limits that hold for a workspace."""
        path = f"{WORKSPACES}/{quote(workspace_id, safe='')}/rate_limits?include_inherited=true"
        found = self._client.get(path, WorkspaceRateLimitPage).data
        return found[0] if found else WorkspaceRateLimit(limits=[], workspace_id=workspace_id)

    def limit_workspace(self, workspace_id: str, changed: Mapping[LimitName, int | None]) -> None:
        path = f"{WORKSPACES}/{quote(workspace_id, safe='')}/rate_limits/{RATE_LIMIT_ID}"
        types = {name: of for of, name in LIMITERS.items()}
        values = [{"type": types[name], "value": value} for name, value in changed.items()]
        self._client.post(path, {"limits": values}, WorkspaceRateLimit)

    def set_budget(self, scope: SpendScope, period: RecurringPeriod, cents: int) -> SpendLimit:
        body = {"scope": scope, "period": period, "amount": str(cents)}
        return self._client.post(SPEND_LIMITS, body, SpendLimit)

    def budgets(self) -> Iterator[SpendSummary]:
        """Give all budgets with what is spent of them, the newest first."""
        page = ""
        while True:
            path = f"{SPEND_LIMITS}/effective?limit={PAGE_ROWS}{page}"
            found = self._client.get(path, SpendSummaryPage)
            yield from found.data
            if found.next_page is None:
                return
            page = f"&page={quote(found.next_page)}"

    def remove_budget(self, budget_id: str) -> SpendLimitDeleted:
        path = f"{SPEND_LIMITS}/{quote(budget_id, safe='')}"
        return self._client.remove(path, SpendLimitDeleted)

    def create_key(self, question: Mapping[str, Any]) -> NewKeyDocument:
        return self._client.post(KEYS, question, NewKeyDocument)

    def keys(self, **query: str) -> Iterator[KeyDocument]:
        """Give all keys that a query finds, the newest first."""
        return self._rows(KEYS, query, Page[KeyDocument])

    def limit_key(self, key_id: str, changed: Mapping[LimitName, int | None]) -> KeyDocument:
        path = f"{KEYS}/{quote(key_id, safe='')}"
        return self._client.post(path, {"limits": changed}, KeyDocument)

    def revoke_key(self, key_id: str) -> RevokedKey:
        return self._client.post(f"{KEYS}/{quote(key_id, safe='')}/revoke", {}, RevokedKey)

    def acts(self, **query: str) -> Iterator[ActDocument]:
        """Give all acts that a query finds, the newest first."""
        return self._rows(ACTS, query, Page[ActDocument])

    def workspace(self, text: str) -> WorkspaceObject:
        """Find the live workspace that has this name or id, or whose id begins so."""
        rows = list(self.workspaces())
        named = [row for row in rows if row.name == text]
        return named[0] if named else _only(rows, text, "workspace", "wrkspc_01")

    def key(self, text: str) -> KeyDocument:
        """Find the key that has this id, or whose id begins so."""
        return _only(self.keys(), text, "key", "apikey_01")

    def _rows(self, path: str, query: Mapping[str, str], page: type[Page[Row]]) -> Iterator[Row]:
        asked = {"limit": str(PAGE_ROWS), **query}
        while True:
            found = self._client.get(f"{path}?{urlencode(asked)}", page)
            yield from found.data
            if not found.has_more or not found.data:
                return
            asked["after_id"] = found.data[-1].id


def _only(rows: Iterable[Row], text: str, noun: str, prefix: str) -> Row:
    """Give the one row whose id is a text, or begins with it, with or without what all begin with.

    Raises: NotFound, InvalidRequest.
    """
    starts = (text, prefix + text)
    found = [row for row in rows if row.id.startswith(starts)]
    same = [row for row in found if row.id == text]
    if same:
        return same[0]
    if not found:
        raise NotFound(f"{text}: no {noun} has this id", hint=f"overnight {noun}s list")
    if len(found) > 1:
        listed = ", ".join(row.id for row in found[:5]) + (", …" if len(found) > 5 else "")
        raise InvalidRequest(
            f"{text}: {len(found)} {noun}s begin so: {listed}", hint="give more of the id"
        )
    return found[0]
