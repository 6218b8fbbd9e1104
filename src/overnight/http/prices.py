"""Prices over HTTP: `POST /overnight/v1/price`, `GET /overnight/v1/prices`. Public, no login."""

import asyncio
from typing import Any

from litestar import Response, get, post

from overnight.http.body import whole_body
from overnight.http.service import HttpRequest
from overnight.pricing import asked, listing
from overnight.pricing.document import Document

# Books change with a release, not while the service runs.
_CACHED = {"cache-control": "public, max-age=3600"}


@post("/overnight/v1/price", status_code=200, request_max_body_size=None)
async def price(request: HttpRequest) -> Response[Document]:
    """Price a workload or a usage; the answer is that of `overnight price --json`."""
    body = await whole_body(request, max_bytes=asked.MAX_BYTES)
    # In a thread: book `vendor` takes a third of a second when it is first asked.
    answer = await asyncio.to_thread(asked.answer, body)
    return Response(answer, media_type="application/json")


@get("/overnight/v1/prices")
async def prices() -> Response[listing.Books]:
    """Give every price of every book, with source and day."""
    return Response(listing.all_books(), media_type="application/json", headers=_CACHED)


@get("/overnight/v1/prices/schema.json")
async def prices_schema() -> Response[Any]:
    """Give the JSON schema of the books."""
    return Response(listing.schema(), media_type="application/schema+json", headers=_CACHED)


routes = [price, prices, prices_schema]
