import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from overnight.errors import InvalidRequest, OvernightError, RequestTooLarge
from overnight.http.body import decoded_body, whole_body
from overnight.http.service import HttpRequest

TEXT = '{"text":"Grüße, 日本"}'.encode()
MIB = 1024 * 1024


def request(*chunks: bytes, end: bool = True, **headers: str) -> HttpRequest:
    """Make a request whose body arrives in these chunks; without `end` it then stalls."""
    events = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if end:
        events.append({"type": "http.request", "body": b"", "more_body": False})
    arriving = iter(events)

    async def receive() -> Any:
        event = next(arriving, None)
        if event is None:
            await asyncio.Event().wait()
        return event

    return HttpRequest(scope(**headers), receive=receive)


def scope(**headers: str) -> Any:
    """Make the part of an ASGI scope that reading a body looks at; `_` stands for `-`."""
    fields = {"content-type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    return {"type": "http", "method": "POST", "headers": raw, "state": {}}


async def refused(of: HttpRequest, *, max_bytes: int = MIB) -> OvernightError:
    with pytest.raises(OvernightError) as error:
        await whole_body(of, max_bytes=max_bytes)
    return error.value


async def test_chunks_of_a_plain_body_are_passed_on_untouched() -> None:
    chunks = [b"a" * 70_000, b"b"]
    received = [chunk async for chunk in decoded_body(request(*chunks), max_bytes=MIB)]
    assert received == chunks
    assert all(ours is theirs for ours, theirs in zip(received, chunks, strict=True))


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert await whole_body(request(b"x" * 5, b"y" * 5), max_bytes=10) == b"xxxxxyyyyy"


async def test_an_empty_body_is_empty() -> None:
    assert await whole_body(request(), max_bytes=10) == b""


@pytest.mark.parametrize("coding", ["identity", "", "Identity, identity"])
async def test_identity_is_no_coding(coding: str) -> None:
    assert await whole_body(request(TEXT, content_encoding=coding), max_bytes=MIB) == TEXT


async def test_a_body_above_the_limit_is_refused_with_the_limit() -> None:
    error = await refused(request(b"x" * 6, b"x" * 5), max_bytes=10)
    assert isinstance(error, RequestTooLarge)
    assert error.message == "Request exceeds the maximum size: at most 10 bytes"
    assert error.error_code is None


async def test_an_announced_body_above_the_limit_is_not_waited_for() -> None:
    error = await refused(request(end=False, content_length="11"), max_bytes=10)
    assert isinstance(error, RequestTooLarge)


# Compression


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip"])
@pytest.mark.parametrize("cut", [1, 7, 10_000])
async def test_gzip_is_inflated_however_its_chunks_are_cut(coding: str, cut: int) -> None:
    body = TEXT * 50
    packed = gzip.compress(body)
    chunks = [packed[i : i + cut] for i in range(0, len(packed), cut)]
    assert await whole_body(request(*chunks, content_encoding=coding), max_bytes=MIB) == body


async def test_gzip_members_follow_one_another() -> None:
    packed = gzip.compress(b"one,") + gzip.compress(b"") + gzip.compress(b"two")
    assert await whole_body(request(packed, content_encoding="gzip"), max_bytes=10) == b"one,two"


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"])
async def test_any_other_coding_is_refused_by_name(coding: str) -> None:
    error = await refused(request(TEXT, content_encoding=coding))
    assert isinstance(error, InvalidRequest)
    assert error.error_code == "request_body_encoding_unsupported"
    assert error.message == f"content-encoding: {coding} is not supported; send gzip or none"


@pytest.mark.parametrize(
    "packed",
    [
        TEXT,
        gzip.compress(TEXT)[:-1],
        gzip.compress(TEXT)[:12],
        gzip.compress(TEXT)[:-8] + bytes(8),
        gzip.compress(TEXT) + b"garbage",
        zlib.compress(TEXT),
    ],
    ids=["plain", "short", "very short", "checksum", "garbage", "zlib"],
)
async def test_a_corrupt_gzip_stream_is_refused(packed: bytes) -> None:
    error = await refused(request(packed, content_encoding="gzip"))
    assert isinstance(error, InvalidRequest)
    assert error.error_code == "request_body_encoding_invalid"


async def test_the_limit_counts_what_comes_out_of_gzip() -> None:
    packed = gzip.compress(b"x" * 11)
    error = await refused(request(packed, content_encoding="gzip"), max_bytes=10)
    assert isinstance(error, RequestTooLarge)
    assert error.error_code == "request_body_too_large_after_decoding"
    assert error.message == "Request exceeds the maximum size after decoding: at most 10 bytes"


async def test_a_bomb_is_inflated_in_bounded_pieces() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()
    sizes: list[int] = []
    tracemalloc.start()
    with pytest.raises(RequestTooLarge):
        async for chunk in decoded_body(
            request(bomb, content_encoding="gzip"), max_bytes=100 * MIB
        ):
            sizes.append(len(chunk))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) <= 100 * MIB
    assert peak_bytes < 4 * MIB


# Character sets


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json; charset=UTF-8",
        'application/json; charset="utf8"',
        "application/json; charset=us-ascii",
    ],
)
async def test_utf_8_and_ascii_pass_unchanged(content_type: str) -> None:
    assert await whole_body(request(TEXT, content_type=content_type), max_bytes=MIB) == TEXT


async def test_iso_8859_1_becomes_utf_8() -> None:
    body = "Grüße".encode("latin-1")
    chunks = [body[:3], body[3:]]
    latin = request(*chunks, content_type="application/json; charset=ISO-8859-1")
    assert await whole_body(latin, max_bytes=MIB) == "Grüße".encode()


@pytest.mark.parametrize("sent", ["application/vnd.api+json", "", None])
async def test_json_may_be_called_json_or_nothing(sent: str | None) -> None:
    named = request(TEXT) if sent is None else request(TEXT, content_type=sent)
    assert await whole_body(named, max_bytes=MIB) == TEXT


@pytest.mark.parametrize(
    "sent",
    ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "a/b"],
)
async def test_what_is_not_called_json_is_refused_by_name(sent: str) -> None:
    error = await refused(request(TEXT, content_type=sent))
    assert isinstance(error, InvalidRequest)
    name = sent.partition(";")[0]
    assert error.message == f"content-type: {name} is not JSON; send application/json"


@pytest.mark.parametrize("charset", ["utf-16", "windows-1252", "klingon"])
async def test_any_other_charset_is_refused_by_name(charset: str) -> None:
    error = await refused(request(TEXT, content_type=f"application/json; charset={charset}"))
    assert isinstance(error, InvalidRequest)
    assert error.error_code == "unsupported_charset"
    assert charset in error.message


# Clients that stop


async def test_a_client_that_leaves_ends_the_body() -> None:
    async def arriving() -> AsyncIterator[dict[str, object]]:
        yield {"type": "http.request", "body": b"xyz", "more_body": True}
        yield {"type": "http.disconnect"}

    events = arriving()

    async def receive() -> Any:
        return await anext(events)

    left = HttpRequest(scope(), receive=receive)
    error = await refused(left)
    assert error.message == "The connection closed after 3 bytes of the body"
