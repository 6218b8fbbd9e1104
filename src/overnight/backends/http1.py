"""HTTP/1.1 to one origin: kept connections, each with one exchange at a time.

Made for many small calls: one write a request, one parser (llhttp) and one lazy timer a
connection, no task and no timeout object a call (docs/decisions/0032). Redirects, cookies,
compression and retries are not known here. Who cancels a call closes its connection.
"""

import asyncio
import errno
import os
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import httptools

from overnight.backends.incoming import Answer, Head, NoAnswer, Stream, too_large
from overnight.model import FailureKind

_MAX_HEAD_BYTES = 64 * 1024
# uvicorn, which carries vLLM and SGLang, closes a connection after 5 idle seconds; leaving before
# it does keeps a call from being sent into a closing connection.
_IDLE_CONNECTION_S = 4.0
_NEVER = float("inf")
# uvloop counts in milliseconds: a timer may fire that much early.
_TIMER_GRAIN_S = 0.001


class Origin(NamedTuple):
    host: str
    port: int
    # None: plain TCP.
    tls: ssl.SSLContext | None
    # Connect here instead of asking for the host's addresses; TLS still proves the host.
    address: str | None = None


class Timeouts(NamedTuple):
    connect_s: float
    # From the request to the first byte of the answer.
    first_byte_s: float
    # Between two reads, once the answer has begun.
    idle_s: float
    total_s: float


class Client:
    """Exchanges with one origin; at most `max_idle` connections are kept without work.

    Belongs to the event loop in which it is made.
    """

    def __init__(self, origin: Origin, *, timeouts: Timeouts, max_idle: int, max_bytes: int):
        self.timeouts = timeouts
        self.max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._origin = origin
        self._max_idle = max_idle
        self._idle: list[_Connection] = []
        self._connections: set[_Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._unsent: list[_Connection] = []
        self._closed = False

    def close(self) -> None:
        """Break all connections: calls under way end as RESET. Idempotent."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._connections):
            connection.fail(FailureKind.RESET, "the client was closed")

    async def exchange(self, request: bytes, timeout_s: float | None = None) -> Answer:
        """Send a request and give its whole answer. Raises: NoAnswer."""
        now, total_s = self._loop.time(), self._total_s(timeout_s)
        connection = self._kept(now) or await self._connect(total_s)
        return await connection.exchange(request, now + total_s)

    async def open(self, request: bytes, timeout_s: float | None = None) -> Stream:
        """Send a request and give its answer as soon as the head is there. Raises: NoAnswer."""
        now, total_s = self._loop.time(), self._total_s(timeout_s)
        connection = self._kept(now) or await self._connect(total_s)
        stream = Stream(connection)
        connection.begin(request, now + total_s, stream)
        await stream.begun()
        return stream

    def _total_s(self, timeout_s: float | None) -> float:
        total_s = self.timeouts.total_s
        return total_s if timeout_s is None or timeout_s > total_s else timeout_s

    def _kept(self, now: float) -> "_Connection | None":
        """Give a connection that the server will not have closed yet."""
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < _IDLE_CONNECTION_S:
                return connection
            connection.abort()
        return None

    async def _connect(self, total_s: float) -> "_Connection":
        if self._closed:
            raise NoAnswer(FailureKind.UNREACHABLE, "the client was closed")
        loop, timeout_s = self._loop, min(self.timeouts.connect_s, total_s)
        host, port, tls, address = self._origin
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, loop),
                    address or host,
                    port,
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
        except TimeoutError:
            reason = f"no connection within {timeout_s:g} s"
            raise NoAnswer(FailureKind.UNREACHABLE, reason) from None
        except (OSError, UnicodeError) as error:
            # ssl.SSLError is one; UnicodeError: a name that DNS cannot hold.
            raise NoAnswer(FailureKind.UNREACHABLE, _reason(error)) from None
        if self._closed:
            connection.abort()
            raise NoAnswer(FailureKind.UNREACHABLE, "the client was closed")
        return connection

    def send_soon(self, connection: "_Connection") -> None:
        """Let a connection send with all others of this turn of the event loop.

        One by one, each would wake the server, which on few processors then stands in our way.
        """
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(connection)

    def joined(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def left(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def keep(self, connection: "_Connection", now: float) -> None:
        """Take back a connection whose exchange has ended well."""
        if self._closed or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_since = now
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(_IDLE_CONNECTION_S, self._drop_idle)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.send()

    def _drop_idle(self) -> None:
        """Close what nobody used for a while: the last used stand at the end."""
        kept_since = self._loop.time() - _IDLE_CONNECTION_S
        self._sweep = None
        for connection in [one for one in self._idle if one.idle_since <= kept_since]:
            self._idle.remove(connection)
            connection.abort()
        if self._idle:
            self._sweep = self._loop.call_later(_IDLE_CONNECTION_S, self._drop_idle)


class _Connection(asyncio.Protocol):
    """One connection. Between exchanges it hears nothing: what then comes closes it."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self._client = client
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        # The parser fills them without a call of Python; of equal headers the first counts.
        self.on_header: Callable[[bytes, bytes], object] = self._headers.setdefault
        self.on_body: Callable[[bytes], None] = self._parts.append
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._stream: Stream | None = None
        # Empty once it is on its way.
        self._request = b""
        self._head: Head | None = None
        self._body = b""
        self._received_bytes = 0
        self._complete = False
        self._keep_alive = False
        self._surplus = False
        self._ends_at = self._due_at = self._timer_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    # What the client and the stream call.

    async def exchange(self, request: bytes, ends_at: float) -> Answer:
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        self.begin(request, ends_at, None)
        try:
            return await waiter
        except asyncio.CancelledError:
            if self._waiter is waiter:
                self.abort()
            raise

    def begin(self, request: bytes, ends_at: float, stream: Stream | None) -> None:
        if self._transport is None:
            # It broke between the handshake and now: nothing was sent.
            self._stream = stream
            self.fail(FailureKind.UNREACHABLE, "the server closed the new connection")
            return
        self._stream = stream
        self._head = None
        self._complete = False
        self._received_bytes = 0
        self._ends_at = ends_at
        self._due(min(ends_at, self._loop.time() + self._client.timeouts.first_byte_s))
        self._request = request
        self._client.send_soon(self)

    def send(self) -> None:
        """Write the request, unless it was given up meanwhile."""
        request, self._request = self._request, b""
        if request and self._transport is not None:
            self._transport.write(request)

    def flow(self, *, pause: bool) -> None:
        """Stop or go on reading; a server that must wait for us is not silent."""
        if self._transport is None:
            return
        if pause:
            self._transport.pause_reading()
            self._due_at = self._ends_at
        elif not self._transport.is_reading():
            self._transport.resume_reading()
            self._due(min(self._ends_at, self._loop.time() + self._client.timeouts.idle_s))

    def abort(self) -> None:
        """Close at once and tell nobody."""
        self._waiter = self._stream = None
        self._request = b""
        self._forget_timer()
        self._client.left(self)
        if self._transport is not None:
            self._transport.abort()

    def fail(self, kind: FailureKind, reason: str) -> None:
        """End the exchange, if there is one, and close."""
        waiter, stream = self._waiter, self._stream
        self.abort()
        if stream is not None:
            stream.ended(NoAnswer(kind, reason))
        elif waiter is not None and not waiter.done():
            waiter.set_exception(NoAnswer(kind, reason))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not say that they are what they are.
        self._transport = cast(asyncio.Transport, transport)
        self._client.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.fail(FailureKind.RESET, str(exc) if exc else "the server closed the connection")
        # Breaks the circle of references, which would live until the next collection.
        self._parser = None

    def eof_received(self) -> None:
        self._client.left(self)
        head = self._head
        until_close = head is not None and not (
            head.header("content-length") or head.header("transfer-encoding")
        )
        if until_close and not self._complete:
            self._body = b"".join(self._parts)
            self._end(keep=False)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None and self._stream is None:
            self.abort()
            return
        self._received_bytes += len(data)
        broken = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            broken = True
        if self._complete:
            self._end(keep=not broken and not self._surplus)
        elif broken:
            self.fail(FailureKind.MALFORMED, "it is not valid HTTP")
        else:
            self._go_on()

    # What the parser calls. What is raised here would look like bad HTTP.

    def on_message_begin(self) -> None:
        self._surplus = self._complete

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._complete:
            self._head = Head(status, self._headers.copy())
        self._headers.clear()

    def on_message_complete(self) -> None:
        # 100 and 103 are messages too, and announce the one that counts.
        if self._head is not None and not self._complete:
            self._complete = True
            self._body = b"".join(self._parts)
            self._parts.clear()
            # Trailers: no headers of this answer, nor of the next one.
            self._headers.clear()
            # Known here only.
            self._keep_alive = self._parser.should_keep_alive()

    # What goes on inside.

    def _go_on(self) -> None:
        """Check and pass on what has come of an answer that is not whole yet."""
        head, stream, limit = self._head, self._stream, self._client.max_bytes
        if stream is not None and head is not None:
            if self._parts:
                self._received_bytes = 0
            limit = _MAX_HEAD_BYTES + limit
            stream.put(head, b"".join(self._parts))
            self._parts.clear()
        if head is None:
            if self._received_bytes > _MAX_HEAD_BYTES:
                self.fail(FailureKind.MALFORMED, f"its head is larger than {_MAX_HEAD_BYTES} bytes")
                return
        elif self._received_bytes > limit or (
            stream is None and int(head.header("content-length") or 0) > limit
        ):
            self.fail(FailureKind.MALFORMED, too_large(self._client.max_bytes))
            return
        if self._transport is not None and self._transport.is_reading():
            self._due(min(self._ends_at, self._loop.time() + self._client.timeouts.idle_s))

    def _end(self, *, keep: bool) -> None:
        head, waiter, stream = self._head, self._waiter, self._stream
        assert head is not None and self._transport is not None
        body, self._body = self._body, b""
        self._waiter = self._stream = None
        # An answer that came before the whole request was sent ends the connection.
        sent = not self._request and self._transport.get_write_buffer_size() == 0
        if keep and sent and self._keep_alive:
            if not self._transport.is_reading():
                self._transport.resume_reading()
            self._client.keep(self, self._loop.time())
        else:
            self.abort()
        if stream is not None:
            stream.put(head, body)
            stream.ended(None)
        elif waiter is not None and not waiter.done():
            waiter.set_result(Answer(head, body))

    def _due(self, at: float) -> None:
        """Set when patience ends. The timer is moved only when it would fire too late."""
        self._due_at = at
        if at < self._timer_at:
            self._forget_timer()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._look)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = _NEVER

    def _look(self) -> None:
        self._timer, self._timer_at = None, _NEVER
        if self._waiter is None and self._stream is None:
            return
        now = self._loop.time() + _TIMER_GRAIN_S
        if now < self._due_at:
            self._due(self._due_at)
        elif now >= self._ends_at:
            self.fail(FailureKind.TIMEOUT, "it was not whole when its time was over")
        elif not self._received_bytes and self._head is None:
            waited_s = self._client.timeouts.first_byte_s
            self.fail(FailureKind.TIMEOUT, f"no first byte within {waited_s:g} s")
        else:
            idle_s = self._client.timeouts.idle_s
            self.fail(FailureKind.TIMEOUT, f"nothing more for {idle_s:g} s")


def _reason(error: OSError | UnicodeError) -> str:
    # The numbers of TLS and of DNS are other ones.
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        number = error.errno or 0
        return os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
    return str(error)
