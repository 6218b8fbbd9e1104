"""The body of a create call: checked in one pass, `params` left as the caller's bytes.

Source: protocol notes §4.1 (captures and SDK issues, 2026); text marked INF there is ours.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from overnight.errors import InvalidRequest
from overnight.wire.batches import CUSTOM_ID_PATTERN, Envelope
from overnight.wire.syntax import TOO_DEEP, Body, syntax_fault, utf8_fault

CUSTOM_ID_MAX_CHARACTERS = 64

_OBJECT_START = ord("{")
_is_custom_id = re.compile("[a-zA-Z0-9_-]{1,64}").fullmatch

_NOT_AN_OBJECT = "Input should be a valid dictionary"
_KEY_TWICE = "The request body has a key twice in one object, with values that disagree"

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
        return syntax_fault(body, error)
    except RecursionError:
        return TOO_DEEP
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
    # The parser checks `params` for syntax but not for UTF-8.
    return utf8_fault(body) or envelope


def _first_fault(body: Body, max_requests: int) -> str | None:
    """Find the first fault in document order; None when only a repeated key hides it."""
    try:
        # The typed parser stops at a wrong type, before it has seen all of the syntax.
        value = _anything.decode(body)
    except msgspec.DecodeError as error:
        return syntax_fault(body, error)
    except RecursionError:
        return TOO_DEEP
    if fault := utf8_fault(body):
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
