"""The Message Batches endpoints."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath
from litestar.response import Stream
from sqlalchemy import Connection

from overnight.errors import InvalidRequest, NotFound
from overnight.http import audit
from overnight.http.body import decoded_body
from overnight.http.listing import cursors, page_of
from overnight.http.service import (
    AService,
    HttpRequest,
    Service,
    base_url,
    budget_headers,
    caller_of,
    tenant_of,
    workspace_of,
)
from overnight.model import Batch, WorkspaceId
from overnight.pipeline.accept import Submission
from overnight.store import batches, estimates, shards
from overnight.store.shards import SealedPart
from overnight.wire.batches import (
    DeletedMessageBatch,
    MessageBatch,
    MessageBatchPage,
    message_batch,
)
from overnight.wire.headers import (
    api_version,
    auto_cache,
    betas,
    max_cost_usd,
    user_profile_id,
)
from overnight.wire.paging import PageQuery, read_page_query

# A polling hint for clients; documented SDKs do not act on it.
_RETRY_AFTER_S = "10"
_CHUNK_BYTES = 1 << 20
# Small, so that the first line is there early.
_FIRST_CHUNK_BYTES = 1 << 16
_MAX_IDEMPOTENCY_KEY = 255


@post("/v1/messages/batches", status_code=200, request_max_body_size=None)
async def create_batch(request: HttpRequest, service: AService) -> Response[MessageBatch]:
    """Accept a batch: durable when this answers."""
    caller, workspace = caller_of(request), tenant_of(request)
    submission = Submission(
        workspace_id=workspace.id,
        key_id=caller.key_id,
        api_version=api_version(request.headers),
        betas=betas(request.headers),
        user_profile_id=user_profile_id(request.headers),
        idempotency_key=_idempotency_key(request),
        estimate_id=await _estimate_id(request, service),
        auto_cache=_auto_cache(request, service),
        queue_limits=service.limiter.limits(caller, workspace, "queued_requests"),
        max_cost_usd=max_cost_usd(request.headers),
    )
    max_bytes = service.settings.max_batch_bytes
    announced = request.headers.get("content-length", "")
    announced_bytes = min(int(announced), max_bytes) if announced.isdecimal() else 0
    with service.limiter.upload(caller, workspace, announced_bytes=announced_bytes) as upload:
        body = upload.passed(decoded_body(request, max_bytes=max_bytes))
        batch = await service.acceptor.accept(body, submission)
    shown = _show(request, service, batch)
    shown.headers |= budget_headers(service, workspace.id, caller.key_id)
    return shown


@get("/v1/messages/batches")
async def list_batches(request: HttpRequest, service: AService) -> Response[MessageBatchPage]:
    """List the workspace's batches, newest first."""
    api_version(request.headers)
    query = read_page_query(request.query_params)
    workspace = workspace_of(request)
    found, has_more = await service.database.read(lambda c: _page(c, workspace, query))
    url = base_url(request, service)
    shown = [message_batch(batch, base_url=url) for batch in found]
    page = page_of(MessageBatchPage, shown, has_more=has_more)
    return Response(page, media_type="application/json")


@get("/v1/messages/batches/{batch_id:str}")
async def get_batch(
    request: HttpRequest, batch_id: FromPath[str], service: AService
) -> Response[MessageBatch]:
    """Show one batch."""
    api_version(request.headers)
    batch = await find_batch(service, batch_id, workspace_of(request))
    if service.settings.live_counts and batch.status != "ended":
        live = await service.database.read(lambda c: batches.live(c, batch))
        batch = msgspec.structs.replace(batch, counts=live.counts)
    return _show(request, service, batch)


@post("/v1/messages/batches/{batch_id:str}/cancel", status_code=200)
async def cancel_batch(
    request: HttpRequest, batch_id: FromPath[str], service: AService
) -> Response[MessageBatch]:
    """Begin to cancel; requests under way may still be answered."""
    api_version(request.headers)
    workspace, now = workspace_of(request), service.clock.now()

    def cancel(connection: Connection) -> Batch:
        canceled = batches.cancel(connection, batch_id, workspace, now=now)
        if canceled is None:
            raise _unknown(batch_id)
        return canceled

    try:
        batch = await audit.done(request, service, cancel)
    except InvalidRequest:
        if service.settings.cancel_ended == "refuse":
            raise
        batch = await find_batch(service, batch_id, workspace)
    service.wakes.stopped.ring()
    service.wakes.events.ring()
    return _show(request, service, batch)


@delete("/v1/messages/batches/{batch_id:str}", status_code=200)
async def delete_batch(
    request: HttpRequest, batch_id: FromPath[str], service: AService
) -> Response[DeletedMessageBatch]:
    """Delete an ended batch with all that belongs to it."""
    api_version(request.headers)
    workspace, now = workspace_of(request), service.clock.now()

    def mark_deleted(connection: Connection) -> None:
        if not batches.mark_deleted(connection, batch_id, workspace, now=now):
            raise _unknown(batch_id)

    await audit.done(request, service, mark_deleted)
    service.wakes.cleared.ring()
    service.wakes.events.ring()
    return Response(DeletedMessageBatch(id=batch_id), media_type="application/json")


@get("/v1/messages/batches/{batch_id:str}/results")
async def get_results(request: HttpRequest, batch_id: FromPath[str], service: AService) -> Stream:
    """Stream the results: one line per request, in constant memory."""
    api_version(request.headers)
    batch = await find_batch(service, batch_id, workspace_of(request))
    # Archived by time even when the sweep has not come by yet.
    readable = batch.status == "ended" and service.clock.now() < batch.retain_until
    if not readable or batch.archived_at is not None:
        raise NotFound(f"Message Batch {batch_id} has no available results.")
    parts = await service.database.read(partial(shards.results, batch_id=batch.id))
    return Stream(
        _stream(service, parts),
        media_type="application/x-jsonl",
        headers={
            "content-disposition": f'attachment; filename="{batch.id}_results.jsonl"',
            "content-length": str(sum(part.size_bytes for part in parts)),
            "cache-control": "no-store",
        },
    )


async def find_batch(service: Service, batch_id: str, workspace: WorkspaceId) -> Batch:
    """Find a batch of the caller's workspace.

    Raises: NotFound, the same for unknown, deleted and foreign ids.
    """
    batch = await service.database.read(lambda c: batches.find(c, batch_id, workspace))
    if batch is None:
        raise _unknown(batch_id)
    return batch


def _unknown(batch_id: str) -> NotFound:
    return NotFound(f"Message Batch {batch_id} not found.")


def _show(request: HttpRequest, service: Service, batch: Batch) -> Response[MessageBatch]:
    running = request.method == "GET" and batch.status != "ended"
    return Response(
        message_batch(batch, base_url=base_url(request, service)),
        media_type="application/json",
        headers={"retry-after": _RETRY_AFTER_S} if running else {},
    )


def _page(
    connection: Connection, workspace: WorkspaceId, query: PageQuery
) -> tuple[list[Batch], bool]:
    found = cursors(query, lambda named: batches.cursor(connection, named, workspace), _unknown)
    return batches.page(
        connection, workspace, limit=query.limit, after=found.after, before=found.before
    )


def _idempotency_key(request: HttpRequest) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(
            f"idempotency-key: {len(key)} characters, between 1 and {_MAX_IDEMPOTENCY_KEY}"
        )
    return key


def _auto_cache(request: HttpRequest, service: Service) -> bool:
    asked = auto_cache(request.headers)
    return service.settings.auto_cache if asked is None else asked


async def _estimate_id(request: HttpRequest, service: Service) -> str | None:
    estimate_id = request.headers.get("overnight-estimate-id")
    if not estimate_id:
        return None
    workspace = workspace_of(request)
    found = await service.database.read(lambda c: estimates.find(c, estimate_id, workspace))
    if found is None:
        raise InvalidRequest(
            "overnight-estimate-id: no estimate has this id",
            hint="take one from POST /overnight/v1/estimates, or leave the header out",
        )
    return found.id


async def _stream(service: Service, parts: list[SealedPart]) -> AsyncIterator[bytes]:
    """Read part after part; the next chunk is read while the last one is being sent."""
    keys = [part.key for part in parts]
    chunks = service.objects.chunks(keys, _CHUNK_BYTES, first=_FIRST_CHUNK_BYTES)
    upcoming = asyncio.ensure_future(asyncio.to_thread(next, chunks, b""))
    while chunk := await upcoming:
        upcoming = asyncio.ensure_future(asyncio.to_thread(next, chunks, b""))
        yield chunk


routes = [create_batch, list_batches, get_batch, cancel_batch, delete_batch, get_results]
