"""Small JSON read into a type, and what is wrong with bytes that should be JSON, and where.

Source: protocol notes §4.1; the wire's form is that of common parsers, texts are the parser's own.
"""

import codecs
import re
from mmap import mmap
from typing import TypeVar

import msgspec

from overnight.errors import InvalidRequest

Read = TypeVar("Read")
Body = bytes | mmap | memoryview | msgspec.Raw

TOO_DEEP = "The request body is not valid JSON: arrays or objects are nested too deeply"

_SCAN_BYTES = 1 << 20
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
# What the JSON parser says, in the words that callers meet at other servers.
_PARSER_TEXTS = {
    "Input data was truncated": "unexpected end of data",
    "unexpected end of hex escape": "no low surrogate in string",
    "unexpected end of escaped utf-16 surrogate pair": "no low surrogate in string",
    "invalid utf-16 surrogate pair": "no low surrogate in string",
}
_PARSER_TEXT = re.compile(r"(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?")


def read_json(body: bytes, kind: type[Read], *, hint: str = "send a JSON object") -> Read:
    """Read a small JSON value. Raises: InvalidRequest that names the field or the place."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        fault = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fault = syntax_fault(body, error)
    except RecursionError:
        fault = TOO_DEEP
    raise InvalidRequest(fault, hint=hint)


def syntax_fault(body: Body, error: msgspec.DecodeError | UnicodeDecodeError) -> str:
    """Say what a JSON parser's error means, with its line and column.

    `error` is not a ValidationError: that is about the shape of a value.
    """
    if isinstance(error, UnicodeDecodeError):
        # The parser does not say where.
        return utf8_fault(body) or _at(body, 0, "invalid UTF-8")
    found = _PARSER_TEXT.fullmatch(str(error))
    assert found is not None
    text, offset = found[1], memoryview(body).nbytes if found[2] is None else int(found[2])
    if text == "trailing characters":
        offset -= 1  # Here alone the parser names the byte behind the one it stopped at.
    return _at(body, offset, _PARSER_TEXTS.get(text, text))


def utf8_fault(body: Body) -> str | None:
    """Find the first byte that is not UTF-8; costs about 0.1 s per gigabyte of ASCII."""
    offset = 0
    with memoryview(body) as view:
        while offset < len(view):
            chunk = view[offset : offset + _SCAN_BYTES]
            try:
                _, consumed = codecs.utf_8_decode(chunk, "strict", len(chunk) < _SCAN_BYTES)
            except UnicodeDecodeError as error:
                return _at(body, offset + error.start, "invalid UTF-8")
            finally:
                chunk.release()
            offset += consumed
    return None


def _at(body: Body, offset: int, text: str) -> str:
    """Name a place as JSON parsers do: line and column from 1, char from 0, all in characters."""
    line, column, characters = 1, 1, 0
    with memoryview(body) as view:
        for start in range(0, offset, _SCAN_BYTES):
            chunk = bytes(view[start : min(start + _SCAN_BYTES, offset)])
            before, newline, last = chunk.rpartition(b"\n")
            length = len(last.translate(None, _CONTINUATION_BYTES))
            characters += length + len(before.translate(None, _CONTINUATION_BYTES)) + len(newline)
            line += chunk.count(b"\n")
            column = length + 1 if newline else column + length
    return (
        f"The request body is not valid JSON: {text}: "
        f"line {line} column {column} (char {characters})"
    )
