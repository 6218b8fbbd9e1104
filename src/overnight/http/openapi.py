"""`GET /openapi.json`: every route as an OpenAPI document. Public, and the same for all.

Made from the routes themselves (paths, docstrings, return types), from who may call them
(`http.admission`) and what they read (`http.operations`). See decision 0047.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from overnight import __version__
from overnight.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    OvernightError,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    Unavailable,
)
from overnight.http import metrics
from overnight.http.admission import Needed, Open, is_counted, needed
from overnight.http.operations import EVENTS, JSON, LINES, READS, TEXT, Object, Reads, Schema
from overnight.settings import Settings
from overnight.tenancy import Role
from overnight.wire.errors import ErrorBody, TooLargeBody

PATH = "/openapi.json"
# The first version that can say what one line of a stream is.
VERSION = "3.2.0"

_PART = re.compile(r"{(\w+)(?::\w+)?}")
_CACHED = {"cache-control": "public, max-age=3600"}
_SECURITY: Object = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_WORKSPACE: Object = {
    "name": "anthropic-workspace-id",
    "in": "header",
    "description": "The workspace meant, with a key that opens all of them.",
    "schema": TEXT,
}
_HEADERS: Object = {
    "request-id": {"description": "Names the call.", "required": True, "schema": TEXT},
    "retry-after": {"description": "Seconds to wait.", "schema": TEXT},
    "x-should-retry": {
        "description": "Whether the same call may succeed later.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
}
# Where the parts of paths come from: a call, and a place in its answer.
_SOURCES = {
    "batch_id": ("create_batch", "id"),
    "event_id": ("test_webhook", "event_id"),
    "key_id": ("create_key", "id"),
    "webhook_id": ("create_webhook", "id"),
    "workspace_id": ("create_workspace", "id"),
}

_Refs = Mapping[type, Object]


class Operation(NamedTuple):
    """One method of one path."""

    id: str
    method: str
    # The names of its parts stand in braces.
    path: str
    handler: HTTPRouteHandler
    needs: Needed
    reads: Reads

    @property
    def parts(self) -> list[str]:
        return _PART.findall(self.path)


def document(handlers: Iterable[HTTPRouteHandler], settings: Settings) -> Object:
    """Describe routes. Raises: KeyError for one that `http.operations` does not know."""
    operations = list(_operations(handlers, settings))
    refs, schemas = _schemas(operations)
    errors = {error.__name__: error for operation in operations for error in _errors(operation)}
    paths: dict[str, Object] = {}
    for operation in operations:
        described = _described(operation, operations, refs)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": VERSION,
        "info": {"title": "Overnight", "version": __version__},
        "servers": [{"url": urlsplit(settings.public_url or "").path.rstrip("/") or "/"}],
        "paths": paths,
        "components": {
            "headers": _HEADERS,
            "responses": {name: _failed(errors[name], refs) for name in sorted(errors)},
            "schemas": schemas,
            "securitySchemes": _SECURITY,
        },
    }


def routes(handlers: Sequence[HTTPRouteHandler], settings: Settings) -> list[HTTPRouteHandler]:
    """Give the route of the document that describes these routes and itself."""

    @cache
    def written() -> bytes:
        return msgspec.json.encode(document([*handlers, openapi], settings))

    @get(PATH)
    async def openapi() -> Response[bytes]:
        """Describe this service."""
        return Response(written(), media_type=JSON, headers=_CACHED)

    return [openapi]


def _operations(handlers: Iterable[HTTPRouteHandler], settings: Settings) -> Iterator[Operation]:
    public = metrics.public_paths(settings)
    for handler in handlers:
        for number, template in enumerate(sorted(handler.paths)):
            path = _PART.sub(r"{\1}", template)
            for method in sorted(handler.http_methods):
                yield Operation(
                    id=handler.fn.__name__ + ("" if number == 0 else f"_{number + 1}"),
                    method=method,
                    path=path,
                    handler=handler,
                    needs=Open.TO_ALL if path in public else needed(method, path),
                    reads=READS[f"{method} {path}"],
                )


def _schemas(operations: Iterable[Operation]) -> tuple[_Refs, Object]:
    """Give the schemas of all types that are mentioned, and a reference to each."""
    mentioned: set[type] = {ErrorBody, TooLargeBody}
    for operation in operations:
        schemas = (operation.reads.body, *_answers(operation).values())
        mentioned |= {schema for schema in schemas if not isinstance(schema, dict | None)}
    types = sorted(mentioned, key=str)
    refs, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    for struct in (struct for kind in types for struct in _structs(kind)):
        config = struct.__struct_config__
        # What is answered has all its keys, those with a default too.
        if not config.omit_defaults and not config.forbid_unknown_fields:
            schema = components[struct.__name__]
            schema["required"] = list(schema["properties"])
    return dict(zip(types, refs, strict=True)), components


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Give the Structs that a type mentions, itself included."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from _structs(hint)
    for part in get_args(kind):
        yield from _structs(part)


def _described(operation: Operation, others: Iterable[Operation], refs: _Refs) -> Object:
    summary = (operation.handler.fn.__doc__ or "").partition("\n")[0]
    described: Object = {
        "operationId": operation.id,
        "tags": [operation.handler.fn.__module__.rpartition(".")[2]],
        "summary": summary,
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation, others, refs),
    }
    if operation.needs is not Open.TO_ALL:
        described["security"] = [{scheme: []} for scheme in _SECURITY]
    if isinstance(operation.needs, Role):
        described["description"] = f"Needs a key with role `{operation.needs}`."
    if operation.reads.body is not None:
        described["requestBody"] = {
            "required": operation.reads.needs_body,
            "content": {JSON: {"schema": _schema(operation.reads.body, refs)}},
        }
    return described


def _parameters(operation: Operation) -> Iterator[Object]:
    for part in operation.parts:
        yield {"name": part, "in": "path", "required": True, "schema": TEXT}
    yield from operation.reads.parameters
    if operation.needs not in (Open.TO_ALL, Role.ADMIN):
        yield _WORKSPACE


def _responses(operation: Operation, others: Iterable[Operation], refs: _Refs) -> Object:
    content = {media: _media(media, of, refs) for media, of in _answers(operation).items()}
    done: Object = {"description": "Done.", "headers": _headers("request-id"), "content": content}
    if links := _links(operation, others):
        done["links"] = links
    responses = {"200": done}
    for error in _errors(operation):
        responses[str(error.status)] = _ref("responses", error.__name__)
    if operation.reads.asks_backend:
        # With the status of the backend's own answer.
        responses |= dict.fromkeys(("4XX", "5XX"), _ref("responses", OvernightError.__name__))
    return dict(sorted(responses.items()))


def _answers(operation: Operation) -> dict[str, Schema]:
    """Give what a call is answered with, by media type: as the handler returns it, and as told."""
    returned = get_type_hints(operation.handler.fn)["return"]
    kinds = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
    bodies = [get_args(kind)[0] for kind in kinds if get_origin(kind) is Response]
    answers: dict[str, Schema] = {}
    if bodies and bodies[0] not in (Any, bytes):
        answers[JSON] = bodies[0]
    return {**answers, **operation.reads.answers}


def _errors(operation: Operation) -> Iterator[type[OvernightError]]:
    """Give what may be wrong with a call."""
    reads, is_closed = operation.reads, operation.needs is not Open.TO_ALL
    if is_closed:
        yield from (AuthenticationFailed, PermissionDenied)
    if is_closed or reads.parameters or reads.body is not None:
        yield InvalidRequest
    if operation.parts or reads.parameters:
        yield NotFound
    if reads.body is not None:
        yield RequestTooLarge
    if is_counted(operation.path):
        yield RateLimited
    yield from (OvernightError, Unavailable)


def _failed(error: type[OvernightError], refs: _Refs) -> Object:
    schema = refs[ErrorBody]
    if error is RequestTooLarge:
        schema = {"anyOf": [refs[ErrorBody], refs[TooLargeBody]]}
    return {
        "description": (error.__doc__ or "").strip(),
        "headers": _headers(*_HEADERS),
        "content": {JSON: {"schema": schema}},
    }


def _links(operation: Operation, others: Iterable[Operation]) -> Object:
    """Say which calls go on with what this one's answer names."""
    links: Object = {}
    for other in others:
        for part in other.parts:
            source, place = _SOURCES.get(part, ("", ""))
            if source == operation.id:
                given = {name: f"$request.path.{name}" for name in operation.parts}
                known = {**given, part: f"$response.body#/{place}"}
                if known.keys() >= set(other.parts):
                    links[other.id] = {"operationId": other.id, "parameters": known}
    return links


def _media(media_type: str, schema: Schema, refs: _Refs) -> Object:
    found = _schema(schema, refs)
    if media_type in (LINES, EVENTS):
        return {"itemSchema": found}
    return {"schema": found}


def _headers(*names: str) -> Object:
    return {name: _ref("headers", name) for name in names}


def _ref(kind: str, name: str) -> Object:
    return {"$ref": f"#/components/{kind}/{name}"}


def _anything(kind: type) -> Object:
    """Give the schema of `object`, the one type that msgspec leaves to us."""
    if kind is not object:
        raise NotImplementedError(kind)
    return {"description": "Anything."}


def _schema(schema: Schema, refs: _Refs) -> Object:
    return schema if isinstance(schema, dict) else refs[schema]
