"""The simulator behind a socket: real resets, real slow bodies, real malformed JSON.

Speaks HTTP/1.1 by itself: no framework lets a handler break its own connection, and this way one
core answers thousands of requests a second.
"""

import asyncio
import gzip
import hashlib
import socket
import struct
import zlib
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, cast

import httptools
import msgspec

from overnight.backends.simulator.simulator import Attempt, Simulator
from overnight.errors import (
    AuthenticationFailed,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    OvernightError,
)
from overnight.model import Call, Failure, FailureKind, new_request_id
from overnight.wire import headers as wire_headers
from overnight.wire.errors import error_body, error_headers, failure_error
from overnight.wire.models import ModelPage

# Names the request that rules with `custom_id` mean: params themselves do not carry it.
CUSTOM_ID_HEADER = "overnight-custom-id"

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_encode = msgspec.json.Encoder().encode
_BROKEN = (FailureKind.RESET, FailureKind.UNREACHABLE)


class SimulatorServer:
    """Serves one simulator until `close`."""

    def __init__(self, simulator: Simulator, *, api_key: str | None = None) -> None:
        self.simulator = simulator
        self.api_key = api_key
        # Calls by the digest of their body: the same request sent twice counts twice.
        self.bodies: Counter[bytes] = Counter()
        # Calls refused with 429.
        self.rate_limited = 0
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, on a free port for 0, and give the base URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections), host, port, backlog=4096
        )
        address = self._server.sockets[0].getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{shown}:{address[1]}"

    async def close(self) -> None:
        """Stop listening and break all connections. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None

    def stats(self) -> dict[str, int]:
        """Count the calls; `repeated` is how many had the body of an earlier one."""
        calls = self.bodies.total()
        return {
            "calls": calls,
            "distinct": len(self.bodies),
            "repeated": calls - len(self.bodies),
            "rate_limited": self.rate_limited,
            "in_flight": self.simulator.in_flight,
            "peak_in_flight": self.simulator.peak_in_flight,
        }


class _Request:
    """One request as far as it has been read."""

    def __init__(self) -> None:
        self.target = b""
        self.method = ""
        self.headers: dict[str, list[str]] = {}
        self.body = b""
        self.keep_alive = True

    def getall(self, key: str, default: list[str], /) -> list[str]:
        return self.headers.get(key, default)

    def header(self, key: str) -> str | None:
        values = self.headers.get(key)
        return values[0] if values else None


class _Connection(asyncio.Protocol):
    def __init__(self, server: SimulatorServer, connections: "set[_Connection]") -> None:
        self._server = server
        self._connections = connections
        self._parser: Any = httptools.HttpRequestParser(self)
        self._request = _Request()
        self._parts: list[bytes] = []
        self._waiting: deque[_Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not say that they are what they are.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._respond(_error(InvalidRequest("The request is not HTTP/1.1")), keep_alive=False)

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers.setdefault(name.decode("latin-1").lower(), []).append(
            value.decode("latin-1")
        )

    def on_headers_complete(self) -> None:
        if self._request.header("expect") and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        request, self._request = self._request, _Request()
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        request.body, self._parts = b"".join(self._parts), []
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    # What it does.

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _reset(self) -> None:
        """Break the connection with a TCP reset, as a peer that died does, not with an end."""
        if self._transport is not None:
            peer = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    async def _work(self) -> None:
        """Answer the requests of this connection, one after the other."""
        while self._waiting:
            request = self._waiting.popleft()
            try:
                await self._route(request)
            except OvernightError as error:
                self._respond(_error(error), keep_alive=request.keep_alive)
        self._task = None

    async def _route(self, request: _Request) -> None:
        path = request.target.partition(b"?")[0].decode("latin-1")
        if path == "/stats":
            self._respond(_json(self._server.stats()), keep_alive=request.keep_alive)
            return
        self._authenticate(request)
        if path == "/v1/messages" and request.method == "POST":
            await self._message(request)
        elif path == "/v1/messages/count_tokens" and request.method == "POST":
            counted = await self._server.simulator.count_tokens(self._call(request))
            if isinstance(counted, Failure):
                raise failure_error(counted)
            self._respond(_json({"input_tokens": counted}), keep_alive=request.keep_alive)
        elif path.startswith("/v1/models") and request.method == "GET":
            await self._models(request, path.removeprefix("/v1/models").strip("/"))
        elif path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/models"):
            raise MethodNotAllowed
        else:
            raise NotFound

    def _authenticate(self, request: _Request) -> None:
        if self._server.api_key is None:
            return
        key = request.header("x-api-key") or request.header("authorization")
        if key is None:
            raise AuthenticationFailed("x-api-key header is required")
        if key.removeprefix("Bearer ") != self._server.api_key:
            raise AuthenticationFailed

    def _call(self, request: _Request) -> Call:
        return Call(
            params=_decoded(request),
            api_version=wire_headers.api_version(request),
            betas=wire_headers.betas(request),
            custom_id=request.header(CUSTOM_ID_HEADER),
        )

    async def _models(self, request: _Request, name: str) -> None:
        simulator = self._server.simulator
        if name:
            model = simulator.model(name)
            if model is None:
                raise NotFound(f"model: {name}")
            self._respond(_json(model), keep_alive=request.keep_alive)
            return
        models = await simulator.models()
        assert isinstance(models, list)
        page = ModelPage(data=models, has_more=False, first_id=models[0].id, last_id=models[-1].id)
        self._respond(_json(page), keep_alive=request.keep_alive)

    async def _message(self, request: _Request) -> None:
        call = self._call(request)
        self._server.bodies[hashlib.sha256(call.params).digest()] += 1
        simulator = self._server.simulator
        if b'"stream"' in call.params and _wants_stream(call.params):
            await self._stream(request, call)
            return
        attempt = simulator.begin(call)
        try:
            await simulator.first_byte(attempt)
            await self._answer(request, attempt)
        finally:
            simulator.end(attempt)

    async def _answer(self, request: _Request, attempt: Attempt) -> None:
        result = attempt.result
        if isinstance(result, Failure):
            self._fail(request, result)
            return
        simulator = self._server.simulator
        if attempt.rest_s:
            await simulator.sleep(attempt.rest_s)
        headers = {"request-id": new_request_id()} | simulator.limit_headers(result["model"])
        body = _encode(result)
        response = _head(200, headers, len(body), keep_alive=request.keep_alive) + body
        if attempt.stall_s and self._transport is not None:
            half = len(response) - len(body) // 2
            self._transport.write(response[:half])
            response = response[half:]
            await simulator.sleep(attempt.stall_s)
        self._write(response, keep_alive=request.keep_alive)

    async def _stream(self, request: _Request, call: Call) -> None:
        events = await self._server.simulator.stream(call)
        if isinstance(events, Failure):
            self._fail(request, events)
            return
        headers = {"request-id": new_request_id(), "transfer-encoding": "chunked"}
        head = _head(200, headers, None, keep_alive=request.keep_alive, kind="text/event-stream")
        self._write(head, keep_alive=True)
        async for event in events:
            self._write(b"%x\r\n%b\r\n" % (len(event), event), keep_alive=True)
        self._write(b"0\r\n\r\n", keep_alive=request.keep_alive)

    def _fail(self, request: _Request, failure: Failure) -> None:
        if failure.kind is FailureKind.RATE_LIMITED:
            self._server.rate_limited += 1
        if failure.kind in _BROKEN:
            self._reset()
            return
        if failure.kind is FailureKind.MALFORMED:
            body = b'{"id":"msg_01","type":"message","content":[{"type":"te'
            head = _head(200, {}, len(body), keep_alive=request.keep_alive)
            self._write(head + body, keep_alive=request.keep_alive)
            return
        raise failure_error(failure)

    def _respond(self, response: "_Response", *, keep_alive: bool) -> None:
        head = _head(response.status, response.headers, len(response.body), keep_alive=keep_alive)
        self._write(head + response.body, keep_alive=keep_alive)

    def _write(self, data: bytes, *, keep_alive: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        if not keep_alive:
            self._transport.close()


class _Response(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _StreamFlag(msgspec.Struct):
    stream: bool | None = None


def _wants_stream(params: bytes) -> bool:
    try:
        return msgspec.json.decode(params, type=_StreamFlag).stream is True
    except msgspec.DecodeError:
        return False


def _decoded(request: _Request) -> bytes:
    """Undo the content coding: gzip, as the service accepts it, or none."""
    coding = request.header("content-encoding") or "identity"
    if coding == "identity":
        return request.body
    if coding != "gzip":
        raise InvalidRequest(
            f"content-encoding: {coding} is not supported; send gzip or none",
            error_code="request_body_encoding_unsupported",
        )
    try:
        return gzip.decompress(request.body)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest(
            "content-encoding: the body is not valid gzip",
            error_code="request_body_encoding_invalid",
        ) from error


def _json(value: object) -> _Response:
    return _Response(200, {"request-id": new_request_id()}, _encode(value))


def _error(error: OvernightError) -> _Response:
    request_id = new_request_id()
    headers = {"request-id": request_id} | error_headers(error)
    return _Response(error.status, headers, error_body(error, request_id))


def _head(
    status: int,
    headers: Mapping[str, str],
    length: int | None,
    *,
    keep_alive: bool,
    kind: str = "application/json",
) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}", f"content-type: {kind}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"content-length: {length}")
    if not keep_alive:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
