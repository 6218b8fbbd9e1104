"""A fast upstream in Python: a fixed message after a fixed latency, every call counted.

    python -m bench.upstream --port N --latency-ms 50 --message FILE

`GET /calls` tells how many calls came, how many bodies were different, and when the first call
since the last `POST /mark` came (seconds of the system's monotonic clock, so that other processes
can compare). It serves where nginx is missing, where answers must take their time, and where
calls must be counted.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop


class Calls(msgspec.Struct, kw_only=True):
    """What has come so far."""

    calls: int = 0
    distinct: int = 0
    # Of the first and the last call since the last mark.
    first_at_s: float | None = None
    last_at_s: float | None = None


class Ledger:
    """Counts calls by their body. Mutable, touched by the event loop only."""

    def __init__(self) -> None:
        self.calls = Calls()
        self._seen: set[int] = set()

    def note(self, body: bytes) -> None:
        self._seen.add(hash(body))
        now = time.monotonic()
        calls = self.calls
        calls.calls += 1
        calls.distinct = len(self._seen)
        calls.last_at_s = now
        if calls.first_at_s is None:
            calls.first_at_s = now

    def mark(self) -> None:
        self.calls.first_at_s = self.calls.last_at_s = None


class Answerer(asyncio.Protocol):
    """One connection; its requests come one after the other."""

    def __init__(self, answer: bytes, latency_s: float, ledger: Ledger) -> None:
        self._answer = answer
        self._latency_s = latency_s
        self._ledger = ledger
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url
        self._body = []

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._url == b"/calls":
            self._send(http_answer(msgspec.json.encode(self._ledger.calls)))
        elif self._url == b"/mark":
            self._ledger.mark()
            self._send(http_answer(b"{}"))
        else:
            self._ledger.note(b"".join(self._body))
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._send, self._answer)
            else:
                self._send(self._answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


def http_answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


async def serve(port: int, answer: bytes, latency_s: float) -> None:
    """Answer until the process is ended."""
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Answerer(answer, latency_s, ledger), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--message", type=Path, required=True)
    given = parser.parse_args()
    answer = http_answer(given.message.read_bytes())
    uvloop.run(serve(given.port, answer, given.latency_ms / 1000))


if __name__ == "__main__":
    main()
