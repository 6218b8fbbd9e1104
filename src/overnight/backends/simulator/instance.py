"""Make a value that fits a JSON schema: what a model answers when its format is fixed."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from overnight.errors import InvalidRequest
from overnight.shape import is_array, is_object

# Deeper than this, what is optional is left out and the plainest alternative is taken.
SOFT_DEPTH = 5
MAX_DEPTH = 40
# A schema that needs more values than this is refused: alternatives may nest without end.
MAX_VALUES = 20_000
# Beyond this no step between bounds is looked for.
LARGE_NUMBER = 1e15

# fmt: off
_WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron",
    "iris", "juniper", "kestrel", "linden", "maple", "north", "olive", "pearl",
    "quartz", "river", "slate", "thistle", "umber", "violet", "willow", "yarrow",
)
# fmt: on

_TOO_COMPLEX = "Schema is too complex for compilation."
_FORMATS: Mapping[str, Callable[[Random], str]] = {
    "date": lambda random: f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}",
    "time": lambda random: f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:00Z",
    "date-time": lambda random: (
        f"2026-{random.randint(1, 12):02}-15T12:{random.randint(0, 59):02}:00Z"
    ),
    "duration": lambda random: f"PT{random.randint(1, 90)}M",
    "email": lambda random: f"{random.choice(_WORDS)}@example.com",
    "hostname": lambda random: f"{random.choice(_WORDS)}.example.com",
    "uri": lambda random: f"https://example.com/{random.choice(_WORDS)}",
    "ipv4": lambda random: f"192.0.2.{random.randint(1, 254)}",
    "ipv6": lambda random: f"2001:db8::{random.randint(1, 0xFFFF):x}",
    "uuid": lambda random: _uuid(random),
}


def instance(schema: Any, random: Random) -> Any:
    """Make a value that fits `schema`, drawn from `random`.

    Knows type, enum, const, properties, required, items, prefixItems, anyOf, oneOf, allOf, $ref,
    $defs, format and the bounds of numbers, texts and lists. `pattern` and `not` are not solved.
    Raises InvalidRequest when it is not a schema, or cannot be filled within 40 levels.
    """
    try:
        msgspec.convert(schema, _Schema | bool)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"output schema: {error}") from error
    try:
        return _Maker(schema, random).make(schema, 0)
    except _TooDeep:
        raise InvalidRequest(_TOO_COMPLEX) from None


_Least = Annotated[int, Meta(ge=0, le=10_000)]


class _Schema(msgspec.Struct, frozen=True, rename="camel"):
    """The keywords that are used, to check their shape; a schema is then read as it is."""

    type: str | list[str] | None = None
    enum: list[Any] | None = None
    properties: dict[str, "_Schema | bool"] | None = None
    required: list[str] | None = None
    additional_properties: "_Schema | bool | None" = None
    items: "_Schema | bool | None" = None
    prefix_items: list["_Schema | bool"] | None = None
    any_of: list["_Schema | bool"] | None = None
    one_of: list["_Schema | bool"] | None = None
    all_of: list["_Schema | bool"] | None = None
    defs: dict[str, "_Schema | bool"] | None = msgspec.field(default=None, name="$defs")
    definitions: dict[str, "_Schema | bool"] | None = None
    ref: str | None = msgspec.field(default=None, name="$ref")
    format: str | None = None
    min_length: _Least = 0
    max_length: int | None = None
    min_items: _Least = 0
    max_items: _Least | None = None
    min_properties: _Least = 0
    unique_items: bool = False
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    multiple_of: Annotated[float, Meta(gt=0)] | None = None


class _TooDeep(Exception):
    """This branch cannot be filled in the levels that are left."""


class _Maker:
    def __init__(self, root: Any, random: Random) -> None:
        self._root = root
        self._random = random
        self._values = 0

    def make(self, schema: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidRequest(_TOO_COMPLEX)
        if depth > MAX_DEPTH or schema is False:
            raise _TooDeep
        if not is_object(schema):
            return self._random.choice(_WORDS)
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._random.choice(list(schema["enum"]))
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return self._branch(schema, list(branches), depth)
        return self._typed(schema, depth)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow `$ref` and fold `allOf` until neither is left."""
        for _ in range(MAX_DEPTH):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(self._target(str(schema["$ref"])), rest)
            elif schema.get("allOf"):
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                for part in schema["allOf"]:
                    rest = _merged(rest, part)
                schema = rest
            else:
                return schema
        raise _TooDeep

    def _target(self, reference: str) -> Mapping[str, Any]:
        target = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if is_object(target) else None
        if not is_object(target):
            raise InvalidRequest(f"output schema: {reference} points to nothing in it")
        return target

    def _branch(self, schema: Mapping[str, Any], branches: list[Any], depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        self._random.shuffle(branches)
        if depth >= SOFT_DEPTH:
            branches.sort(key=_weight)
        for branch in branches:
            try:
                return self.make(_merged(rest, branch), depth + 1)
            except _TooDeep:
                continue
        raise _TooDeep

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        match self._type(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return int(self._number(schema, whole=True))
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema)

    def _type(self, schema: Mapping[str, Any], depth: int) -> str:
        kind = schema.get("type")
        if is_array(kind) and kind:
            plain = [one for one in kind if one not in ("object", "array")]
            return str(self._random.choice(plain if plain and depth >= SOFT_DEPTH else kind))
        if kind is not None:
            return str(kind)
        return "object" if "properties" in schema else "array" if "items" in schema else "string"

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        made: dict[str, Any] = {}
        for key, part in schema.get("properties", {}).items():
            if key not in required and (depth >= SOFT_DEPTH or self._random.random() < 0.25):
                continue
            try:
                made[key] = self.make(part, depth + 1)
            except _TooDeep:
                if key in required:
                    raise
        extra = schema.get("additionalProperties")
        missing = [key for key in schema.get("required", ()) if key not in made]
        names = (f"{word}_{number}" for number in range(100) for word in _WORDS)
        while missing or len(made) < schema.get("minProperties", 0):
            key = missing.pop(0) if missing else next(names)
            made[key] = self.make(extra if is_object(extra) else True, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        prefix = list(schema.get("prefixItems", ()))
        least = max(schema.get("minItems", 0), len(prefix))
        most = max(least, schema.get("maxItems", 3))
        length = least
        if depth < SOFT_DEPTH:
            length = self._random.randint(max(least, min(1, most)), most)
        parts = (prefix + [schema.get("items", True)] * length)[:length]
        made: list[Any] = []
        for part in parts:
            try:
                item = self._item(part, depth, made if schema.get("uniqueItems") else None)
            except _TooDeep:
                if len(made) < least:
                    raise
                break
            made.append(item)
        return made

    def _item(self, schema: Any, depth: int, others: list[Any] | None) -> Any:
        """Make an item, unlike all `others` where they are given."""
        for _ in range(100):
            item = self.make(schema, depth + 1)
            if others is None or item not in others:
                return item
        raise _TooDeep

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        step = schema.get("multipleOf") or (1 if whole else 0.01)
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if low is None:
            low = 0 if high is None or high >= 0 else high - 100 * step
        if high is None:
            high = low + 100 * step
        if max(abs(low), abs(high)) > LARGE_NUMBER:
            return float(low if low > 0 else min(high, 0))
        first = -(-low // step) + ("exclusiveMinimum" in schema and low % step == 0)
        last = high // step - ("exclusiveMaximum" in schema and high % step == 0)
        if last < first:  # no step lies between the bounds: only a finer one does
            return float(low + high) / 2
        value = self._random.randint(int(first), int(last)) * step
        return value if whole else round(value, 6)

    def _string(self, schema: Mapping[str, Any]) -> str:
        make = _FORMATS.get(str(schema.get("format")))
        if make is not None:
            return make(self._random)
        text = " ".join(self._random.choice(_WORDS) for _ in range(self._random.randint(1, 3)))
        least = schema.get("minLength", 0)
        while len(text) < least:
            text += " " + self._random.choice(_WORDS)
        return text[: max(least, schema.get("maxLength", len(text)))]


def _merged(one: Mapping[str, Any], other: Any) -> dict[str, Any]:
    """Ask for what both schemas ask for, as far as their keys are apart or are objects."""
    if not is_object(other):
        return dict(one)
    merged = dict(one) | dict(other)
    if "properties" in one and "properties" in other:
        merged["properties"] = dict(one["properties"]) | dict(other["properties"])
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _weight(schema: Any) -> int:
    """Order alternatives from plain values to those that go deeper."""
    if not is_object(schema):
        return 0
    if "$ref" in schema:
        return 3
    if schema.get("type") in ("object", "array") or "properties" in schema:
        return 2
    return 1 if "anyOf" in schema or "oneOf" in schema or "allOf" in schema else 0


def _uuid(random: Random) -> str:
    digits = f"{random.getrandbits(128):032x}"
    return "-".join(
        (digits[:8], digits[8:12], "4" + digits[13:16], "8" + digits[17:20], digits[20:])
    )
