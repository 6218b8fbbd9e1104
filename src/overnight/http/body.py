"""Read a request body as it streams: decoded, bounded, in UTF-8.

Source: protocol notes §2.5, §8.4 (third-party probes of August and October 2026).
"""

import asyncio
import codecs
import zlib
from collections.abc import AsyncIterator

from overnight.errors import InvalidRequest, RequestTooLarge
from overnight.http.service import HttpRequest

# A compressed chunk is inflated in pieces of this size, so that a bomb fills no memory.
_PIECE_BYTES = 256 * 1024
_GZIP_WINDOW_BITS = 31
_CHARSETS = {"utf-8", "iso8859-1", "ascii"}


async def decoded_body(request: HttpRequest, *, max_bytes: int) -> AsyncIterator[bytes]:
    """Give the body in chunks as they arrive, without `content-encoding` and in UTF-8.

    Route handlers that use it set `request_max_body_size=None`: the limit here is the one. That a
    client is too slow is seen by `http.connection`.
    Raises: InvalidRequest with the wire's `error_code` for a coding or charset that is not
    supported or a corrupt stream, and for a type that is not JSON; RequestTooLarge above
    `max_bytes`, counted after decoding.
    """
    _refuse_other_types(request)
    compressed = _is_gzip(request)
    transcode = _is_latin_1(request)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large(max_bytes)
    chunks = _received(request)
    if compressed:
        chunks = _inflated(chunks)
    size_bytes = 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise too_large(max_bytes, after_decoding=compressed)
        yield chunk.decode("latin-1").encode() if transcode else chunk


async def whole_body(request: HttpRequest, *, max_bytes: int) -> bytes:
    """Read the decoded body at once; raises as `decoded_body`."""
    return b"".join([chunk async for chunk in decoded_body(request, max_bytes=max_bytes)])


def too_large(max_bytes: int, *, after_decoding: bool = False) -> RequestTooLarge:
    """Say that a body is above the limit, and which limit."""
    decoded = " after decoding" if after_decoding else ""
    return RequestTooLarge(
        f"Request exceeds the maximum size{decoded}: at most {max_bytes} bytes",
        error_code="request_body_too_large_after_decoding" if after_decoding else None,
    )


async def _received(request: HttpRequest) -> AsyncIterator[bytes]:
    """Give what the connection brings, until the body ends."""
    size_bytes = 0
    while True:
        event = await request.receive()
        if event["type"] != "http.request":
            raise InvalidRequest(f"The connection closed after {size_bytes} bytes of the body")
        chunk = event["body"]
        size_bytes += len(chunk)
        if chunk:
            yield chunk
        if not event["more_body"]:
            return


async def _inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Inflate gzip, which may consist of several members, in bounded pieces."""
    member = None
    async for chunk in chunks:
        while chunk:
            member = member or zlib.decompressobj(_GZIP_WINDOW_BITS)
            try:
                piece = member.decompress(chunk, _PIECE_BYTES)
            except zlib.error as error:
                raise _corrupt(str(error)) from None
            chunk = member.unconsumed_tail
            if member.eof:
                chunk, member = member.unused_data, None
            if piece:
                yield piece
            if chunk:
                # Inflating goes on without any I/O: let others run between two pieces.
                await asyncio.sleep(0)
    if member is not None:
        raise _corrupt("it ends in the middle of the stream")


def _corrupt(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The request body is not valid gzip: {reason}", error_code="request_body_encoding_invalid"
    )


def _refuse_other_types(request: HttpRequest) -> None:
    """Forms and plain text are what a browser sends anywhere without asking; none is JSON."""
    sent = request.content_type[0].lower()
    if sent not in ("", "application/json") and not sent.endswith("+json"):
        raise InvalidRequest(f"content-type: {sent} is not JSON; send application/json")


def _is_gzip(request: HttpRequest) -> bool:
    codings = [
        coding
        for value in request.headers.getall("content-encoding", [])
        for coding in (part.strip().lower() for part in value.split(","))
        if coding not in ("", "identity")
    ]
    if codings not in ([], ["gzip"], ["x-gzip"]):
        raise InvalidRequest(
            f"content-encoding: {', '.join(codings)} is not supported; send gzip or none",
            error_code="request_body_encoding_unsupported",
        )
    return bool(codings)


def _is_latin_1(request: HttpRequest) -> bool:
    """Tell whether the body must be transcoded; US-ASCII already is UTF-8."""
    charset = request.content_type[1].get("charset", "utf-8")
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        name = ""
    if name not in _CHARSETS:
        raise InvalidRequest(
            f"content-type: charset {charset!r} is not supported; "
            "send UTF-8, ISO-8859-1 or US-ASCII",
            error_code="unsupported_charset",
        )
    return name == "iso8859-1"
