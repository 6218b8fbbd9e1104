"""Inputs that are nearly right: documents with values, bytes or lines changed, for fuzzing.

OVERNIGHT_FUZZ_EXAMPLES makes runs long: so many examples for each test, chosen at random.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# None: a short run that is the same each time.
EXAMPLES = int(os.environ.get("OVERNIGHT_FUZZ_EXAMPLES", "0")) or None

# What readers stumble over: ends of ranges, numbers in disguise, texts that mean something.
_NUMBERS = st.sampled_from(
    [0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308]
)
_TEXTS = st.sampled_from(
    ["", " ", "\0", "\n", "\ud800", "é" * 300, "x" * 5_000, "true", "null", "NaN", "1e999", "٣",
     "[", "{}", "../..", "%00", "http://[::1", "2026-02-30", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00"]
)  # fmt: skip
_SCALARS = (
    st.none()
    | st.booleans()
    | _NUMBERS
    | st.integers()
    | st.floats()
    | _TEXTS
    | st.text(max_size=8)
)
values = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_TEXTS | st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
# Pieces of bytes that mean something to a reader of JSON, TOML, events or HTTP.
_PIECES = st.sampled_from(
    [b'"', b"{", b"}", b"[", b"]", b",", b":", b"=", b"\\", b"\\u", b"\\ud800", b"\0", b"\r", b"\n",
     b"\r\n\r\n", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"-", b"1e9999", b"9" * 400, b"9" * 5_000,
     b"null", b"nan", b"inf", b"data:", b"#", b"'''", b"[" * 100, b"[" * 20_000,
     b'{"a":' * 20_000]
)  # fmt: skip


def fuzzed(test: Callable[..., None], *, short: int) -> Callable[..., None]:
    """Run a property on `short` examples, the same ones each time, or on as many as asked for."""
    return settings(
        max_examples=EXAMPLES or short,
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=(HealthCheck.data_too_large, HealthCheck.too_slow),
    )(test)


@st.composite
def documents(draw: st.DrawFn, seeds: Sequence[Any]) -> bytes:
    """Give the JSON of a seed with some of its parts changed, removed, added or repeated."""
    document = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(0, 3))):
        document = _changed(draw, document)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    return draw(changed_bytes([text.encode("utf-8", "surrogatepass")]))


@st.composite
def changed_bytes(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Give a seed with some of its bytes cut out, repeated or replaced; often as it is."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 4]))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(_PIECES | st.binary(max_size=4) | st.just(data[start:end] * 2))
        data = data[:start] + piece + data[end:]
    return data


@st.composite
def changed_lines(draw: st.DrawFn, seeds: Sequence[str]) -> bytes:
    """Give a TOML seed with some of its lines removed, repeated, moved or given other values."""
    lines = draw(st.sampled_from(seeds)).splitlines()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[at].partition("=")
        match draw(st.sampled_from(["value", "value", "value", "remove", "repeat", "move"])):
            case "value" if equals:
                lines[at] = f"{key}= {draw(_toml_values)}"
            case "repeat":
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case "move":
                lines.append(lines.pop(at))
            case _ if len(lines) > 1:
                del lines[at]
    return draw(changed_bytes(["\n".join(lines).encode("utf-8", "replace")]))


_toml_values = st.sampled_from(
    ["0", "-1", "1", "0.5", "1e400", "nan", "-inf", "9" * 30, "9" * 5_000, "0x_ff", "true", '""',
     '"x"', '"\\u0000"', "'../..'", "[]", "[[]]", "[1, 'x']", "{}", "{ a = 1 }", "1979-05-27",
     "07:32:00", "1979-05-27T00:32:00-07:00", "1e-400", '"claude-haiku-4-5"', "[" * 5_000,
     '"http://[::1"', "'''\n'''"]
)  # fmt: skip


def _changed(draw: st.DrawFn, document: Any) -> Any:
    places = list(_places(document, ()))
    if not places:
        return draw(values)
    *way, last = draw(st.sampled_from(places))
    owner = document
    for step in way:
        owner = owner[step]
    match draw(st.sampled_from(["like", "like", "replace", "remove", "add", "repeat"])):
        case "like":
            # Of the same type: what passes the types must still be made sense of.
            owner[last] = draw(_NUMBERS if isinstance(owner[last], int | float) else _TEXTS)
        case "remove":
            del owner[last]
        case "add" if isinstance(owner, dict):
            owner[draw(_TEXTS | st.text(max_size=8))] = draw(values)
        case "repeat" if isinstance(owner, list):
            owner.append(owner[last])
        case _:
            owner[last] = draw(values)
    return document


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from _places(member, (*path, key))
