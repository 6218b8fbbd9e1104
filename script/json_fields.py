"""List the fields of a JSON document with their types, from a Struct or from examples of it."""

import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
from script.json_samples import Word, literals, parts

_TYPES: dict[object, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null",
    date: "text", datetime: "text", msgspec.Raw: "object",
}  # fmt: skip
_SUFFIXES = {
    "usd": "USD, decimal", "tokens": "tokens", "tokens_low": "tokens", "tokens_high": "tokens",
    "bytes": "bytes", "percent": "%", "per_s": "per second", "s": "seconds", "ms": "milliseconds",
    "requests": "requests", "at": "moment, UTC", "url": "URL",
    "earliest": "moment, UTC", "latest": "moment, UTC", "on": "day", "dated": "day", "read": "day",
    "prices_of": "day",
}  # fmt: skip


class Field(NamedTuple):
    """One field: `models[].usd`, in each object of the list `models` the field `usd`."""

    path: str
    kind: str
    # From the comment above it, where a Struct has one.
    meaning: str | None = None

    @property
    def unit(self) -> str:
        """Read the unit off the name, which has to tell it."""
        name = self.path.rpartition(".")[2]
        endings = (name[start:] for start in [0, *(m.end() for m in re.finditer("_", name))])
        plain = not self.kind.startswith(("object", "list"))
        if name.startswith("usd_"):
            return _SUFFIXES["usd"]
        return next((_SUFFIXES[e] for e in endings if plain and e in _SUFFIXES), "–")


def of_struct(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[Field]:
    """Give the fields of a Struct and of those inside it, in their order."""
    hints, notes = typing.get_type_hints(struct), _notes(struct)
    for field in msgspec.structs.fields(struct):
        path, annotation = prefix + field.encode_name, hints[field.name]
        yield Field(path, _named(annotation), notes.get(field.name))
        for inner, mark in _inner(annotation):
            yield from of_struct(inner, f"{path}{mark}.")


def of_examples(examples: Iterable[object], linked: Mapping[str, str]) -> list[Field]:
    """Give the fields that examples have; those of `linked` paths are another document's."""
    seen: dict[str, list[object]] = {}
    shown = list(examples)
    for example in shown:
        _walk(example, "", seen, linked)
    return [
        Field(path, _seen(values, linked.get(path)) + _sometimes(path, len(values), len(shown)))
        for path, values in seen.items()
    ]


def paths(document: object, linked: Mapping[str, str]) -> set[str]:
    """Give the paths of the fields that one document has."""
    seen: dict[str, list[object]] = {}
    _walk(document, "", seen, linked)
    return set(seen)


def _walk(
    value: object, path: str, seen: dict[str, list[object]], linked: Mapping[str, str]
) -> None:
    match value:
        case dict():
            for name, inner in value.items():
                inner_path = f"{path}.{name}" if path else str(name)
                seen.setdefault(inner_path, []).append(inner)
                if inner_path not in linked:
                    _walk(inner, inner_path, seen, linked)
        case list() | tuple():
            for item in value:
                _walk(item, f"{path}[]", seen, linked)


def _seen(values: Sequence[object], link: str | None) -> str:
    if link:
        null = " or null" if None in values else ""
        return f"object, see [{link}](#{link.lower().replace(' ', '-')}){null}"
    words = {str(value): None for value in values if isinstance(value, Word)}
    kinds = {_kind(value): None for value in values}
    if words:
        kinds = {_quoted(words): None} | {k: None for k in kinds if k != "text"}
    return _joined(kinds)


def _kind(value: object) -> str:
    match value:
        case list() | tuple():
            inner = _joined({_kind(item): None for item in value})
            return f"list of {inner}s" if inner else "list"
        case dict():
            return "object"
        case Word():
            return "text"
        case _:
            return next(_TYPES[kind] for kind in type(value).__mro__ if kind in _TYPES)


def _sometimes(path: str, times: int, examples: int) -> str:
    """Say so when a field of the document itself is not always there."""
    return ", or absent" if times < examples and not re.search(r"[.\[]", path) else ""


def _named(annotation: object) -> str:
    return _joined({_name(kind): None for kind in parts(annotation)})


def _name(annotation: Any) -> str:
    if words := literals(annotation):
        return _quoted(words)
    if get_origin(annotation) in (list, tuple):
        inner = _named(get_args(annotation)[0])
        return f"list of {inner}" + ("" if inner.startswith("`") else "s")
    if get_origin(annotation) is dict or issubclass(annotation, msgspec.Struct):
        return "object"
    return _TYPES[annotation]


def _joined(kinds: Mapping[str, object]) -> str:
    """Join types, null last; a number may be whole."""
    found = [kind for kind in kinds if kind != "null"]
    if "number" in found and "whole number" in found:
        found.remove("whole number")
    if "list" in found and any(kind.startswith("list of") for kind in found):
        found.remove("list")
    return " or ".join(found + ["null"] * ("null" in kinds))


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _inner(annotation: object) -> Iterator[tuple[type[msgspec.Struct], str]]:
    for kind in parts(annotation):
        listed = get_origin(kind) in (list, tuple)
        item = get_args(kind)[0] if listed else kind
        if isinstance(item, type) and issubclass(item, msgspec.Struct):
            yield item, "[]" if listed else ""


def _notes(struct: type) -> dict[str, str]:
    """Read the comments that stand above the fields."""
    notes: dict[str, str] = {}
    comment: list[str] = []
    for line in map(str.strip, inspect.getsource(struct).splitlines()):
        if line.startswith("# "):
            comment.append(line[2:])
            continue
        if comment and (name := re.match(r"(\w+):", line)):
            notes[name[1]] = " ".join(comment)
        comment = []
    return notes
