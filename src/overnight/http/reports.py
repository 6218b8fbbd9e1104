"""Usage and cost of the whole organization, by time: JSON as on the wire, or CSV."""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec
from litestar import Response, get

from overnight.access.keys import DEFAULT_WORKSPACE
from overnight.errors import InvalidRequest
from overnight.http.service import AService, HttpRequest, Service
from overnight.pricing.book import TokenClass
from overnight.pricing.cost import amount
from overnight.pricing.money import EXACT, ZERO, exact
from overnight.store import ledger
from overnight.store.ledger import LONG, SHORT, Dimension, Total
from overnight.wire.headers import api_version
from overnight.wire.reports import (
    CONTEXT_WINDOWS,
    CacheCreation,
    CostBucket,
    CostReport,
    CostResult,
    ReportQuery,
    ServerToolUse,
    UsageBucket,
    UsageReport,
    UsageResult,
    moment,
    next_page,
    read_cost_query,
    read_usage_query,
)

_WINDOW_OF: dict[str | None, str] = dict(zip((SHORT, LONG), CONTEXT_WINDOWS, strict=True))
_CONTEXT_OF: dict[str, str] = dict(zip(CONTEXT_WINDOWS, (SHORT, LONG), strict=True))
_CENTS = Decimal(100)
# What the wire calls the token classes of a cost.
_TOKEN_TYPES = {
    TokenClass.INPUT: "uncached_input_tokens",
    TokenClass.CACHE_WRITE_5M: "cache_creation.ephemeral_5m_input_tokens",
    TokenClass.CACHE_WRITE_1H: "cache_creation.ephemeral_1h_input_tokens",
    TokenClass.CACHE_READ: "cache_read_input_tokens",
    TokenClass.OUTPUT: "output_tokens",
}
_NEXT_PAGE = "overnight-next-page"


@get("/v1/organizations/usage_report/messages")
async def usage_report(request: HttpRequest, service: AService) -> Response[Any]:
    """Sum the usage of the organization in buckets of a day, an hour or a minute."""
    query = _question(request, service, read_usage_query)
    by: set[Dimension] = {"token_class"}
    by |= {name for name in ("workspace_id", "service_tier", "model") if name in query.group_by}
    if "context_window" in query.group_by:
        by.add("context")
    found = await _totals(service, query, by)
    results = {start: _usages(totals) for start, totals in found.items()}
    data = [
        UsageBucket(
            starting_at=moment(start),
            ending_at=moment(start + query.width),
            results=results.get(start, []),
        )
        for start in query.starts
    ]
    if _wants_csv(request):
        return _csv(data, _usage((None,) * 4, {}), query)
    page = next_page(query)
    report = UsageReport(data=data, has_more=page is not None, next_page=page)
    return Response(report, media_type="application/json")


@get("/v1/organizations/cost_report")
async def cost_report(request: HttpRequest, service: AService) -> Response[Any]:
    """Sum the charges of the organization by day."""
    query = _question(request, service, read_cost_query)
    by: set[Dimension] = {"token_class", "rate_usd"}
    if "workspace_id" in query.group_by:
        by.add("workspace_id")
    if described := "description" in query.group_by:
        by |= {"service_tier", "model", "context"}
    found = await _totals(service, query, by)
    results = {start: _costs(totals, described=described) for start, totals in found.items()}
    data = [
        CostBucket(
            starting_at=moment(start),
            ending_at=moment(start + query.width),
            results=results.get(start, []),
        )
        for start in query.starts
    ]
    if _wants_csv(request):
        return _csv(data, CostResult(amount=None), query)
    page = next_page(query)
    report = CostReport(data=data, has_more=page is not None, next_page=page)
    return Response(report, media_type="application/json")


def _question(
    request: HttpRequest, service: Service, read: Callable[..., ReportQuery]
) -> ReportQuery:
    """Read what is asked. Raises: InvalidRequest."""
    api_version(request.headers)
    return read(request.query_params, now=service.clock.now())


async def _totals(
    service: Service, query: ReportQuery, by: Collection[Dimension]
) -> Mapping[datetime, list[Total]]:
    only: dict[Dimension, Sequence[str]] = {
        "model": query.models,
        "workspace_id": query.workspace_ids,
        "service_tier": query.service_tiers,
        "context": [_CONTEXT_OF[window] for window in query.context_windows],
    }
    if query.matches_nothing or query.since >= query.until:
        return {}
    rows = await service.database.read(
        lambda c: ledger.totals(
            c,
            since=query.since,
            until=query.until,
            width=query.width,
            by=by,
            only={name: values for name, values in only.items() if values},
        )
    )
    return {start: list(of) for start, of in groupby(rows, key=lambda row: row.starts_at)}


def _usages(totals: Iterable[Total]) -> list[UsageResult]:
    """Put the token classes of each group beside each other."""
    groups: dict[tuple[str | None, ...], dict[str | None, int]] = {}
    for total in totals:
        key = (total.workspace_id, total.service_tier, total.model, total.context)
        groups.setdefault(key, {})[total.token_class] = total.count
    return [_usage(key, counts) for key, counts in groups.items()]


def _usage(key: tuple[str | None, ...], counts: Mapping[str | None, int]) -> UsageResult:
    workspace, tier, model, context = key
    return UsageResult(
        uncached_input_tokens=counts.get(TokenClass.INPUT, 0),
        cache_creation=CacheCreation(
            ephemeral_1h_input_tokens=counts.get(TokenClass.CACHE_WRITE_1H, 0),
            ephemeral_5m_input_tokens=counts.get(TokenClass.CACHE_WRITE_5M, 0),
        ),
        cache_read_input_tokens=counts.get(TokenClass.CACHE_READ, 0),
        output_tokens=counts.get(TokenClass.OUTPUT, 0),
        server_tool_use=ServerToolUse(web_search_requests=counts.get(TokenClass.WEB_SEARCH, 0)),
        workspace_id=_shown_workspace(workspace),
        service_tier=tier,
        model=model,
        context_window=_WINDOW_OF.get(context),
    )


def _costs(totals: Iterable[Total], *, described: bool) -> list[CostResult]:
    """Sum amounts; what has no known price stands apart and is never added as 0."""
    sums: dict[tuple[Any, ...], Decimal | None] = {}
    for total in totals:
        token_class = TokenClass(total.token_class or "")
        what = (total.model, total.service_tier, total.context, token_class) if described else ()
        key = (total.workspace_id, total.rate_usd is not None, *what)
        if total.rate_usd is None:
            sums[key] = None
            continue
        usd = amount(total.count, total.rate_usd, token_class)
        sums[key] = EXACT.add(sums.get(key) or ZERO, usd)
    return [_cost(key[0], key[2:], usd) for key, usd in sums.items()]


def _cost(workspace: str | None, what: tuple[Any, ...], usd: Decimal | None) -> CostResult:
    cents = None if usd is None else exact(EXACT.multiply(usd, _CENTS))
    shown = _shown_workspace(workspace)
    if not what:
        return CostResult(amount=cents, workspace_id=shown)
    model, tier, context, token_class = what
    tokens = token_class is not TokenClass.WEB_SEARCH
    return CostResult(
        amount=cents,
        workspace_id=shown,
        description=f"{model}, {tier}: {token_class.label}",
        cost_type="tokens" if tokens else "web_search",
        token_type=_TOKEN_TYPES[token_class] if tokens else None,
        service_tier=tier,
        context_window=_WINDOW_OF[context] if tokens else None,
        model=model,
    )


def _shown_workspace(workspace: str | None) -> str | None:
    return None if workspace == DEFAULT_WORKSPACE else workspace


def _wants_csv(request: HttpRequest) -> bool:
    form = request.query_params.get("format")
    if form not in (None, "csv", "json"):
        raise InvalidRequest(f"format: {form!r}: Input should be json, csv")
    return form == "csv" or (form is None and "text/csv" in request.headers.get("accept", ""))


def _csv(
    data: Sequence[UsageBucket | CostBucket], example: UsageResult | CostResult, query: ReportQuery
) -> Response[str]:
    """Write a row per result; the next page is named by a header."""
    text = io.StringIO()
    names = ["starting_at", "ending_at", *_flat(example)]
    writer = csv.DictWriter(text, names, lineterminator="\r\n")
    writer.writeheader()
    for bucket in data:
        edges = {"starting_at": bucket.starting_at, "ending_at": bucket.ending_at}
        for result in bucket.results:
            writer.writerow(edges | _flat(result))
    page = next_page(query)
    return Response(
        text.getvalue(),
        media_type="text/csv",
        headers={_NEXT_PAGE: page} if page else {},
    )


def _flat(result: UsageResult | CostResult) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in msgspec.to_builtins(result).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": count for inner, count in value.items()}
        else:
            flat[name] = value
    return flat


routes = [usage_report, cost_report]
