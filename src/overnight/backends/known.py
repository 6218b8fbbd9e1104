"""Which models validation knows, given who answers."""

from collections.abc import Callable

import msgspec

from overnight.backends.protocol import Backend
from overnight.catalogue import KnownModel, known_models


def finder(backend: Backend) -> Callable[[str], KnownModel | None]:
    """Make the function that finds a model's facts: none of a model the backend cannot answer for.

    A model that only the backend knows has a context, but our count of a prompt is an estimate:
    such a backend counts itself, and refuses what is too long.
    """
    catalogued = known_models().find
    if not backend.knows_all_models:
        return catalogued

    def find(name: str) -> KnownModel | None:
        model = backend.model(name)
        if model is None:
            return None
        return catalogued(name) or KnownModel(
            model=msgspec.structs.replace(model, max_input_tokens=None), reports_geo=False
        )

    return find
