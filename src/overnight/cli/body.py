"""The input file of `batches create`: checked line by line, then the body of the call."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import msgspec

from overnight.errors import InvalidRequest
from overnight.parsing import UNREADABLE, why

MAX_PROBLEMS = 20
MAX_REQUESTS = 100_000
MEMORY_BYTES = 1 << 26
CHUNK_BYTES = 1 << 18
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Body:
    """A checked create body on disk or in memory; read it with `chunks`."""

    def __init__(self) -> None:
        self.request_count = 0
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115
        self._file.write(b'{"requests":[')

    def add(self, row: bytes) -> None:
        self._file.write(b",\n" if self.request_count else b"\n")
        self._file.write(row)
        self.request_count += 1

    def close(self) -> None:
        self._file.write(b"\n]}")

    def discard(self) -> None:
        self._file.close()

    def chunks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            yield chunk


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    custom_id: str
    params: dict[str, Any]


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests: list[msgspec.Raw]


def read(path: str) -> Body:
    """Read and check a file of requests; `-` is stdin.

    The file holds a JSON line `{"custom_id", "params"}` per request, or one JSON document:
    a create body `{"requests": […]}` or its array.

    Raises: InvalidRequest naming the first 20 problems with file and line.
    """
    name = "stdin" if path == "-" else path
    try:
        if path == "-":
            return _Check(name).body(sys.stdin.buffer)
        with Path(path).open("rb") as file:
            return _Check(name).body(file)
    except OSError as error:
        raise InvalidRequest(
            f"{name}: {error.strerror}", hint="name a file of requests, or - for stdin"
        ) from None


class _Check:
    """Goes through one file and collects its problems."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: dict[str, str] = {}
        self._problems: list[str] = []
        self._body = Body()

    def body(self, file: IO[bytes]) -> Body:
        try:
            self._read(file)
        except BaseException:
            self._body.discard()
            raise
        self._body.close()
        return self._body

    def _read(self, file: IO[bytes]) -> None:
        first = file.readline()
        if _is_row(first):
            for number, line in enumerate(_lines(first, file), start=1):
                if line.strip():
                    self._row(line.strip(), f"{self._name}:{number}")
        else:
            for row in self._document(first + file.read()):
                self._row(bytes(row), self._name)
        self._raise_problems()

    def _document(self, content: bytes) -> list[msgspec.Raw]:
        if not content.strip():
            return []
        try:
            if content.lstrip().startswith(b"["):
                return msgspec.json.decode(content, type=list[msgspec.Raw])
            return msgspec.json.decode(content, type=_Envelope).requests
        except UNREADABLE as error:
            raise InvalidRequest(
                f"{self._name}:1: {why(error)}",
                hint='each line must be {"custom_id": …, "params": {…}}',
            ) from None

    def _row(self, row: bytes, place: str) -> None:
        index = self._body.request_count
        self._body.add(row)
        where = f"{place}: requests.{index}"
        try:
            request = msgspec.json.decode(row, type=_Row)
        except UNREADABLE as error:
            self._problems.append(f"{where}: {why(error)}")
            return
        problems = [*_id_problems(request.custom_id), *_params_problems(request.params)]
        self._problems += [f"{where}.{problem}" for problem in problems]
        first = self._seen.setdefault(request.custom_id, f"{place}: requests.{index}")
        if first != where:
            self._problems.append(
                f"{where}.custom_id: {request.custom_id} stands already at {first}"
            )

    def _raise_problems(self) -> None:
        count = self._body.request_count
        if count == 0:
            self._problems.append(f"{self._name}: no requests")
        if count > MAX_REQUESTS:
            self._problems.append(f"{self._name}: {count:,} requests, at most {MAX_REQUESTS:,}")
        if not self._problems:
            return
        listed = self._problems[:MAX_PROBLEMS]
        if more := len(self._problems) - len(listed):
            listed.append(f"and {more} more problems")
        raise InvalidRequest("\n".join(listed), hint="nothing was sent; mend the file")


def _is_row(line: bytes) -> bool:
    """Tell whether the first line is a whole request, so that the file is JSON lines."""
    try:
        value: Any = msgspec.json.decode(line)
    except UNREADABLE:
        return False
    return isinstance(value, dict) and "requests" not in value


def _lines(first: bytes, file: IO[bytes]) -> Iterator[bytes]:
    yield first
    yield from file


def _id_problems(custom_id: str) -> Iterator[str]:
    if not custom_id:
        yield "custom_id: empty, at least 1 character"
    elif len(custom_id) > 64:
        yield f"custom_id: {len(custom_id)} characters, at most 64"
    elif not _CUSTOM_ID.fullmatch(custom_id):
        yield f"custom_id: {custom_id}: only letters, digits, _ and -"


def _params_problems(params: dict[str, Any]) -> Iterator[str]:
    """Find what every Messages request needs; the server checks the rest row by row."""
    model, max_tokens, messages = (params.get(k) for k in ("model", "max_tokens", "messages"))
    if not isinstance(model, str) or not model:
        yield "params.model: must name a model"
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        yield "params.max_tokens: must be a whole number from 1"
    if not isinstance(messages, list) or not messages:
        yield "params.messages: must be a list of at least one message"
    if params.get("stream") is True:
        yield "params.stream: batches do not stream"
