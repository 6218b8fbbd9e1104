"""The Claude models that Overnight knows, from `catalogue.toml` beside this file."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from overnight.wire.models import Capabilities, Model, Supported


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model and the facts that validation, caching and the simulator need.

    A fact that is None is not known: whoever reads it must then not refuse a request by it.
    """

    # What `GET /v1/models/{id}` shows.
    model: Model
    # Other names of exactly this model.
    aliases: tuple[str, ...] = ()
    # Output limit inside a batch with the beta `output-300k-2026-03-24`.
    max_batch_tokens: int | None = None
    # Shortest prefix that can be cached; a shorter one is silently not cached.
    min_cacheable_tokens: int | None = None
    # Whether `thinking.type` may be "enabled" with a budget, "adaptive", "disabled".
    thinking_enabled: bool | None = None
    thinking_adaptive: bool | None = None
    thinking_disabled: bool | None = None
    # Whether `tool_choice` may be "any" or "tool".
    forced_tool_use: bool | None = None
    # Whether the conversation may end with an assistant message.
    prefill: bool | None = None
    # Whether `usage.inference_geo` names a region; older models say "not_available".
    reports_geo: bool

    @property
    def id(self) -> str:
        return self.model.id


class Catalogue:
    """Models by id and alias. Immutable."""

    def __init__(self, models: Iterable[KnownModel]) -> None:
        self._models = tuple(models)
        self._by_name: dict[str, KnownModel] = {}
        for known in self._models:
            for name in (known.id, *known.aliases):
                assert name not in self._by_name, f"{name} stands twice in the catalogue"
                self._by_name[name] = known

    def __iter__(self) -> Iterator[KnownModel]:
        """Give the models, newest first."""
        return iter(self._models)

    def find(self, name: str) -> KnownModel | None:
        """Find a model by its id or an alias; None when it is not known."""
        return self._by_name.get(name)

    def near(self, name: str) -> list[str]:
        """Give up to three known names that look like `name`, the nearest first."""
        return difflib.get_close_matches(name, self._by_name, n=3, cutoff=0.6)


@cache
def known_models() -> Catalogue:
    """Read the catalogue that came with this release; the file is read once."""
    text = files("overnight").joinpath("catalogue.toml").read_text(encoding="utf-8")
    file = msgspec.convert(tomllib.loads(text), _File)
    return Catalogue(_known(entry) for entry in file.models)


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model as the file writes it: flat."""

    id: str
    aliases: tuple[str, ...] = ()
    display_name: str
    created_at: datetime
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    line: Literal["haiku", "sonnet", "opus", "fable", "mythos"] | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    max_batch_tokens: int | None = None
    deprecated_at: datetime | None = None
    retires_at: datetime | None = None
    min_cacheable_tokens: int | None = None
    thinking_enabled: bool | None = None
    thinking_adaptive: bool | None = None
    thinking_disabled: bool | None = None
    forced_tool_use: bool | None = None
    prefill: bool | None = None
    reports_geo: bool
    citations: bool | None = None
    code_execution: bool | None = None
    image_input: bool | None = None
    pdf_input: bool | None = None
    structured_outputs: bool | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    checked: date
    models: tuple[_Entry, ...]


def _known(entry: _Entry) -> KnownModel:
    return KnownModel(
        model=Model(
            id=entry.id,
            display_name=entry.display_name,
            created_at=entry.created_at,
            lifecycle=entry.lifecycle,
            line=entry.line,
            max_input_tokens=entry.max_input_tokens,
            max_tokens=entry.max_tokens,
            deprecated_at=entry.deprecated_at,
            retires_at=entry.retires_at,
            capabilities=Capabilities(
                citations=_supported(entry.citations),
                code_execution=_supported(entry.code_execution),
                image_input=_supported(entry.image_input),
                pdf_input=_supported(entry.pdf_input),
                structured_outputs=_supported(entry.structured_outputs),
            ),
        ),
        aliases=entry.aliases,
        max_batch_tokens=entry.max_batch_tokens,
        min_cacheable_tokens=entry.min_cacheable_tokens,
        thinking_enabled=entry.thinking_enabled,
        thinking_adaptive=entry.thinking_adaptive,
        thinking_disabled=entry.thinking_disabled,
        forced_tool_use=entry.forced_tool_use,
        prefill=entry.prefill,
        reports_geo=entry.reports_geo,
    )


def _supported(value: bool | None) -> Supported | None:
    return None if value is None else Supported(supported=value)
