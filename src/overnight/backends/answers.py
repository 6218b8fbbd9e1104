"""Read what a Messages server answered: message, error, list of models, token count. Pure.

Servers differ: `usage` keys may be absent or null (vLLM, llama.cpp, Ollama), errors and model lists
may have the OpenAI shape. Source: dispatch facts §3, protocol notes §3.6 to §3.8, §12.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol, cast, get_args

import msgspec

from overnight.model import Failure, FailureKind, Reply, Usage
from overnight.parsing import UNREADABLE
from overnight.wire.errors import ERROR_TYPES, error_type
from overnight.wire.headers import rate_limits, retry_after_s
from overnight.wire.models import Capabilities, Model

Line = Literal["haiku", "sonnet", "opus", "fable", "mythos"]
Lifecycle = Literal["active", "deprecated", "retired"]

_KIND_OF_STATUS = {
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.BILLING,
    403: FailureKind.PERMISSION,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.CONFLICT,
    409: FailureKind.CONFLICT,
    413: FailureKind.TOO_LARGE,
    429: FailureKind.RATE_LIMITED,
    529: FailureKind.OVERLOADED,
}
# 504 has a type of its own too: the default fits it.
_KIND_OF_TYPE = {
    "invalid_request_error": FailureKind.INVALID_REQUEST,
} | {error_type(status): kind for status, kind in _KIND_OF_STATUS.items() if status != 408}


class Header(Protocol):
    def __call__(self, key: str, /) -> str | None:
        """Give the first value of a response header, or None."""
        ...


class ModelList(NamedTuple):
    models: list[Model]
    # Where the next page begins; None on the last one.
    next_id: str | None


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _ServerToolUse(msgspec.Struct):
    web_search_requests: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None


class _Message(msgspec.Struct):
    type: Literal["message"]
    model: str
    content: list[msgspec.Raw]
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    details: msgspec.Raw = msgspec.Raw()


class _ErrorBody(msgspec.Struct):
    error: _Error
    type: str | None = None


class _TokenCount(msgspec.Struct):
    input_tokens: int


class _ListedModel(msgspec.Struct):
    """A model in the Anthropic shape, or in the OpenAI shape (`created`, `max_model_len`)."""

    id: str
    display_name: str | None = None
    created_at: datetime | None = None
    created: int | None = None
    lifecycle: str | None = None
    line: str | None = None
    max_input_tokens: int | None = None
    max_model_len: int | None = None
    max_tokens: int | None = None
    deprecated_at: datetime | None = None
    retires_at: datetime | None = None
    capabilities: Capabilities | None = None


class _ModelPage(msgspec.Struct):
    data: list[_ListedModel]
    has_more: bool = False
    last_id: str | None = None


# Far above what any answer uses; a batch of such answers still fits a 64-bit sum.
_MAX_COUNT = 10**12
# Longer than any model's name; PostgreSQL indexes no row above 2,704 bytes.
_MAX_MODEL_NAME = 256

# What of a refusal is kept and shown; prompts are far longer, and no business of an error.
_MAX_MESSAGE = 4_096
_MAX_DETAILS = 16 * 1024
_MAX_REQUEST_ID = 256

# As numbers: bytes are searched for one number much faster than for a text.
_LF, _CR = b"\n\r"

_message_decoder = msgspec.json.Decoder(_Message)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


def reply(body: bytes, header: Header) -> Reply | Failure:
    """Take a 200's body as the message; its bytes stay as they are but for line breaks between
    tokens, which must not enter a line of results."""
    try:
        message = _message_decoder.decode(body)
        if _LF in body or _CR in body:
            body = msgspec.json.format(body, indent=-1)
        if not body.isascii():
            # The decoder does not look into the parts it skips; results must be UTF-8.
            body.decode()
    except UNREADABLE:
        return malformed("answered 200 without a Messages object", header, status=200)
    usage = _usage(message.usage or _Usage())
    model = model_name(message.model)
    return Reply(message=body, usage=usage, model=model, limits=rate_limits(header))


def usage_told(told: Mapping[str, object]) -> Usage:
    """Read usage that was told piece by piece; a piece that cannot be read is not known."""
    readable = {name: value for name, value in told.items() if _is_readable(name, value)}
    return _usage(msgspec.convert(readable, _Usage))


def malformed(what: str, header: Header, *, status: int) -> Failure:
    """Say that the backend's answer cannot be used, and why, without quoting from it."""
    return Failure(
        kind=FailureKind.MALFORMED,
        error_type="api_error",
        message=f"The backend {what}",
        status=status,
        request_id=_request_id(header),
    )


def refusal(status: int, body: bytes, header: Header, *, now: datetime) -> Failure:
    """Read an answer that is no success: status, the error's type, text and details, when to retry.

    Only an error object's own `message` is shown; any other body may echo a prompt.
    """
    if status < 400:
        hint = "; redirects are not followed: set the URL to the final one" if status >= 300 else ""
        return malformed(f"answered with HTTP status {status}{hint}", header, status=status)
    error = _error(body).error
    known_type = error.type if error.type in ERROR_TYPES else None
    return Failure(
        kind=_kind(status),
        error_type=known_type or error_type(status),
        message=_shown(error) or f"The backend answered with HTTP status {status}",
        status=status,
        retry_after_s=retry_after_s(header("retry-after-ms"), header("retry-after"), now=now),
        request_id=_request_id(header),
        details=_details(error),
        limits=rate_limits(header),
    )


def refused_event(body: bytes, header: Header) -> Failure:
    """Read the `error` event that ended a stream: its type says what a status would."""
    error = _error(body).error
    known_type = error.type if error.type in ERROR_TYPES else "api_error"
    return Failure(
        kind=_KIND_OF_TYPE.get(known_type, FailureKind.SERVER_ERROR),
        error_type=known_type,
        message=_shown(error) or "The backend broke off its answer",
        request_id=_request_id(header),
        details=_details(error),
        limits=rate_limits(header),
    )


def token_count(body: bytes, header: Header) -> int | Failure:
    """Read `{"input_tokens": n}`."""
    try:
        return msgspec.json.decode(body, type=_TokenCount).input_tokens
    except UNREADABLE:
        return malformed("answered 200 without a token count", header, status=200)


def cannot_count(status: int, body: bytes) -> bool:
    """Tell whether a refusal means that the server has no token counting at all.

    A 404 in the Messages error shape is about the request (an unknown model), not about the path.
    """
    return status in (405, 501) or (status == 404 and _error(body).type != "error")


def model_list(body: bytes, header: Header) -> ModelList | Failure:
    """Read a page of models in the Anthropic or the OpenAI shape."""
    try:
        page = msgspec.json.decode(body, type=_ModelPage)
    except UNREADABLE:
        return malformed("answered 200 without a list of models", header, status=200)
    next_id = page.last_id if page.has_more and page.data else None
    return ModelList([_model(listed) for listed in page.data], next_id)


def _kind(status: int) -> FailureKind:
    default = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.INVALID_REQUEST
    return _KIND_OF_STATUS.get(status, default)


def _request_id(header: Header) -> str | None:
    told = header("request-id") or header("x-request-id")
    return told[:_MAX_REQUEST_ID] if told else None


def _shown(error: _Error) -> str | None:
    message = error.message
    if message is None or len(message) <= _MAX_MESSAGE:
        return message
    return message[:_MAX_MESSAGE] + "…"


def _details(error: _Error) -> msgspec.Raw | None:
    """Copy an error's details, so that the failure does not keep the whole body."""
    details = bytes(error.details)
    if len(details) > _MAX_DETAILS or not details.startswith(b"{"):
        return None
    return msgspec.Raw(details)


def _error(body: bytes) -> _ErrorBody:
    """Read an error object as far as it is one."""
    try:
        return _error_decoder.decode(body)
    except UNREADABLE:
        return _ErrorBody(error=_Error())


def _is_readable(name: str, value: object) -> bool:
    try:
        msgspec.convert({name: value}, _Usage)
    except msgspec.ValidationError:
        return False
    return True


def _usage(usage: _Usage) -> Usage:
    """Count cache writes without a breakdown as 5-minute writes."""
    write_1h, write_5m = 0, _count(usage.cache_creation_input_tokens)
    written, tools = usage.cache_creation, usage.server_tool_use
    if written is not None:
        write_1h = _count(written.ephemeral_1h_input_tokens)
        write_5m = max(write_5m - write_1h, _count(written.ephemeral_5m_input_tokens))
    return Usage(
        input_tokens=_count(usage.input_tokens),
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        cache_read_tokens=_count(usage.cache_read_input_tokens),
        output_tokens=_count(usage.output_tokens),
        web_searches=_count(tools.web_search_requests) if tools else 0,
    )


def model_name(told: str) -> str:
    """Read a name as far as the ledger can keep it: in a row, and under an index."""
    if len(told) <= _MAX_MODEL_NAME and told.isprintable():
        return told
    return "".join(filter(str.isprintable, told))[:_MAX_MODEL_NAME]


def _count(told: int | None) -> int:
    """Read a count as far as it can be one: sums of counts must stay countable."""
    if told is None or told < 0:
        return 0
    return told if told <= _MAX_COUNT else _MAX_COUNT


def _model(listed: _ListedModel) -> Model:
    known_line = listed.line in get_args(Line)
    known_lifecycle = listed.lifecycle in get_args(Lifecycle)
    return Model(
        id=listed.id,
        display_name=listed.display_name or listed.id,
        created_at=_aware(listed.created_at) or _since_1970(listed.created or 0),
        lifecycle=cast(Lifecycle, listed.lifecycle) if known_lifecycle else "active",
        line=cast(Line, listed.line) if known_line else None,
        max_input_tokens=listed.max_input_tokens or listed.max_model_len,
        max_tokens=listed.max_tokens,
        deprecated_at=_aware(listed.deprecated_at),
        retires_at=_aware(listed.retires_at),
        capabilities=listed.capabilities or Capabilities(),
    )


def _since_1970(seconds: int) -> datetime:
    """Read a moment; one that no calendar has is as good as none."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _aware(moment: datetime | None) -> datetime | None:
    """Read a moment in UTC; None for one that falls out of the calendar there."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return None
