"""Requests written byte by byte, for what no client sends, and the answers to them."""

import contextlib
import http.client
import json
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

VERSION = "anthropic-version: 2026-10-21"
_TIMEOUT_S = 20


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """Give the message of an error in the documented shape; nothing else may be said."""
        answer: dict[str, Any] = json.loads(self.body)
        assert self.headers["content-type"] == "application/json"
        # As the hosted service's edge does it.
        is_bare = self.status == 413 and "request_id" not in answer
        assert list(answer) == (["error"] if is_bare else ["type", "error", "request_id"])
        message: str = answer["error"]["message"]
        assert "Traceback" not in message and "Error(" not in message
        return message


def written(
    method: str, path: str, body: bytes = b"", *lines: str | bytes, length: bool = True
) -> bytes:
    """Write a request with these further header lines; its body as it stands."""
    usual = [f"{method} {path} HTTP/1.1", "host: localhost", VERSION]
    usual += [f"content-length: {len(body)}"] if length and (body or method == "POST") else []
    head = [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    return b"\r\n".join([*(line.encode("latin-1") for line in usual), *head, b"", b""]) + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)


def read_answer(opened: socket.socket, method: str = "GET") -> Answer:
    """Read one answer. Raises: OSError, http.client.HTTPException when there is none."""
    response = http.client.HTTPResponse(opened, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def exchange(port: int, *parts: bytes) -> Answer:
    """Send bytes, as far as the server takes them, and read its answer."""
    with connect(port) as opened:
        try:
            for part in parts:
                opened.sendall(part)
        except OSError:
            # It answered before it had read all of it.
            pass
        return read_answer(opened)


def flood(port: int, *parts: bytes) -> None:
    """Send bytes until all are sent or the server has closed; nothing else matters."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        exchange(port, *parts)


def closes(opened: socket.socket) -> bytes:
    """Wait until the server closes; give what came before."""
    came: Sequence[bytes] = []
    with opened:
        while data := opened.recv(65_536):
            came = [*came, data]
    return b"".join(came)
