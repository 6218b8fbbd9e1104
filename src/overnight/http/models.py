"""`GET /v1/models` and `GET /v1/models/{id}`.

Source: protocol notes §3.4, §12 (SDK 2.12, read 2026-11).
"""

from collections.abc import Sequence

from litestar import Response, get
from litestar.params import FromPath

from overnight.errors import InvalidRequest, NotFound
from overnight.http.service import AService, HttpRequest
from overnight.model import Failure
from overnight.wire.errors import failure_error
from overnight.wire.headers import api_version
from overnight.wire.models import Model, ModelPage
from overnight.wire.paging import PageQuery, read_page_query


@get("/v1/models")
async def list_models(request: HttpRequest, service: AService) -> Response[ModelPage]:
    """List the models, newest first; `lifecycle[]` keeps only those in one of the states."""
    api_version(request.headers)
    query = read_page_query(request.query_params)
    models = await service.offer.models()
    if isinstance(models, Failure):
        raise failure_error(models)
    states = request.query_params.getall("lifecycle[]", [])
    if states:
        models = [model for model in models if model.lifecycle in states]
    return Response(page(models, query), media_type="application/json")


@get("/v1/models/{model_id:path}")
async def get_model(
    request: HttpRequest, model_id: FromPath[str], service: AService
) -> Response[Model]:
    """Give one model by id or alias. An id may hold slashes (`Qwen/Qwen3-8B`)."""
    api_version(request.headers)
    name = model_id.removeprefix("/")
    model = await service.offer.model(name)
    if isinstance(model, Failure):
        raise failure_error(model)
    if model is None:
        raise NotFound(f"model: {name}")
    return Response(model, media_type="application/json")


def page(models: Sequence[Model], query: PageQuery) -> ModelPage:
    """Cut one page out of the whole list, which is newest first.

    `before_id` gives the page next to that model on the newer side; `has_more` speaks of the
    direction asked for. Raises: InvalidRequest when the cursor is not in the list.
    """
    first = 0
    last = len(models)
    if query.after_id:
        first = _position(models, "after_id", query.after_id) + 1
    elif query.before_id:
        last = _position(models, "before_id", query.before_id)
        first = max(0, last - query.limit)
    shown = list(models[first : min(last, first + query.limit)])
    has_more = first > 0 if query.before_id else first + query.limit < len(models)
    return ModelPage(
        data=shown,
        has_more=has_more,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


def _position(models: Sequence[Model], cursor: str, model_id: str) -> int:
    for position, model in enumerate(models):
        if model.id == model_id:
            return position
    raise InvalidRequest(f"{cursor}: no model {model_id!r} in this list; take an id from `data`")


routes = [list_models, get_model]
