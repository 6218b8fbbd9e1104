"""What a batch costs: live, at its end, and beside the estimate it was created with."""

from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from overnight.errors import InvalidRequest
from overnight.http.batches import find_batch
from overnight.http.body import whole_body
from overnight.http.service import AService, HttpRequest, Service, workspace_of
from overnight.model import Batch, Charge, Counts, new_estimate_id
from overnight.pricing import asked, statement
from overnight.pricing.autocached import auto_cached
from overnight.pricing.document import Document, money
from overnight.pricing.quantity import number
from overnight.pricing.statement import Quoted, Standing, Statement, Stop
from overnight.store import batches, estimates, ledger
from overnight.store.batches import UsageByModel
from overnight.store.estimates import Estimated
from overnight.wire.schema import rule
from overnight.wire.syntax import read_json

_MAX_USD = 10**15
# What `pricing.asked` reads.
_PRICE = {"$ref": "#/components/schemas/PriceQuestion"}


class EstimateQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either a question as `POST /overnight/v1/price` takes it, or a range in USD."""

    price: Annotated[msgspec.Raw, rule(**_PRICE)] | msgspec.UnsetType = msgspec.UNSET
    low_usd: str | None = None
    high_usd: str | None = None


@get("/overnight/v1/batches/{batch_id:str}/cost")
async def batch_cost(
    request: HttpRequest, batch_id: FromPath[str], service: AService
) -> Response[Document]:
    """Tell what a batch has cost: by the ledger once it has ended, before that so far."""
    batch = await find_batch(service, batch_id, workspace_of(request))
    charged = await _charged(service, batch)
    found = Statement(
        status=batch.status,
        requests=batch.request_count,
        recorded=charged.counts.recorded,
        succeeded=charged.counts.succeeded,
        charges=charged.charges,
        quoted=await _quoted(service, batch),
        auto_cached=auto_cached(batch.auto_cached_requests, charged.usage, charged.charges)
        if batch.auto_cache
        else None,
        budgets=await _standings(service, batch),
        stopped=Stop(by=batch.stopped_by, rest_as=batch.stopped_as)
        if batch.stopped_by and batch.stopped_as
        else None,
    )
    shown = {"id": batch.id, "prices_of": batch.created_at.date().isoformat()}
    return Response(shown | statement.of_statement(found), media_type="application/json")


@post("/overnight/v1/estimates", status_code=200, request_max_body_size=None)
async def create_estimate(request: HttpRequest, service: AService) -> Response[Document]:
    """Keep an estimate: a batch created with its id is compared with it."""
    body = await whole_body(request, max_bytes=asked.MAX_BYTES)
    estimate, price = _estimated(body)
    workspace, now = workspace_of(request), service.clock.now()
    await service.database.write(
        lambda c: estimates.create(c, estimate, workspace_id=workspace, now=now)
    )
    shown: Document = {
        "id": estimate.id,
        "low_usd": money(estimate.low_usd),
        "high_usd": money(estimate.high_usd),
        "price": price,
    }
    return Response(shown, media_type="application/json")


class _Charged(NamedTuple):
    counts: Counts
    usage: UsageByModel
    charges: list[Charge]


async def _charged(service: Service, batch: Batch) -> _Charged:
    if batch.status == "ended":
        return await service.database.read(
            lambda c: _Charged(
                batch.counts, batches.used(c, batch.id), ledger.of_batch(c, batch.id)
            )
        )
    live = await service.database.read(lambda c: batches.live(c, batch))
    on = batch.created_at.date()
    charges = list(service.tariff.charges(live.usage, tier="batch", on=on))
    return _Charged(live.counts, live.usage, charges)


async def _standings(service: Service, batch: Batch) -> list[Standing]:
    """Say where its budgets stand; that of the organization is not shown to a workspace."""
    of = service.treasury.budgets_of(batch.workspace_id, batch.key_id, batch)
    await service.treasury.spending.recall(of)

    def ask(connection: Connection) -> list[Standing]:
        found = []
        for budget in of:
            if budget.scope == "organization":
                continue
            spend = service.treasury.spending.of(connection, budget)
            standing = Standing(
                scope=budget.scope,
                period=budget.period,
                limit_usd=budget.limit_usd,
                used_usd=spend.used_usd,
                reserved_usd=spend.reserved_usd,
                left_usd=spend.left_usd(budget.limit_usd),
            )
            found.append(standing)
        return found

    return await service.database.read(ask)


async def _quoted(service: Service, batch: Batch) -> Quoted | None:
    estimate_id = batch.estimate_id
    if estimate_id is None:
        return None
    found = await service.database.read(
        lambda c: estimates.find(c, estimate_id, batch.workspace_id)
    )
    assert found is not None, estimate_id
    return Quoted(id=found.id, low_usd=found.low_usd, high_usd=found.high_usd)


def _estimated(body: bytes) -> tuple[Estimated, Document | None]:
    """Read the amount of an estimate, and the price document it was taken from."""
    hint = 'send {"price": {…}} or {"low_usd": "1.20", "high_usd": "3.40"}'
    question = read_json(body, EstimateQuestion, hint=hint)
    if question.price is msgspec.UNSET:
        low, high = _usd(question.low_usd, "low_usd"), _usd(question.high_usd, "high_usd")
        if low > high:
            raise InvalidRequest(f"low_usd: {low} is more than high_usd, {high}")
        return Estimated(id=new_estimate_id(), low_usd=low, high_usd=high), None
    if question.low_usd is not None or question.high_usd is not None:
        raise InvalidRequest("price: stands for low_usd and high_usd; send it without them")
    document = asked.answer(bytes(question.price))
    usd = _usd(_amount(document), "price")
    return Estimated(id=new_estimate_id(), low_usd=usd, high_usd=usd), document


def _amount(document: Any) -> str:
    options = document.get("models", [document])
    if len(options) != 1:
        raise InvalidRequest(
            f"price: names {len(options)} models, an estimate is of one",
            hint='for a batch of several send {"low_usd": …, "high_usd": …}',
        )
    if not options[0]["complete"]:
        raise InvalidRequest("price: a part of it is unknown, so it cannot be an estimate")
    return str(options[0]["usd"])


def _usd(text: str | None, name: str) -> Decimal:
    if text is None:
        raise InvalidRequest(f"{name}: missing", hint='send it as text: "1.20"')
    return number(text, name=name, at_most=_MAX_USD, unit="USD")


routes = [batch_cost, create_estimate]
