"""The body of a create call: checked in one pass, `params` left as the caller's bytes.

Source: protocol notes §4.1 (captures and SDK issues, 2026); text marked INF there is ours.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from functools import partial
from mmap import mmap

import msgspec

from overnight.errors import InvalidRequest
from overnight.wire.batches import Envelope

CUSTOM_ID_PATTERN = "^[a-zA-Z0-9_-]{1,64}$"
CUSTOM_ID_MAX_CHARACTERS = 64

_OBJECT_START = ord("{")
_SCAN_BYTES = 1 << 20
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
_is_custom_id = re.compile("[a-zA-Z0-9_-]{1,64}").fullmatch

# What the JSON parser says, in the words that callers meet at other servers.
_PARSER_TEXTS = {
    "Input data was truncated": "unexpected end of data",
    "unexpected end of hex escape": "no low surrogate in string",
    "unexpected end of escaped utf-16 surrogate pair": "no low surrogate in string",
    "invalid utf-16 surrogate pair": "no low surrogate in string",
}
_PARSER_TEXT = re.compile(r"(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?")
_NOT_AN_OBJECT = "Input should be a valid dictionary"
_KEY_TWICE = "The request body has a key twice in one object, with values that disagree"
_TOO_DEEP = "The request body is not valid JSON: arrays or objects are nested too deeply"

Body = bytes | mmap | memoryview
# Gives the fault of a value at a path, or None.
_Check = Callable[[msgspec.Raw, str], str | None]

_envelope = msgspec.json.Decoder(Envelope)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_anything = msgspec.json.Decoder(msgspec.Raw)
_text = msgspec.json.Decoder(str)


def read_envelope(body: Body, *, max_requests: int) -> Envelope:
    """Read the body of a create call.

    Shape: each request's `params` is a view on `body`, a well-formed JSON object in UTF-8 with
    unknown content; the views keep an mmap from being closed as long as the envelope lives.
    Raises: InvalidRequest for the first fault; nothing of `body` is held then.
    """
    # Faults come back as text: a traceback would hold views on `body`.
    envelope = _read(body, max_requests)
    if isinstance(envelope, str):
        raise InvalidRequest(envelope)
    return envelope


def _read(body: Body, max_requests: int) -> Envelope | str:
    try:
        envelope = _envelope.decode(body)
    except msgspec.ValidationError:
        return _first_fault(body, max_requests) or _KEY_TWICE
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _syntax_fault(body, error)
    except RecursionError:
        return _TOO_DEEP
    requests = envelope.requests
    ids = [request.custom_id for request in requests]
    well_formed = (
        0 < len(requests) <= max_requests
        and all(map(_is_custom_id, ids))
        and len(set(ids)) == len(ids)
        and all(memoryview(request.params)[0] == _OBJECT_START for request in requests)
    )
    if not well_formed:
        return _first_fault(body, max_requests) or _KEY_TWICE
    return _utf8_fault(body) or envelope


def _syntax_fault(body: Body, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        # A key or an id that is not UTF-8; the parser does not say where.
        return _utf8_fault(body) or _at(body, 0, "invalid UTF-8")
    found = _PARSER_TEXT.fullmatch(str(error))
    assert found is not None
    text, offset = found[1], len(body) if found[2] is None else int(found[2])
    if text == "trailing characters":
        offset -= 1  # Here alone the parser names the byte behind the one it stopped at.
    return _at(body, offset, _PARSER_TEXTS.get(text, text))


def _utf8_fault(body: Body) -> str | None:
    """Look through all bytes: the parser checks `params` for syntax but not for UTF-8."""
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


def _first_fault(body: Body, max_requests: int) -> str | None:
    """Find the first fault in document order; None when only a repeated key hides it."""
    try:
        # The typed parser stops at a wrong type, before it has seen all of the syntax.
        value = _anything.decode(body)
    except msgspec.DecodeError as error:
        return _syntax_fault(body, error)
    except RecursionError:
        return _TOO_DEEP
    if fault := _utf8_fault(body):
        return fault
    return _object_fault(value, "", {"requests": partial(_requests_fault, max_requests)})


def _object_fault(value: msgspec.Raw, path: str, checks: Mapping[str, _Check]) -> str | None:
    """Check an object that must have exactly the keys of `checks`."""
    prefix = f"{path}." if path else ""
    try:
        members = _object.decode(value)
    except msgspec.ValidationError:
        return f"{path}: {_NOT_AN_OBJECT}" if path else _NOT_AN_OBJECT
    for key, member in members.items():
        check = checks.get(key)
        if check is None:
            return f"{prefix}{key}: Extra inputs are not permitted"
        if fault := check(member, prefix + key):
            return fault
    missing = next((key for key in checks if key not in members), None)
    return None if missing is None else f"{prefix}{missing}: Field required"


def _requests_fault(max_requests: int, value: msgspec.Raw, path: str) -> str | None:
    try:
        requests = _array.decode(value)
    except msgspec.ValidationError:
        return f"{path}: Input should be a valid list"
    count = len(requests)
    if count == 0:
        return f"{path}: List should have at least 1 item after validation, not 0"
    if count > max_requests:
        limit = f"at most {max_requests} item{'' if max_requests == 1 else 's'}"
        return f"{path}: List should have {limit} after validation, not {count}"
    for index, request in enumerate(requests):
        if fault := _object_fault(request, f"{path}.{index}", _REQUEST_CHECKS):
            return fault
    return _duplicate_fault(requests, path)


def _duplicate_fault(requests: list[msgspec.Raw], path: str) -> str | None:
    seen: set[str] = set()
    for request in requests:
        custom_id = _text.decode(_object.decode(request)["custom_id"])
        if custom_id in seen:
            rule = "custom_id's must be unique within a batch."
            return f"{path}: {rule} Duplicate custom_id found: {custom_id}"
        seen.add(custom_id)
    return None


def _custom_id_fault(value: msgspec.Raw, path: str) -> str | None:
    try:
        custom_id = _text.decode(value)
    except msgspec.ValidationError:
        return f"{path}: Input should be a valid string"
    if not custom_id:
        return f"{path}: String should have at least 1 character"
    if len(custom_id) > CUSTOM_ID_MAX_CHARACTERS:
        return f"{path}: String should have at most {CUSTOM_ID_MAX_CHARACTERS} characters"
    if not _is_custom_id(custom_id):
        return f"{path}: String should match pattern '{CUSTOM_ID_PATTERN}'"
    return None


def _params_fault(value: msgspec.Raw, path: str) -> str | None:
    return None if memoryview(value)[0] == _OBJECT_START else f"{path}: {_NOT_AN_OBJECT}"


_REQUEST_CHECKS: Mapping[str, _Check] = {"custom_id": _custom_id_fault, "params": _params_fault}
