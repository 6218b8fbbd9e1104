"""The Admin API's spend limits: the budgets of organization, workspaces and keys.

Needs role `admin`.
"""

from collections.abc import Sequence

from litestar import Response, delete, get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from overnight.budget import Budget, Spend
from overnight.errors import InvalidRequest, NotFound
from overnight.http import audit
from overnight.http.body import whole_body
from overnight.http.organization import MAX_BODY_BYTES, find_key, find_workspace
from overnight.http.service import AService, HttpRequest, Service
from overnight.store import budgets
from overnight.store.listing import Place
from overnight.wire.headers import api_version
from overnight.wire.paging import PageQuery, read_page_query
from overnight.wire.spend_limits import (
    SpendLimit,
    SpendLimitDeleted,
    SpendLimitPage,
    SpendSummaryPage,
    read_periods,
    read_scopes,
    read_spend_limit,
    spend_limit,
    spend_summary,
)


@get("/v1/organizations/spend_limits")
async def list_spend_limits(request: HttpRequest, service: AService) -> Response[SpendLimitPage]:
    """List budgets, newest first."""
    api_version(request.headers)
    query = read_page_query(request.query_params)
    scopes = read_scopes(_several(request, "scope_type"))
    workspace_id = request.query_params.get("workspace_id") or None
    if scopes is None:
        return Response(SpendLimitPage(data=[], next_page=None), media_type="application/json")
    page = request.query_params.get("page")

    def ask(connection: Connection) -> tuple[list[Budget], bool]:
        return budgets.page(
            connection,
            limit=query.limit,
            after=_after(connection, page),
            scopes=scopes,
            workspace_id=workspace_id,
        )

    found, has_more = await service.database.read(ask)
    shown = SpendLimitPage(
        data=[spend_limit(budget) for budget in found],
        next_page=found[-1].id if has_more else None,
    )
    return Response(shown, media_type="application/json")


@post("/v1/organizations/spend_limits", status_code=200, request_max_body_size=None)
async def set_spend_limit(request: HttpRequest, service: AService) -> Response[SpendLimit]:
    """Set a budget: there is one for each scope and period."""
    api_version(request.headers)
    body = await whole_body(request, max_bytes=MAX_BODY_BYTES)
    asked = read_spend_limit(body, now=service.clock.now())

    def change(connection: Connection) -> Budget:
        _require_subject(connection, asked)
        return budgets.set_limit(connection, asked)

    details = {"scope": asked.scope, "period": asked.period, "limit_usd": str(asked.limit_usd)}
    found = await audit.done(
        request, service, change, subject_id=asked.subject_id or None, details=details
    )
    await service.treasury.look_around()
    return Response(spend_limit(found), media_type="application/json")


@get("/v1/organizations/spend_limits/effective")
async def list_effective(request: HttpRequest, service: AService) -> Response[SpendSummaryPage]:
    """Show for each budget what is spent of it in the present period."""
    api_version(request.headers)
    query = read_page_query(request.query_params)
    periods = read_periods(_several(request, "period"))
    if _several(request, "user_ids"):
        # There are no users.
        return Response(SpendSummaryPage(data=[], next_page=None), media_type="application/json")
    page = request.query_params.get("page")
    found, has_more = await service.database.read(
        lambda c: _standings(c, service, query, periods, page)
    )
    shown = SpendSummaryPage(
        data=[spend_summary(budget, spend) for budget, spend in found],
        next_page=found[-1][0].id if has_more else None,
    )
    return Response(shown, media_type="application/json")


@get("/v1/organizations/spend_limits/{spend_limit_id:str}")
async def get_spend_limit(
    request: HttpRequest, spend_limit_id: FromPath[str], service: AService
) -> Response[SpendLimit]:
    """Show one budget."""
    api_version(request.headers)
    found = await service.database.read(lambda c: budgets.find(c, spend_limit_id))
    if found is None:
        raise _unknown(spend_limit_id)
    return Response(spend_limit(found), media_type="application/json")


@delete("/v1/organizations/spend_limits/{spend_limit_id:str}", status_code=200)
async def delete_spend_limit(
    request: HttpRequest, spend_limit_id: FromPath[str], service: AService
) -> Response[SpendLimitDeleted]:
    """Remove a budget: nothing is limited by it any more."""
    api_version(request.headers)

    def change(connection: Connection) -> None:
        if not budgets.remove(connection, spend_limit_id):
            raise _unknown(spend_limit_id)

    await audit.done(request, service, change)
    await service.treasury.look_around()
    return Response(SpendLimitDeleted(id=spend_limit_id), media_type="application/json")


def _standings(
    connection: Connection,
    service: Service,
    query: PageQuery,
    periods: Sequence[str],
    page: str | None,
) -> tuple[list[tuple[Budget, Spend]], bool]:
    after = _after(connection, page)
    found, has_more = budgets.page(connection, limit=query.limit, after=after, periods=periods)
    spending = service.treasury.spending
    return [(budget, spending.of(connection, budget)) for budget in found], has_more


def _after(connection: Connection, page: str | None) -> Place | None:
    """Find where a page begins. Raises: InvalidRequest for a cursor that is not one of ours."""
    if not page:
        return None
    place = budgets.cursor(connection, page)
    if place is None:
        raise InvalidRequest("page: no page begins here", hint="take next_page of an answer")
    return place


def _require_subject(connection: Connection, budget: Budget) -> None:
    """Raises: NotFound; InvalidRequest for what is archived or revoked."""
    if budget.scope == "workspace":
        workspace = find_workspace(connection, budget.subject_id)
        if workspace.archived_at is not None:
            raise InvalidRequest(f"Workspace {workspace.id} is archived and stays as it is")
    elif budget.scope == "key":
        key = find_key(connection, budget.subject_id)
        if key.revoked_at is not None:
            raise InvalidRequest(f"API key {key.id} is archived and spends nothing")


def _several(request: HttpRequest, name: str) -> list[str]:
    """Read a list of the query, as the SDKs write it: `name[]=a&name[]=b`."""
    given = request.query_params
    return [*given.getall(f"{name}[]", []), *given.getall(name, [])]


def _unknown(spend_limit_id: str) -> NotFound:
    return NotFound(f"Spend limit {spend_limit_id} not found.")


routes = [
    list_spend_limits,
    set_spend_limit,
    list_effective,
    get_spend_limit,
    delete_spend_limit,
]
