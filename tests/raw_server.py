"""A TCP server that answers with scripted bytes, faults included."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self


class Step(Enum):
    RESET = "break the connection with a TCP reset"
    CLOSE = "close the connection in an orderly way"
    HANG = "send nothing more until the client goes away"


class Received(NamedTuple):
    method: str
    target: str
    # Names in lower case.
    headers: Mapping[str, str]
    body: bytes


# Sent one after the other; an event is waited for.
Answer = Sequence[bytes | Step | asyncio.Event]


def answer(
    body: bytes, *, status: int = 200, content_type: str = "application/json", **headers: str
) -> bytes:
    """Write a whole answer; `_` in a header's name stands for `-`."""
    fields = {"content-type": content_type, "content-length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def chunked_head(content_type: str = "application/json") -> bytes:
    """Write the head of an answer whose body follows in chunks."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n"
    return (head + "transfer-encoding: chunked\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    """Write one chunk; an empty one ends the body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class RawServer:
    """Gives the first answer to the first request and so on; the last one again and again."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = answers
        self._tls = tls
        self.requests: list[Received] = []
        self.request_came = asyncio.Event()
        # Set when a client has left during HANG.
        self.client_left = asyncio.Event()
        self.connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self.connections.add(connection)
        connection.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _receive(reader):
                self.requests.append(request)
                self.request_came.set()
                number = min(len(self.requests), len(self.answers)) - 1
                for step in self.answers[number]:
                    if not await self._play(step, reader, writer):
                        return
        except ConnectionError:
            self.client_left.set()
        finally:
            writer.close()

    async def _play(
        self,
        step: bytes | Step | asyncio.Event,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Do one step; False when the connection has ended."""
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case asyncio.Event():
                await step.wait()
            case Step.HANG:
                await reader.read()
                self.client_left.set()
                return False
            case Step.RESET:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Step.CLOSE:
                return False
        return True


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, target, headers, body)
