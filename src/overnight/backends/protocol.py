"""What answers Messages requests. No retries, no queue, no `except Exception` in a backend."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from overnight.model import Caching, Call, Failure, Reply
from overnight.wire.models import Model


class Backend(Protocol):
    @property
    def name(self) -> str:
        """Give the short name that metrics and messages use."""
        ...

    @property
    def describes(self) -> str:
        """Say in a few plain words what answers, for the start-up message."""
        ...

    @property
    def knows_all_models(self) -> bool:
        """Tell whether a model that `model()` does not know is an unknown model.

        True: the list is complete, rows naming another model are errored before any call.
        False: the backend decides itself.
        """
        ...

    async def start(self) -> None:
        """Open what the backend needs. Must not fail because a remote server is down."""
        ...

    async def close(self) -> None:
        """Release everything. Idempotent."""
        ...

    def caching(self, model: str) -> Caching:
        """Say what is done with equal beginnings of prompts to a model, without I/O."""
        ...

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        """Answer one non-streaming request. Not idempotent: each call may cost money.

        `begun` is called at most once, when the answer begins to come, where that is seen before
        the answer is whole: what the call wrote into a prompt cache can be read from then on.
        Expected faults are returned as `Failure`; an exception is a defect.
        """
        ...

    async def stream(self, call: Call) -> AsyncIterator[bytes] | Failure:
        """Answer one streaming request: chunks of the server-sent events, as on the wire."""
        ...

    async def count_tokens(self, call: Call) -> int | Failure:
        """Count the input tokens of the request. Idempotent and free."""
        ...

    async def models(self) -> list[Model] | Failure:
        """List the models, newest first."""
        ...

    def model(self, name: str) -> Model | None:
        """Find a model by id or alias, without I/O; None when not known here."""
        ...
