"""The calculator page at `/` and `/price`, its files, and the price books as data. Public.

Links to the page carry their question behind the `#`, so every address gives the same document.
"""

import asyncio
import gzip
from datetime import date
from functools import lru_cache

from litestar import Response, get
from litestar.params import FromPath

from overnight.console import assets, calculator, render
from overnight.errors import NotFound
from overnight.http.service import AService, HttpRequest, base_url
from overnight.pricing import listing

_ASSETS = f"/{render.ASSETS_PATH}/"
_YEAR_S = 31_536_000
# Pages differ by day and by the address they were reached under.
_CACHED_PAGES = 16


@get(["/", "/price"])
async def calculator_page(request: HttpRequest, service: AService) -> Response[bytes]:
    """Give the page; it holds everything but its style and scripts."""
    plain, packed = await asyncio.to_thread(
        _page, service.clock.now().date(), base_url(request, service)
    )
    # Private: the code on the page names the address that this caller used.
    headers = {
        "cache-control": "private, no-cache",
        "content-security-policy": render.SERVED_POLICY,
    }
    return _answer(request, plain, packed, "text/html", headers)


@get(_ASSETS + "{digest:str}/{name:str}")
async def static_file(
    request: HttpRequest, digest: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """Give a style sheet or script; the right digest makes it good for a year.

    Another digest is that of another release, whose page this browser shows: it gets what is
    there, unkept.
    """
    asset = assets.assets().get(name)
    if asset is None:
        raise NotFound(f"{request.url.path}: no such file")
    is_this_release = digest == assets.digest()
    kept = f"public, max-age={_YEAR_S}, immutable" if is_this_release else "no-store"
    packed = _packed_asset(name)
    return _answer(request, asset.content, packed, asset.media_type, {"cache-control": kept})


@get("/prices.json")
async def price_data() -> Response[listing.Books]:
    """Give every price of every book; `GET /overnight/v1/prices` and its schema in short."""
    return Response(
        listing.all_books(),
        media_type="application/json",
        headers={"cache-control": "public, max-age=3600"},
    )


routes = [calculator_page, static_file, price_data]


@lru_cache(maxsize=_CACHED_PAGES)
def _page(on: date, address: str) -> tuple[bytes, bytes]:
    page = calculator.page(on=on, base_url=address, is_served=True)
    html = render.served(page).encode()
    return html, gzip.compress(html, mtime=0)


@lru_cache
def _packed_asset(name: str) -> bytes:
    return gzip.compress(assets.assets()[name].content, mtime=0)


def _answer(
    request: HttpRequest, plain: bytes, packed: bytes, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    encoding = {"content-encoding": "gzip"} if takes_gzip else {}
    return Response(
        packed if takes_gzip else plain,
        media_type=media_type,
        headers={"vary": "accept-encoding", **headers, **encoding},
    )
