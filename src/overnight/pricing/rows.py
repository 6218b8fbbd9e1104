"""Read the requests of a file one by one, with what a price needs to know of each.

Shape: JSONL with a line `{"custom_id", "params"}` or bare params per request, one JSON body
`{"requests": […]}`, or a CSV table with a prompt template. Nothing is kept but the row at hand.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from difflib import get_close_matches
from itertools import chain
from typing import IO, Any

import msgspec

from overnight.errors import InvalidRequest
from overnight.parsing import UNREADABLE, why

MAX_PROBLEMS = 20
MAX_FIELD_CHARACTERS = 100_000_000
DEFAULT_MAX_TOKENS = 1_024
_BODY = re.compile(rb'\s*\{\s*"requests"\s*:')
_COLUMN = re.compile(r"\{(\w[\w .-]*)\}")
_PEEK_BYTES = 4_096
_NOTHING = msgspec.Raw(b"")


class Params(msgspec.Struct, frozen=True):
    """The part of `params` that decides the price; all else is skipped."""

    model: str | None = None
    max_tokens: int | None = None
    system: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING
    output_config: msgspec.Raw = _NOTHING
    messages: list[Any] | None = None


class Row(msgspec.Struct, frozen=True):
    """One request of a file."""

    params: Params
    # What it takes inside a create call.
    size_bytes: int
    # Whether it asks for prompt caching.
    marked: bool
    # The JSON that it was read from; empty for a row of a table.
    source: bytes = b""

    def request(self, model: str) -> dict[str, Any]:
        """Give the whole params, to be sent to a model; values from JSON stay as they are."""
        params: dict[str, Any] = {"messages": self.params.messages}
        if self.source:
            params = msgspec.json.decode(self.source, type=dict[str, msgspec.Raw])
            if "params" in params:
                params = msgspec.json.decode(params["params"], type=dict[str, msgspec.Raw])
            params.pop("custom_id", None)
        return params | {"model": model, "max_tokens": self.params.max_tokens}


class _Line(Params, frozen=True):
    params: Params | None = None


class _Body(msgspec.Struct, frozen=True):
    requests: list[msgspec.Raw]


class Problems:
    """What is wrong with a file, at most 20 of it in words."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: list[str] = []
        self.count = 0

    def add(self, place: str, reason: str) -> None:
        self.count += 1
        if self.count <= MAX_PROBLEMS:
            self._told.append(f"{self._name}:{place}: {reason}")

    def refuse(self) -> None:
        """Raise InvalidRequest with every problem, if there is one."""
        if not self.count:
            return
        more = self.count - len(self._told)
        lines = [*self._told, *([f"and {more} more problems, {self.count} in all"] if more else [])]
        raise InvalidRequest(
            "\n".join(lines), hint="correct these lines; nothing was sent, nothing is estimated"
        )


def rows(
    path: str, *, problems: Problems, prompt: str | None = None, max_tokens: int | None = None
) -> Iterator[Row]:
    """Read a file's requests; `-` is stdin. Bad rows are noted and left out.

    `max_tokens` stands in where a row has none. A name that ends in `.csv`, or a `prompt`
    template such as `Summarize: {text}`, means a CSV table.

    Raises: InvalidRequest when the file cannot be read at all.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            if path.lower().endswith(".csv") or prompt is not None:
                yield from _table(file, problems, prompt, max_tokens)
            else:
                yield from _lines(file, problems, max_tokens)
    except OSError as error:
        raise InvalidRequest(
            f"{path}: {error.strerror}", hint="name a file, or - for stdin"
        ) from None


def _lines(file: IO[bytes], problems: Problems, max_tokens: int | None) -> Iterator[Row]:
    decode = msgspec.json.Decoder(_Line).decode
    head = file.read(_PEEK_BYTES) + file.readline()
    if _BODY.match(head):
        yield from _body(head + file.read(), problems, max_tokens)
        return
    for number, line in enumerate(chain(io.BytesIO(head), file), start=1):
        if line.isspace():
            continue
        try:
            read = decode(line)
        except UNREADABLE as error:
            problems.add(str(number), _reason(error))
            continue
        if (row := _row(read, line, str(number), problems, max_tokens)) is not None:
            yield row


def _body(data: bytes, problems: Problems, max_tokens: int | None) -> Iterator[Row]:
    decode = msgspec.json.Decoder(_Line).decode
    try:
        body = msgspec.json.decode(data, type=_Body)
    except UNREADABLE as error:
        problems.add("1", _reason(error))
        return
    for number, item in enumerate(body.requests):
        place = f"requests.{number}"
        try:
            read = decode(item)
        except UNREADABLE as error:
            problems.add(place, _reason(error))
            continue
        if (row := _row(read, bytes(item), place, problems, max_tokens)) is not None:
            yield row


def _row(
    line: _Line, data: bytes, place: str, problems: Problems, max_tokens: int | None
) -> Row | None:
    params: Params = line if line.params is None else line.params
    at = "" if line.params is None else "params."
    if params.messages is None:
        problems.add(place, f"{at}messages: missing")
        return None
    limit = params.max_tokens if params.max_tokens is not None else max_tokens
    if limit is None or limit < 1:
        reason = "missing" if limit is None else f"{limit}, at least 1"
        problems.add(place, f"{at}max_tokens: {reason}")
        return None
    if params.max_tokens is None:
        params = msgspec.structs.replace(params, max_tokens=limit)
    marked = b'"cache_control"' in data
    return Row(params=params, size_bytes=len(data), marked=marked, source=data)


def _table(
    file: IO[bytes], problems: Problems, prompt: str | None, max_tokens: int | None
) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    table = csv.DictReader(text)
    limit = max_tokens or DEFAULT_MAX_TOKENS
    try:
        parts = _template(prompt or "{prompt}", list(table.fieldnames or ()))
        for record in table:
            if None in record.values() or None in record:
                problems.add(str(table.line_num), "has another number of fields than the header")
                continue
            content = "".join(record[part] if is_column else part for is_column, part in parts)
            params = Params(max_tokens=limit, messages=[{"role": "user", "content": content}])
            size = len(msgspec.json.encode(content)) + _CSV_ENVELOPE_BYTES
            yield Row(params=params, size_bytes=size, marked=False)
    except (csv.Error, UnicodeDecodeError) as error:
        problems.add(str(table.line_num + 1), f"not a CSV table in UTF-8: {error}")
    finally:
        # The file is closed where it was opened.
        text.detach()


# What stands around a prompt in a create call, with a short custom_id and a model's name.
_CSV_ENVELOPE_BYTES = 150


def _template(prompt: str, columns: list[str]) -> list[tuple[bool, str]]:
    """Split a template into texts and columns. Raises: InvalidRequest for an unknown column."""
    # re.split gives text, column, text, column, …, text.
    parts = [(index % 2 == 1, part) for index, part in enumerate(_COLUMN.split(prompt))]
    for is_column, name in parts:
        if is_column and name not in columns:
            near = get_close_matches(name, columns, n=2)
            raise InvalidRequest(
                f"prompt: no column {name!r} among {', '.join(columns) or 'none'}",
                hint=f"did you mean {' or '.join(near)}?"
                if near
                else "name the columns: --prompt 'Summarize: {text}'",
            )
    return parts


def _reason(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return f"not JSON: {why(error)}"
    reason, _, path = str(error).partition(" - at `$")
    return f"{path.strip('`.') or 'request'}: {reason}"
