"""The HTTP/1.1 client against a server that answers with scripted bytes."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from tests.raw_server import Answer, RawServer, Step, answer, chunk, chunked_head

from overnight.backends import http1
from overnight.backends.http1 import Client, Origin, Timeouts
from overnight.backends.incoming import NoAnswer
from overnight.backends.messages import MessagesBackend
from overnight.model import Call, Failure, FailureKind, Reply

REQUEST = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
OK = answer(b"fine")
MAX_BYTES = 200_000
MESSAGE = b'{"type":"message","model":"m","content":[]}'


@asynccontextmanager
async def client(*answers: Answer) -> AsyncGenerator[tuple[Client, RawServer], None]:
    async with RawServer(*answers) as server:
        port = urlsplit(server.url).port
        assert port is not None
        timeouts = Timeouts(connect_s=5, first_byte_s=5, idle_s=5, total_s=10)
        made = Client(
            Origin("127.0.0.1", port, None), timeouts=timeouts, max_idle=4, max_bytes=MAX_BYTES
        )
        try:
            yield made, server
        finally:
            made.close()


async def body_of(*steps: bytes | Step) -> bytes:
    async with client(steps) as (made, _):
        return (await made.exchange(REQUEST)).body


async def refused(*steps: bytes | Step) -> FailureKind:
    async with client(steps) as (made, _):
        with pytest.raises(NoAnswer) as failure:
            await made.exchange(REQUEST)
    return failure.value.kind


@pytest.mark.parametrize(
    "whole",
    [
        OK,
        chunked_head() + chunk(b"fi") + chunk(b"ne") + chunk(b""),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK,
    ],
    ids=["length", "chunks", "interim"],
)
async def test_an_answer_may_be_cut_at_every_byte(whole: bytes) -> None:
    assert await body_of(*[whole[at : at + 1] for at in range(len(whole))]) == b"fine"


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert await body_of(b"HTTP/1.1 200 OK\r\n\r\nfi", b"ne", Step.CLOSE) == b"fine"


async def test_the_first_of_equal_headers_counts_whatever_its_case() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-One: 1\r\nX-One: 2\r\ncontent-length: 0\r\n\r\n"
    async with client([head]) as (made, _):
        answered = await made.exchange(REQUEST)
    assert answered.head.header("x-one") == "1" and answered.head.header("x-two") is None


async def test_trailers_do_not_become_headers_of_the_next_answer() -> None:
    trailed = chunked_head() + chunk(b"fine") + b"0\r\nretry-after: 9\r\n\r\n"
    async with client([trailed], [OK]) as (made, server):
        await made.exchange(REQUEST)
        answered = await made.exchange(REQUEST)
        assert len(server.connections) == 1
    assert answered.head.header("retry-after") is None


async def test_a_connection_is_used_again() -> None:
    async with client([OK]) as (made, server):
        for _ in range(3):
            await made.exchange(REQUEST)
        assert len(server.requests) == 3 and len(server.connections) == 1


@pytest.mark.parametrize(
    "first",
    [
        [OK, Step.CLOSE],
        [answer(b"fine", connection="close")],
        [OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"],
        [OK + b"HTT"],
    ],
    ids=["closed by the server", "close announced", "a surplus answer", "surplus bytes"],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(first: Answer) -> None:
    async with client(first, [answer(b"second")]) as (made, server):
        assert (await made.exchange(REQUEST)).body == b"fine"
        # The end of the first connection has come by the time another one was opened and used.
        async with asyncio.timeout(5):
            while Step.CLOSE in first and server.connections:
                await asyncio.sleep(0)
        try:
            body = (await made.exchange(REQUEST)).body
        except NoAnswer as failure:
            # The server's end may still be on its way.
            assert failure.kind is FailureKind.RESET
            body = (await made.exchange(REQUEST)).body
        assert body == b"second"


async def test_an_idle_connection_is_left_before_the_server_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1, "_IDLE_CONNECTION_S", 0.01)
    async with client([OK]) as (made, server):
        await made.exchange(REQUEST)
        async with asyncio.timeout(5):
            await asyncio.gather(*server.connections)


@pytest.mark.parametrize(
    "steps",
    [
        [b"SSH-2.0-OpenSSH_9.9\r\n\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000, Step.HANG],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 200001\r\n\r\n", Step.HANG],
        [chunked_head(), *[chunk(b"x" * 50_000)] * 5, Step.HANG],
        [b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, Step.HANG],
    ],
    ids=["garbage", "upgrade", "head", "interim", "announced", "chunks", "until-close"],
)
async def test_what_is_not_http_or_too_large_is_malformed(steps: list[bytes | Step]) -> None:
    assert await refused(*steps) is FailureKind.MALFORMED


async def test_a_stream_that_nobody_reads_makes_the_server_wait_and_is_whole_in_the_end() -> None:
    piece = b"x" * 65_536
    steps: Answer = [chunked_head(), *[chunk(piece)] * 200, chunk(b"")]
    async with client(steps) as (made, server):
        stream = await made.open(REQUEST)
        assert await stream.read(len(piece) * 200) == piece * 200
        assert len(server.requests) == 1


async def test_a_stream_reads_its_answer_before_its_fault() -> None:
    async with client([chunked_head(), chunk(b"fine"), Step.RESET]) as (made, _):
        stream = await made.open(REQUEST)
        assert await stream.chunk() == b"fine"
        with pytest.raises(NoAnswer) as failure:
            await stream.chunk()
    assert failure.value.kind is FailureKind.RESET


async def test_a_canceled_exchange_closes_its_connection() -> None:
    async with client([Step.HANG]) as (made, server):
        sending = asyncio.create_task(made.exchange(REQUEST))
        await server.request_came.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.client_left.wait()


async def test_what_was_not_sent_when_the_client_closed_is_never_sent() -> None:
    async with client([OK]) as (made, server):
        await made.exchange(REQUEST)
        sending = asyncio.create_task(made.exchange(REQUEST))
        # It has begun, and is to be sent in the next turn of the event loop.
        await asyncio.sleep(0)
        made.close()
        with pytest.raises(NoAnswer):
            await sending
        while server.connections:
            await asyncio.sleep(0)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("timeouts", "steps", "reason"),
    [
        (Timeouts(5, 0.05, 5, 10), [Step.HANG], "no first byte within 0.05 s"),
        (Timeouts(5, 5, 0.05, 10), [OK[:-2], Step.HANG], "nothing more for 0.05 s"),
        (Timeouts(5, 5, 5, 0.05), [OK[:-2], Step.HANG], "it was not whole"),
    ],
    ids=["first byte", "idle", "total"],
)
async def test_a_timeout_says_which_one_it_was(
    timeouts: Timeouts, steps: Answer, reason: str
) -> None:
    async with client(steps) as (made, server):
        made.timeouts = timeouts
        with pytest.raises(NoAnswer, match=reason) as failure:
            await made.exchange(REQUEST)
        await server.client_left.wait()
    assert failure.value.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_used_and_its_certificates_are_verified(
    trusted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(serving)
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    async with RawServer([answer(MESSAGE)], tls=serving) as server:
        backend = MessagesBackend(url=server.url.replace("127.0.0.1", "localhost"))
        await backend.start()
        result = await backend.send(Call(params=b'{"model":"m"}', api_version="2023-06-01"))
        await backend.close()
    if trusted:
        assert isinstance(result, Reply), result
    else:
        assert isinstance(result, Failure) and result.kind is FailureKind.UNREACHABLE
        assert "certificate" in result.message


async def test_a_connection_goes_to_the_given_address_and_proves_the_host() -> None:
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("nowhere.invalid").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    timeouts = Timeouts(connect_s=5, first_byte_s=5, idle_s=5, total_s=10)
    async with RawServer([OK], tls=serving) as server:
        port = urlsplit(server.url).port
        assert port is not None
        for host, proven in (("nowhere.invalid", True), ("elsewhere.invalid", False)):
            origin = Origin(host, port, trusting, address="127.0.0.1")
            made = Client(origin, timeouts=timeouts, max_idle=0, max_bytes=MAX_BYTES)
            if proven:
                assert (await made.exchange(REQUEST)).body == b"fine"
            else:
                with pytest.raises(NoAnswer, match="Hostname mismatch"):
                    await made.exchange(REQUEST)
            made.close()
