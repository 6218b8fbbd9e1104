"""What we add to the wire: health and live progress."""

from collections.abc import AsyncIterator
from functools import partial

import msgspec
from litestar import Response, get
from litestar.params import FromPath
from litestar.response import Stream

from overnight.clock import SystemClock
from overnight.http.batches import find_batch
from overnight.http.service import AService, HttpRequest, Service, workspace_of
from overnight.model import Batch
from overnight.pipeline.wake import sleep_or
from overnight.store import batches
from overnight.wire.progress import Progress

_INTERVAL_S = 1.0
_KEEP_ALIVE_S = 15.0


@get("/healthz")
async def healthz(service: AService) -> Response[dict[str, str]]:
    """Answer 200 while batches can be accepted: the database answers."""
    await service.database.read(partial(batches.unplanned, limit=1))
    return Response({"status": "ok"}, headers={"cache-control": "no-store"})


@get("/overnight/v1/batches/{batch_id:str}/progress")
async def batch_progress(
    request: HttpRequest, batch_id: FromPath[str], service: AService
) -> Response[Progress] | Stream:
    """Tell live where a batch stands; with `Accept: text/event-stream` until it has ended."""
    batch = await find_batch(service, batch_id, workspace_of(request))
    if "text/event-stream" not in request.headers.get("accept", ""):
        return Response(await service.meter.progress(batch), media_type="application/json")
    return Stream(
        _events(service, batch),
        media_type="text/event-stream; charset=utf-8",
        headers={"cache-control": "no-cache"},
    )


async def _events(service: Service, batch: Batch) -> AsyncIterator[bytes]:
    """Send each change, a comment when nothing changes for long, and `ended` as the last."""
    shown: Progress | None = None
    silent_s = 0.0
    while True:
        current = await service.meter.progress(batch)
        if shown is None or current.recorded != shown.recorded or current.status != shown.status:
            yield _event("progress", current)
            shown, silent_s = current, 0.0
        elif silent_s >= _KEEP_ALIVE_S:
            yield b": still here\n\n"
            silent_s = 0.0
        if current.status == "ended":
            yield _event("ended", current)
            return
        await sleep_or(SystemClock(), _INTERVAL_S, service.wakes.closing)
        if service.wakes.closing.is_set():
            return
        silent_s += _INTERVAL_S
        again = partial(batches.find, batch_id=batch.id, workspace_id=batch.workspace_id)
        latest = await service.database.read(again)
        if latest is None:
            return
        batch = latest


def _event(name: str, current: Progress) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(current))


routes = [healthz, batch_progress]
