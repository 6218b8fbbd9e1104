"""A fast upstream in Python: fixed answers after a fixed latency, every call counted.

    python -m bench.upstream --port N --text-bytes 250 --latency-ms 50 --parallel 16

Answers Messages and, for peers that speak nothing else, Chat Completions. With `--parallel` it
works on so many calls at a time, and the others wait their turn. `GET /calls` tells how many calls
came, how many bodies were different, and when the first call since the last `POST /mark` came
(seconds of the system's monotonic clock, so that other processes can compare). It serves where
nginx is missing, where answers must take their time, and where calls must be counted.
"""

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

import httptools
import msgspec
import uvloop
from bench.body import DEFAULT_PATH, answers


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


class Slots:
    """Where the work on a call takes its time. Mutable, touched by the event loop only."""

    def __init__(self, latency_s: float, parallel: int | None) -> None:
        self._latency_s = latency_s
        self._free = parallel
        self._waiting: deque[Callable[[], None]] = deque()

    def work(self, answer: Callable[[], None]) -> None:
        """Answer after the latency, which begins when a slot is free."""
        if self._free is None:
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, answer)
            else:
                answer()
        elif self._free:
            self._free -= 1
            self._begin(answer)
        else:
            self._waiting.append(answer)

    def _begin(self, answer: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(self._latency_s, self._end, answer)

    def _end(self, answer: Callable[[], None]) -> None:
        answer()
        if self._waiting:
            self._begin(self._waiting.popleft())
        elif self._free is not None:
            self._free += 1


class Answerer(asyncio.Protocol):
    """One connection; its requests come one after the other."""

    def __init__(self, answers: dict[bytes, bytes], slots: Slots, ledger: Ledger) -> None:
        self._answers = answers
        self._slots = slots
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
            answer = self._answers.get(self._url) or self._answers[DEFAULT_PATH.encode()]
            self._slots.work(partial(self._send, answer))

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


def http_answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


async def serve(port: int, answers: dict[bytes, bytes], slots: Slots) -> None:
    """Answer until the process is ended."""
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Answerer(answers, slots, ledger), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--text-bytes", type=int, required=True)
    given = parser.parse_args()
    whole = {path.encode(): http_answer(body) for path, body in answers(given.text_bytes).items()}
    uvloop.run(serve(given.port, whole, Slots(given.latency_ms / 1000, given.parallel)))


if __name__ == "__main__":
    main()
