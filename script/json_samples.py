"""Make values of our Structs from their annotations: one full, and one per way a field may vary."""

import typing
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

Value = TypeVar("Value")
# A field of a class, and what it is to hold.
Choice = tuple[type, str, object]

_SHRINK = Decimal("0.97")
_DIGITS = Decimal("1e-6")


class Word(str):
    """One of the words that a field may hold."""


def variants(kind: type[Value]) -> Iterator[Value]:
    """Give a value with every field set, then one per field that may be null or another word."""
    maker = _Maker()
    yield maker.make(kind)
    for choice in maker.choices:
        yield _Maker(choice).make(kind)


def literals(annotation: object) -> Sequence[str]:
    """Give the words of a `Literal` or an enum; none of any other annotation."""
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if isinstance(word, str)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return []


def parts(annotation: object) -> Sequence[object]:
    """Give the members of a union, or the annotation alone; that a field is left out is none."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [part for part in get_args(annotation) if part is not msgspec.UnsetType]


class _Maker:
    """Makes one value; remembers the choices that it met on the way."""

    def __init__(self, chosen: Choice | None = None) -> None:
        self.choices: list[Choice] = []
        self._chosen = chosen
        self._number = Decimal(1)

    def make(self, annotation: Any) -> Any:
        """Make a value of a type; numbers differ and shrink, so that sums and shares are odd."""
        if annotation is Decimal:
            self._number = (self._number * _SHRINK).quantize(_DIGITS)
            return self._number
        if get_origin(annotation) in (tuple, list, Sequence):
            items = get_args(annotation)
            return tuple(self.make(items[0]) for _ in range(2))
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if issubclass(annotation, msgspec.Struct) or hasattr(annotation, "_fields"):
            hints = typing.get_type_hints(annotation)
            return annotation(
                **{name: self._field(annotation, name, hints[name]) for name in hints}
            )
        raise TypeError(f"{annotation}: script/json_samples.py cannot make one")

    def _field(self, owner: type, name: str, annotation: object) -> object:
        if self._chosen and self._chosen[:2] == (owner, name):
            return self._chosen[2]
        kinds = parts(annotation)
        if NoneType in kinds:
            self.choices.append((owner, name, None))
        kind = next(kind for kind in kinds if kind is not NoneType)
        if words := literals(kind):
            made = [kind(word) if isinstance(kind, type) else Word(word) for word in words]
            self.choices.extend((owner, name, word) for word in made[1:])
            return made[0]
        return self.make(kind)


_PLAIN: dict[object, object] = {
    str: "text", int: 1, float: 0.5, bool: True,
    date: date(2026, 11, 22), datetime: datetime(2026, 11, 22),
}  # fmt: skip
