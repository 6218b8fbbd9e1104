"""One client's connection: how large a head may be, how slow the client, and how many there are.

What the HTTP server below leaves open (docs/decisions/0045): it takes heads of any size, waits for
ever, and answers what is no HTTP in a form that no client of ours expects.
"""

import asyncio
import sys
from typing import Any, NamedTuple

from httptools import HttpParserCallbackError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from overnight.errors import (
    HeadTooLarge,
    InvalidRequest,
    OvernightError,
    RequestTimedOut,
    Unavailable,
    UrlTooLong,
)
from overnight.logs import Logger
from overnight.model import new_request_id
from overnight.wire.errors import error_body, error_headers

MAX_URL_BYTES = 16 * 1024
# Of all names and values together, trailers too.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
# Requests sent before the one under way has its answer.
MAX_PIPELINED = 64
# A connection that is closed while its client still writes is reset, and takes the answer with it.
_LINGER_S = 1.0

log = Logger("connection")


class Manners(NamedTuple):
    """What is asked of clients."""

    max_connections: int
    # For the head of a request; then for each further step of its body, and of its answer.
    timeout_s: float
    # Of bodies and of answers, above which a client is not too slow.
    min_bytes_per_s: float


class Connections:
    """All connections of a server: makes each, and makes room when there are too many."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self._open = 0
        # Those without a request under way, the one that has waited longest first.
        self._waiting: dict[Connection, None] = {}

    def __call__(self, **given: Any) -> "Connection":
        """Make a connection; what `uvicorn.Config(http=…)` calls for each."""
        return Connection(self, **given)

    def opened(self, connection: "Connection") -> bool:
        """Count a new connection; False when there is no room, and none that could give way."""
        self._open += 1
        if self._open > self.manners.max_connections:
            longest = next(iter(self._waiting), None)
            if longest is None:
                return False
            self.busy(longest)
            longest.give_way()
        self._waiting[connection] = None
        return True

    def closed(self, connection: "Connection") -> None:
        self._open -= 1
        self.busy(connection)

    def busy(self, connection: "Connection") -> None:
        self._waiting.pop(connection, None)

    def idle(self, connection: "Connection") -> None:
        self._waiting[connection] = None


class Connection(HttpToolsProtocol):
    """Reads requests from one client, within the bounds that `Manners` and the constants set."""

    def __init__(self, all_connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._all = all_connections
        self._manners = all_connections.manners
        # What the parser could not be told: why its callback raised.
        self._fault: OvernightError | None = None
        self._leaving = False
        self._head_bytes = self._head_fields = 0
        # Fed to the parser without any callback: a header, or what stands between chunks.
        self._silent_bytes = 0
        self._in_head = False
        self._in_body = False
        # Of the body, since the last look.
        self._body_bytes = 0
        self._kept_waiting = False
        # When patience with what is to come ends; None: nothing is due. The timer may be later.
        self._due_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def give_way(self) -> None:
        """Close a connection without a request under way, when all answers have left."""
        self.transport.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._all.opened(self):
            self._due()
        else:
            limit = self._manners.max_connections
            self._refuse(
                Unavailable(f"The service has {limit} connections, its limit", retry_after_s=1)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        if self._due_at is None and not (self._in_body or self._is_answering):
            self._due()
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > MAX_HEAD_BYTES:
            self._refuse(
                HeadTooLarge(
                    f"A header or the extension of a chunk is larger than {MAX_HEAD_BYTES:,} "
                    "bytes, the limit"
                )
            )

    def pause_writing(self) -> None:
        super().pause_writing()
        waiting_bytes = self.transport.get_write_buffer_size()
        patience_s = self._manners.timeout_s + waiting_bytes / self._manners.min_bytes_per_s
        self._stall = self.loop.call_later(patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    # What the parser calls. What is raised here comes back as `send_400_response`.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._head_fields = self._silent_bytes = 0
        self._in_head = True
        self._due()

    def on_url(self, url: bytes) -> None:
        self._silent_bytes = 0
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            raise self._failing(
                UrlTooLong(f"The URL is longer than {MAX_URL_BYTES:,} bytes, the limit")
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        self._silent_bytes = 0
        self._head_bytes += len(name) + len(value)
        self._head_fields += 1
        if self._head_bytes > MAX_HEAD_BYTES or self._head_fields > MAX_HEADERS:
            raise self._failing(
                HeadTooLarge(
                    f"The headers are larger than {MAX_HEAD_BYTES:,} bytes or more than "
                    f"{MAX_HEADERS}, the limits"
                )
            )
        # Trailers are nobody's business: the request is being answered already.
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) == MAX_PIPELINED:
            raise self._failing(InvalidRequest(f"More than {MAX_PIPELINED} requests are waiting"))
        self._in_head, self._in_body = False, True
        self._all.busy(self)
        super().on_headers_complete()
        self._look_again()

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)
        self._kept_waiting |= self.flow.read_paused

    def on_chunk_header(self) -> None:
        self._silent_bytes = 0

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._is_answering:
            self._due_at = None
        super().on_message_complete()

    # What the server calls.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.pipeline:
            # Or more would come with each answer than one.
            self.flow.pause_reading()
        elif not self._is_answering:
            self._all.idle(self)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or no request that we take; called while it is being handled."""
        self._refuse(self._fault or InvalidRequest(f"This is not HTTP/1.1: {_reason()}"))

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _failing(self, error: OvernightError) -> OvernightError:
        self._fault = error
        return error

    def _refuse(self, error: OvernightError) -> None:
        """Answer with an error and close; only close where it would look like another's answer."""
        if self._leaving or self.transport.is_closing():
            return
        log.debug("connection refused", status=error.status, reason=error.message)
        self._leaving = True
        cycle = self.cycle
        is_expected = not self._is_answering or (
            self._in_body and not self.pipeline and not cycle.response_started
        )
        if self._is_answering:
            cycle.disconnected = True
            cycle.message_event.set()
        if is_expected:
            self.transport.write(_answer(error))
        if not is_expected or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)

    def _due(self) -> None:
        """Have patience anew."""
        self._due_at = self.loop.time() + self._manners.timeout_s
        if self._timer is None:
            self._timer = self.loop.call_at(self._due_at, self._look)

    def _look_again(self) -> None:
        """Begin another stretch of a body."""
        self._body_bytes = 0
        self._kept_waiting = self.flow.read_paused
        self._due()

    def _look(self) -> None:
        """See whether patience has ended, and with what."""
        self._timer = None
        if self._due_at is None or self._leaving:
            return
        if self.loop.time() < self._due_at:
            self._timer = self.loop.call_at(self._due_at, self._look)
            return
        timeout_s = self._manners.timeout_s
        least_bytes = self._manners.min_bytes_per_s * timeout_s
        if self._in_head and self._is_answering:
            # The next request: it is not being read.
            self._due()
        elif self._in_head:
            self._refuse(
                RequestTimedOut(f"The head of the request was not complete within {timeout_s:g} s")
            )
        elif not (self._in_body and self._is_answering):
            # Nothing was asked, or all of it is answered.
            self.transport.close()
        elif self._kept_waiting or self._body_bytes >= least_bytes:
            self._look_again()
        else:
            self._refuse(
                InvalidRequest(
                    f"The request body arrived too slowly: {self._body_bytes} bytes within "
                    f"{timeout_s:g} s, at least {least_bytes:g}",
                    error_code="request_body_timeout",
                )
            )


def _reason() -> str:
    """Say what the parser found wrong."""
    error = sys.exception()
    # Of what is called back, only the URL is read: it is no part of the parser's own work.
    return "the URL cannot be read" if isinstance(error, HttpParserCallbackError) else str(error)


def _answer(error: OvernightError) -> bytes:
    """Write a whole answer that ends the connection."""
    request_id = new_request_id()
    body = error_body(error, request_id)
    fields = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "connection": "close",
        "request-id": request_id,
        **error_headers(error),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return STATUS_LINE[error.status] + lines.encode() + b"\r\n" + body
