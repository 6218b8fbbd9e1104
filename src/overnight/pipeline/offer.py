"""Which models can be asked for, over all lanes."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from overnight.backends.known import finder
from overnight.backends.protocol import Backend
from overnight.catalogue import KnownModel, known_models
from overnight.model import Failure
from overnight.pipeline.lanes import Lanes
from overnight.wire.models import Model

_GLOB = frozenset("*?[")
_UNDATED = datetime(1970, 1, 1, tzinfo=UTC)


class Offer:
    """What the backends behind the lanes answer for, under the names that callers use."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    def has(self, name: str) -> bool:
        """Tell whether somebody may answer for a model: that none does is known without a call."""
        return any(
            not backend.knows_all_models or backend.model(asked) is not None
            for backend, asked in self._behind(name)
        )

    def facts(self, name: str) -> KnownModel | None:
        """Give what is known of a model, for the check of params; None when nothing is."""
        known = known_models().find(name)
        return known or next(
            (facts for backend, asked in self._behind(name) if (facts := finder(backend)(asked))),
            None,
        )

    async def models(self) -> list[Model] | Failure:
        """List the models, newest first; those of a backend that is away are missing.

        A failure when none can be asked.
        """
        found: dict[str, Model] = {}
        failure: Failure | None = None
        answered = False
        for backend in self._backends():
            listed = await backend.models()
            if isinstance(listed, Failure):
                failure = listed
                continue
            answered = True
            found |= {model.id: model for model in listed if self.has(model.id)}
        if failure is not None and not answered:
            return failure
        for name in self._lanes.routing.names:
            if name not in found and not _GLOB & set(name) and self.has(name):
                model = await self.model(name)
                found[name] = model if isinstance(model, Model) else _bare(name)
        return sorted(found.values(), key=lambda model: model.created_at, reverse=True)

    async def model(self, name: str) -> Model | Failure | None:
        """Give one model by id or alias; None when nobody answers for it."""
        failure: Failure | None = None
        for backend, asked in self._behind(name):
            found = _listed(backend, asked)
            if found is None and not backend.knows_all_models:
                listed = await backend.models()
                failure = listed if isinstance(listed, Failure) else failure
                found = _listed(backend, asked)
            if found is not None:
                return found if asked == name else msgspec.structs.replace(found, id=name)
        return failure

    def _behind(self, name: str) -> Iterator[tuple[Backend, str]]:
        """Give the backends of a model's route, each with what it calls the model."""
        route = self._lanes.find(name)
        if route is not None:
            for target in route.targets.values():
                yield self._lanes[target.lane].backend, target.model or name

    def _backends(self) -> list[Backend]:
        return list({id(lane.backend): lane.backend for lane in self._lanes}.values())


def _listed(backend: Backend, name: str) -> Model | None:
    """Find a model by id or alias; a backend that lists ids only is asked for the alias's id."""
    known = known_models().find(name)
    return backend.model(name) or (backend.model(known.id) if known else None)


def _bare(name: str) -> Model:
    return Model(id=name, display_name=name, created_at=_UNDATED)
