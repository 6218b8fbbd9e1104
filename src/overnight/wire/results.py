"""Result lines: how each is written, and the types to read one.

Shape: one JSON object, without any line break; whoever joins lines puts one LF between them.
Source: protocol notes §3.5–3.7 (SDK 2.12 types, captures of 2025 and 2026).
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request errored, in the key order of captured lines."""

    details: msgspec.Raw | None = None
    type: str
    message: str


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the real-time endpoint would have answered it."""

    type: Literal["error"] = "error"
    error: ErrorDetail
    # None when the request was refused before any call was made for it.
    request_id: str | None = None


class Succeeded(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="succeeded"):
    # The Messages object as it travelled.
    message: msgspec.Raw


class Errored(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="errored"):
    error: ErrorResponse


class Canceled(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="canceled"):
    pass


class Expired(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="expired"):
    pass


class ResultLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one request of a batch came to."""

    custom_id: str
    result: Succeeded | Errored | Canceled | Expired


_line = msgspec.json.Decoder(ResultLine)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_parts = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode

# As numbers: bytes are searched for one number much faster than for a text.
_LF, _CR = b"\n\r"
_NULL = msgspec.Raw(b"null")
_ZERO = msgspec.Raw(b"0")
_BATCH = msgspec.Raw(b'"batch"')
_WRITES = b'{"ephemeral_5m_input_tokens":%b,"ephemeral_1h_input_tokens":0}'
# What `usage` always has on the wire, and its value where the backend said nothing.
_USAGE = {
    "input_tokens": _ZERO,
    "cache_creation_input_tokens": _ZERO,
    "cache_read_input_tokens": _ZERO,
    "cache_creation": msgspec.Raw(_WRITES % b"0"),
    "output_tokens": _ZERO,
    "inference_geo": msgspec.Raw(b'"not_available"'),
}


def read_result(line: bytes | str) -> ResultLine:
    """Read one line of a results stream.

    Raises: msgspec.DecodeError when it is not a result line.
    """
    return _line.decode(line)


def succeeded_line(custom_id: str, message: bytes) -> bytes:
    """Write the line of an answered request, with `usage` made that of a batch.

    `usage.service_tier` becomes "batch" and keys of `usage` that the wire always has are filled
    in (their cache writes add up); all else of `message` keeps its bytes and order.
    Raises: msgspec.DecodeError when `message` is not a Messages object; UTF-8 is not checked.
    """
    members = _object.decode(message)
    usage = _batch_usage(members.get("usage", _NULL))
    members["usage"] = msgspec.Raw(_encode(usage))
    return _one_line(
        b'{"custom_id":%b,"result":{"type":"succeeded","message":%b}}'
        % (_encode(custom_id), _encode(members))
    )


def errored_line(
    custom_id: str,
    error_type: str,
    message: str,
    details: msgspec.Raw | Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> bytes:
    """Write the line of a request that errored, in the wire's doubled nesting.

    `request_id` names the backend call that failed; None when none was made.
    """
    if isinstance(details, Mapping):
        details = msgspec.Raw(_encode(details))
    error = ErrorDetail(details=details, type=error_type, message=message)
    result = Errored(error=ErrorResponse(error=error, request_id=request_id))
    return _one_line(_encode(ResultLine(custom_id=custom_id, result=result)))


def canceled_line(custom_id: str) -> bytes:
    """Write the line of a request that was not sent because its batch was canceled."""
    return _encode(ResultLine(custom_id=custom_id, result=Canceled()))


def expired_line(custom_id: str) -> bytes:
    """Write the line of a request that got no answer before its batch expired."""
    return _encode(ResultLine(custom_id=custom_id, result=Expired()))


def _batch_usage(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    usage = {} if raw == _NULL else _object.decode(raw)
    absent = [key for key in _USAGE if key not in usage or usage[key] == _NULL]
    for key in absent:
        usage[key] = _USAGE[key]
    if "cache_creation" in absent:
        written = usage["cache_creation_input_tokens"]
        if written != _ZERO:
            # Five minutes is the lifetime unless a request asks for another.
            usage["cache_creation"] = msgspec.Raw(_WRITES % bytes(written))
    elif "cache_creation_input_tokens" in absent:
        parts = _parts.decode(usage["cache_creation"]).values()
        # What is no count is not ours to refuse: it may be the next thing that backends tell.
        usage["cache_creation_input_tokens"] = msgspec.Raw(
            _encode(sum(part for part in parts if type(part) is int))
        )
    usage["service_tier"] = _BATCH
    return usage


def _one_line(line: bytes) -> bytes:
    """Take out raw line breaks: JSON allows them as white space, a JSONL stream does not."""
    if _LF in line or _CR in line:
        return msgspec.json.format(line, indent=-1)
    return line
