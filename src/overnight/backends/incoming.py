"""An HTTP answer as it comes in: its head, the whole of it, or chunk by chunk."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

from overnight.model import FailureKind

# A consumer of a stream that is this far behind makes the server wait.
_MAX_UNREAD_BYTES = 256 * 1024


class NoAnswer(Exception):
    """The exchange brought no whole answer."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Head:
    """Status and headers of an answer."""

    __slots__ = ("_headers", "_written", "status")

    def __init__(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        self.status = status
        self._headers = headers
        self._written = _written(tuple(headers))

    def header(self, name: str, /) -> str | None:
        """Give the first value of a header; `name` in lower case."""
        written = self._written.get(name)
        return None if written is None else self._headers[written].decode("latin-1").strip()


@lru_cache(maxsize=64)
def _written(names: tuple[bytes, ...]) -> dict[str, bytes]:
    """Say how each header's name is written: a server sends the same ones again and again."""
    return {name.lower().decode("latin-1"): name for name in reversed(names)}


class Answer(NamedTuple):
    head: Head
    body: bytes


class Source(Protocol):
    """The connection that an answer comes from."""

    def flow(self, *, pause: bool) -> None:
        """Stop reading, or go on."""
        ...

    def abort(self) -> None:
        """Close at once and tell nobody."""
        ...


class Stream:
    """An answer that is read as it comes. Whoever has it reads it to its end or closes it."""

    def __init__(self, connection: Source) -> None:
        self.head = Head(0, {})
        self._connection: Source | None = connection
        self._unread = bytearray()
        self._failure: NoAnswer | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def begun(self) -> None:
        """Wait for the head. Raises: NoAnswer."""
        while not self.head.status and self._connection is not None:
            await self._news()
        if self._failure is not None and not self.head.status:
            raise self._failure

    async def chunk(self) -> bytes:
        """Give what has come since the last time, b"" at the end. Raises: NoAnswer."""
        while not self._unread and self._connection is not None:
            await self._news()
        if self._unread:
            data = bytes(self._unread)
            self._unread.clear()
            if self._connection is not None:
                self._connection.flow(pause=False)
            return data
        if self._failure is not None:
            raise self._failure
        return b""

    async def read(self, max_bytes: int) -> bytes:
        """Give all the rest. Raises: NoAnswer."""
        body = bytearray()
        while data := await self.chunk():
            body += data
            if len(body) > max_bytes:
                self.close()
                raise NoAnswer(FailureKind.MALFORMED, too_large(max_bytes))
        return bytes(body)

    def close(self) -> None:
        """Break the connection unless the answer has ended. Idempotent."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    # What the connection calls.

    def put(self, head: Head, data: bytes) -> None:
        self.head = head
        self._unread += data
        if len(self._unread) > _MAX_UNREAD_BYTES and self._connection is not None:
            self._connection.flow(pause=True)
        self._wake()

    def ended(self, failure: NoAnswer | None) -> None:
        self._failure = failure
        self._connection = None
        self._wake()

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def too_large(max_bytes: int) -> str:
    return f"it is larger than {max_bytes} bytes"
