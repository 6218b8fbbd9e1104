"""Which backends there are and which models go where, as a TOML file says it.

The tables `[backends.NAME]` and `[[routes]]` stand in overnight.toml or in a file of their own; the
file is only read here, and `overnight.wiring` makes lanes of it.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from overnight.errors import ConfigInvalid
from overnight.parsing import read_toml
from overnight.setting import near
from overnight.settings import ROUTING_TABLES, SIMULATOR_TABLE, Cutting, PrefixCaching, is_anthropic
from overnight.settings import TABLE as SETTINGS
from overnight.shape import is_array

Seconds = Annotated[float, Meta(ge=0.01, le=86_400)]
PerMinute = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]

Kind = TypeVar("Kind")


_HINT = "docs/guides/routing.md shows such a file"


class BackendTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One backend: at a URL, or at several that do the same; a GGUF file; or simulated."""

    url: str | tuple[str, ...] | None = None
    gguf: str | None = None
    # True, or the path of a script.
    simulator: bool | str = False
    # The key sent to the URL, or the variable that holds it. Claude's own API gets
    # ANTHROPIC_API_KEY without either.
    api_key: str | None = None
    api_key_env: str | None = None
    # Requests at a time, for each URL.
    concurrency: Annotated[int, Meta(ge=1, le=4_096)] | None = None
    prefix_caching: PrefixCaching | None = None
    cut_stragglers: Cutting | None = None
    requests_per_minute: PerMinute | None = None
    input_tokens_per_minute: PerMinute | None = None
    output_tokens_per_minute: PerMinute | None = None
    connect_timeout_s: Seconds | None = None
    first_byte_timeout_s: Seconds | None = None
    idle_timeout_s: Seconds | None = None
    request_timeout_s: Seconds | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        if self.url is None:
            return ()
        return (self.url,) if isinstance(self.url, str) else self.url


class Destination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend that a route sends requests to."""

    backend: Name
    # Its share, beside those of the others; without weights each takes what it has room for.
    weight: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    # What this backend calls the model; None: as the caller does.
    model: Name | None = None


class RouteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where requests go whose model matches a glob; the first route that fits counts."""

    model: Name = "*"
    backends: tuple[str | Destination, ...]
    # Used when none of the backends is there, or when a batch may not end in time.
    fallbacks: tuple[str | Destination, ...] = ()


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All backends by name, and the routes. Without routes all answer for every model."""

    backends: dict[Name, BackendTable]
    routes: tuple[RouteTable, ...] = ()


def destination(given: str | Destination) -> Destination:
    return Destination(backend=given) if isinstance(given, str) else given


def load_fleet(path: Path, environ: Mapping[str, str] = os.environ) -> Fleet:
    """Read the tables from a TOML file; paths in it are relative to the file.

    Raises: ConfigInvalid with file, place, value and what is allowed.
    """
    try:
        document = read_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"routing {path}: {error.strerror}", hint=_HINT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"routing {path}: not valid TOML: {error}", hint=_HINT) from error
    for name in document:
        if name not in (*ROUTING_TABLES, SIMULATOR_TABLE, *SETTINGS):
            raise ConfigInvalid(
                f"{path}: {name}: unknown{near(name, (*ROUTING_TABLES, *SETTINGS))}", hint=_HINT
            )
    fleet = Fleet(
        backends={
            name: _converted(table, BackendTable, path, f"backends.{name}")
            for name, table in _converted(
                document.get("backends", {}), dict[Name, dict[str, Any]], path, "backends"
            ).items()
        },
        routes=_converted(document.get("routes", []), tuple[RouteTable, ...], path, "routes"),
    )
    for problem in _problems(fleet, environ):
        raise ConfigInvalid(f"{path}: {problem}", hint=_HINT)
    return _resolved(fleet, path.parent, environ)


def _problems(fleet: Fleet, environ: Mapping[str, str]) -> list[str]:
    """Name what the types cannot say."""
    problems = []
    if not fleet.backends:
        problems.append("backends: at least one table [backends.NAME] is needed")
    for name, table in fleet.backends.items():
        kinds = [bool(table.urls), table.gguf is not None, table.simulator is not False]
        if sum(kinds) != 1:
            problems.append(f"backends.{name}: needs exactly one of url, gguf and simulator")
        if table.api_key and table.api_key_env:
            problems.append(f"backends.{name}: api_key and api_key_env: only one of them")
        if table.api_key_env and not environ.get(table.api_key_env):
            problems.append(
                f"backends.{name}.api_key_env: the variable {table.api_key_env} is not set"
            )
    for number, route in enumerate(fleet.routes):
        if not route.backends:
            problems.append(f"routes.{number}.backends: at least one backend is needed")
        to = [destination(given) for given in (*route.backends, *route.fallbacks)]
        names = [one.backend for one in to]
        if len({one.weight is None for one in to}) > 1:
            problems.append(f"routes.{number}: either all backends have a weight or none has")
        for name in names:
            if names.count(name) > 1:
                problems.append(f"routes.{number}: backend {name!r} stands there twice")
            if name not in fleet.backends:
                problems.append(
                    f"routes.{number}: no backend is called {name!r}{near(name, fleet.backends)}"
                )
    return problems


def _resolved(fleet: Fleet, folder: Path, environ: Mapping[str, str]) -> Fleet:
    """Put absolute paths and the keys themselves in."""

    def resolved(table: BackendTable) -> BackendTable:
        changes: dict[str, Any] = {}
        if table.gguf is not None:
            changes["gguf"] = str(folder / Path(table.gguf).expanduser())
        if isinstance(table.simulator, str):
            changes["simulator"] = str(folder / Path(table.simulator).expanduser())
        if table.api_key_env:
            changes |= {"api_key": environ[table.api_key_env], "api_key_env": None}
        elif not table.api_key and table.urls and all(map(is_anthropic, table.urls)):
            changes["api_key"] = environ.get("ANTHROPIC_API_KEY")
        return msgspec.structs.replace(table, **changes)

    backends = {name: resolved(table) for name, table in fleet.backends.items()}
    return msgspec.structs.replace(fleet, backends=backends)


def _converted(value: Any, into: type[Kind], path: Path, place: str) -> Kind:
    try:
        return msgspec.convert(value, into)
    except msgspec.ValidationError as error:
        text, _, inner = str(error).partition(" - at `$")
        for step in re.findall(r"\.?([^.\[\]`]+)", inner):
            place += f".{step}"
            # `[...]` stands for any key of a table, which then cannot be named.
            value = value[int(step)] if is_array(value) else value.get(step, {})
        shown = (
            "" if isinstance(value, dict | list) or place.endswith("api_key") else f"{value!r}: "
        )
        what = f"{path}: {place}: {shown}{text[0].lower()}{text[1:]}"
        raise ConfigInvalid(what, hint=_HINT) from error
