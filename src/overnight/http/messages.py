"""`POST /v1/messages` and `POST /v1/messages/count_tokens`: one request, answered at once."""

import asyncio
from typing import Any

from litestar import Response, post
from litestar.response import Stream

from overnight.http.body import whole_body
from overnight.http.service import (
    AService,
    HttpRequest,
    Service,
    budget_headers,
    caller_of,
    workspace_of,
)
from overnight.model import Call, Failure, Need
from overnight.pipeline.till import Spender
from overnight.pipeline.treasury import NOTHING, Payment
from overnight.pricing.bounds import marked_ttl_s
from overnight.settings import Settings
from overnight.wire.errors import failure_error
from overnight.wire.headers import api_version, betas, user_profile_id
from overnight.wire.params import Checked, Refusal, Rules, check_params

# A larger body is checked in a thread.
_CHECKED_HERE_BYTES = 64 * 1024


@post("/v1/messages", status_code=200, request_max_body_size=None)
async def create_message(request: HttpRequest, service: AService) -> Response[Any]:
    """Answer one Messages request, as one object or as server-sent events."""
    call = await _call(request, service.settings)
    checked = await _checked(call, service, counts_tokens=False)
    need = Need(checked.input_tokens, checked.max_tokens)
    by = Spender(workspace_of(request), caller_of(request).key_id)
    payment = await _pay(call, checked, by, service)
    headers = budget_headers(service, *by)
    if checked.stream:
        events = await service.realtime.stream(call, checked.model, need, by=by, payment=payment)
        if isinstance(events, Failure):
            raise failure_error(events)
        return Stream(
            events,
            media_type="text/event-stream; charset=utf-8",
            headers={"cache-control": "no-cache", **headers},
        )
    reply = await service.realtime.send(call, checked.model, need, by=by, payment=payment)
    if isinstance(reply, Failure):
        raise failure_error(reply)
    return Response(reply.message, media_type="application/json", headers=headers)


@post("/v1/messages/count_tokens", status_code=200, request_max_body_size=None)
async def count_tokens(request: HttpRequest, service: AService) -> Response[Any]:
    """Count the input tokens of one Messages request."""
    call = await _call(request, service.settings)
    checked = await _checked(call, service, counts_tokens=True)
    count = await service.realtime.count_tokens(call, checked.model)
    if isinstance(count, Failure):
        raise failure_error(count)
    return Response({"input_tokens": count}, media_type="application/json")


async def _call(request: HttpRequest, settings: Settings) -> Call:
    version = api_version(request.headers)
    return Call(
        params=await whole_body(request, max_bytes=settings.max_message_bytes),
        api_version=version,
        betas=betas(request.headers),
        user_profile_id=user_profile_id(request.headers),
    )


async def _pay(call: Call, checked: Checked, by: Spender, service: Service) -> Payment:
    """Have the budgets of a caller pay for a call. Raises: BudgetExceeded, RateLimited."""
    if not service.treasury.budgets_of(*by):
        return NOTHING
    bounds = service.bounder.of(
        checked.model,
        checked.input_tokens,
        checked.max_tokens,
        tier="standard",
        on=service.clock.now().date(),
        ttl_s=marked_ttl_s(call.params),
    )
    return await service.treasury.pay(*by, bounds, model=checked.model)


async def _checked(call: Call, service: Service, *, counts_tokens: bool) -> Checked:
    """Check the params by the rules that hold for a batch's requests too.

    Raises: InvalidRequest or NotFound (an unknown model).
    """
    rules = Rules(
        api_version=call.api_version,
        betas=call.betas,
        user_profile_id=call.user_profile_id,
        in_batch=False,
        counts_tokens=counts_tokens,
        find_model=service.offer.facts,
        has_model=service.offer.has,
        max_context_tokens=service.settings.max_context_tokens,
        unknown_params=service.settings.unknown_params,
    )
    if len(call.params) <= _CHECKED_HERE_BYTES:
        checked = check_params(call.params, rules)
    else:
        # A large prompt takes seconds, in which leases must be renewed and others served.
        checked = await asyncio.to_thread(check_params, call.params, rules)
    if isinstance(checked, Refusal):
        raise checked.error()
    return checked


routes = [create_message, count_tokens]
