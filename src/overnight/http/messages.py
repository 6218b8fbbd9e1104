"""`POST /v1/messages` and `POST /v1/messages/count_tokens`: one request, answered at once."""

from typing import Any

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Stream

from overnight.backends.protocol import Backend
from overnight.errors import InvalidRequest, NotFound
from overnight.http.body import MAX_MESSAGE_BYTES, HttpRequest, whole_body
from overnight.model import Call, Failure
from overnight.wire.errors import failure_error
from overnight.wire.headers import api_version, betas

# Injected under the key `backend`; a protocol cannot be validated by the framework.
AnyBackend = NamedDependency[SkipValidation[Backend]]


class _Head(msgspec.Struct):
    """The two parameters that decide how the answer travels."""

    model: str
    stream: bool = False


_head_decoder = msgspec.json.Decoder(_Head)


@post("/v1/messages", status_code=200, request_max_body_size=None)
async def create_message(request: HttpRequest, backend: AnyBackend) -> Response[Any]:
    """Answer one Messages request, as one object or as server-sent events."""
    call = await _call(request)
    if _head(call, backend).stream:
        events = await backend.stream(call)
        if isinstance(events, Failure):
            raise failure_error(events)
        return Stream(
            events,
            media_type="text/event-stream; charset=utf-8",
            headers={"cache-control": "no-cache"},
        )
    reply = await backend.send(call)
    if isinstance(reply, Failure):
        raise failure_error(reply)
    return Response(reply.message, media_type="application/json")


@post("/v1/messages/count_tokens", status_code=200, request_max_body_size=None)
async def count_tokens(request: HttpRequest, backend: AnyBackend) -> Response[Any]:
    """Count the input tokens of one Messages request."""
    call = await _call(request)
    _head(call, backend)
    count = await backend.count_tokens(call)
    if isinstance(count, Failure):
        raise failure_error(count)
    return Response({"input_tokens": count}, media_type="application/json")


async def _call(request: HttpRequest) -> Call:
    version = api_version(request.headers)
    return Call(
        params=await whole_body(request, max_bytes=MAX_MESSAGE_BYTES),
        api_version=version,
        betas=betas(request.headers),
        user_profile_id=request.headers.get("anthropic-user-profile-id"),
    )


def _head(call: Call, backend: Backend) -> _Head:
    try:
        head = _head_decoder.decode(call.params)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from None
    if backend.knows_all_models and backend.model(head.model) is None:
        raise NotFound(f"model: {head.model}")
    return head
