"""`Backend` over GGUF files: each model name has its own llama.cpp."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from overnight.backends.llama.engine import Engine
from overnight.backends.llama.gguf import Gguf, read_gguf
from overnight.backends.llama.sizing import Asked, machine, sizing
from overnight.backends.messages import MessagesBackend
from overnight.errors import ConfigInvalid
from overnight.model import Caching, Call, Failure, FailureKind, Reply
from overnight.wire.models import Model
from overnight.wire.named import model_of

_WHEEL = "xllamacpp"
# llama.cpp reuses every token that two prompts begin with.
_MIN_SHARED_TOKENS = 1


class LlamaBackend:
    """Answers with models on this machine. `models` are `path` or `name=path`.

    Raises: ConfigInvalid for a file that is missing or no GGUF, a name that comes twice, and when
    the wheel is not installed.
    """

    name = "llama"
    knows_all_models = True

    def __init__(
        self, models: Sequence[str], asked: Asked | None = None, *, request_timeout_s: float = 600.0
    ) -> None:
        files = _files(models)
        if importlib.util.find_spec(_WHEEL) is None:
            raise ConfigInvalid(
                "gguf: llama.cpp is not installed", hint="pip install 'overnight[llama]'"
            )
        asked, here = asked or Asked(), machine()
        self._engines = {
            name: Engine(
                name,
                file,
                sizing(file, asked, here, models=len(files)),
                request_timeout_s=request_timeout_s,
            )
            for name, file in files.items()
        }

    @property
    def describes(self) -> str:
        return f"llama.cpp on this machine: {', '.join(self._engines)}"

    @property
    def engines(self) -> Sequence[Engine]:
        """Give the children, one for each model, in the order of the models."""
        return tuple(self._engines.values())

    def engine(self, model: str) -> Engine:
        """Give the child for a model that it has."""
        return self._engines[model]

    async def start(self) -> None:
        """Load all models. Raises: ConfigInvalid when one cannot be loaded; none runs then."""
        started = [asyncio.create_task(engine.start()) for engine in self.engines]
        try:
            await asyncio.gather(*started)
        except BaseException:
            for task in started:
                task.cancel()
            await asyncio.gather(*started, return_exceptions=True)
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self.engines))

    def caching(self, model: str) -> Caching:
        # A slot reads only what it computed itself, so that waiting for a leader gains nothing:
        # the order of the requests is all.
        return Caching(automatic=True, shares_in_flight=True, min_tokens=_MIN_SHARED_TOKENS)

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        calls = self._calls(call)
        return calls if isinstance(calls, Failure) else await calls.send(call, begun)

    async def stream(self, call: Call) -> AsyncIterator[bytes] | Failure:
        calls = self._calls(call)
        return calls if isinstance(calls, Failure) else await calls.stream(call)

    async def count_tokens(self, call: Call) -> int | Failure:
        calls = self._calls(call)
        return calls if isinstance(calls, Failure) else await calls.count_tokens(call)

    async def models(self) -> list[Model] | Failure:
        listed = [_listed(engine) for engine in self.engines]
        return sorted(listed, key=lambda model: model.created_at, reverse=True)

    def model(self, name: str) -> Model | None:
        engine = self._engines.get(name)
        return None if engine is None else _listed(engine)

    def _calls(self, call: Call) -> MessagesBackend | Failure:
        """Find who answers for the model of a call that has been checked."""
        name = model_of(call.params)
        engine = self._engines.get(name)
        if engine is None:
            return Failure(
                kind=FailureKind.NOT_FOUND, error_type="not_found_error", message=f"model: {name}"
            )
        if engine.calls is None:
            return Failure(
                kind=FailureKind.UNREACHABLE,
                error_type="api_error",
                message=f"llama.cpp for model {name} is being started again",
            )
        return engine.calls


def model_name(given: str) -> str:
    """Give what requests call a model that is given as `path` or `name=path`."""
    name, equals, _ = given.partition("=")
    return name if equals else Path(given).stem


def _files(models: Sequence[str]) -> dict[str, Gguf]:
    found: dict[str, Gguf] = {}
    for given in models:
        name = model_name(given)
        if name in found:
            raise ConfigInvalid(
                f"gguf: two models are called {name}", hint="give them names: --gguf NAME=PATH"
            )
        found[name] = read_gguf(Path(given.partition("=")[2] or given))
    return found


def _listed(engine: Engine) -> Model:
    return Model(
        id=engine.name,
        display_name=engine.model.path.stem,
        created_at=engine.model.modified_at,
        max_input_tokens=engine.sizing.context_tokens,
    )
