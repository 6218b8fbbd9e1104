"""`GET /metrics`: what the service decided and did, in the text format of Prometheus."""

import asyncio
from collections.abc import Sequence

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from overnight.http.service import AService
from overnight.settings import Settings
from overnight.telemetry.exposition import MEDIA_TYPE, exposition

PATH = "/metrics"


@get(PATH)
async def metrics(service: AService) -> Response[bytes]:
    """Give the counters of this process; they say nothing about what is in requests."""
    reading = service.reader.read()
    # Read here, where the counters change; written down where it holds up nobody.
    text = await asyncio.to_thread(exposition, reading)
    return Response(text, media_type=MEDIA_TYPE, headers={"cache-control": "no-store"})


def routes(settings: Settings) -> Sequence[HTTPRouteHandler]:
    """Give the route, unless it is switched off."""
    return () if settings.metrics == "off" else (metrics,)


def public_paths(settings: Settings) -> frozenset[str]:
    """Say what needs no key, also where keys are configured."""
    return frozenset({PATH}) if settings.metrics == "open" else frozenset()
