"""A GGUF file as far as it must be known before it is loaded: context and cache per token.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3
(read 2026-11-24).
"""

import os
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from overnight.errors import ConfigInvalid

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# The kinds of numbers by their code in the file.
_NUMBERS = {
    code: struct.Struct("<" + letter)
    for code, letter in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
# More than any model has; a count beyond it is a damaged file.
_MAX_ENTRIES = 100_000
_KV_NUMBER_BYTES = 2  # llama.cpp keeps keys and values as 16-bit floats

_Value = int | float | str | None


class Gguf(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of a model's file tells."""

    path: Path
    size_bytes: int
    modified_at: datetime
    # What the model was trained for; None where the file does not say.
    context_tokens: int | None
    # Keys and values of one token in all layers; None where it cannot be told.
    kv_bytes_per_token: int | None


def read_gguf(path: Path) -> Gguf:
    """Read the head of a model's file. Raises: ConfigInvalid when it is missing or no GGUF."""
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(0)
            modified_at = datetime.fromtimestamp(int(os.fstat(file.fileno()).st_mtime), UTC)
            return _described(path, size_bytes, modified_at, _metadata(file))
    except OSError as error:
        raise ConfigInvalid(
            f"gguf: {path}: {error.strerror}", hint="name a file: --gguf path/to/model.gguf"
        ) from None
    except (ValueError, struct.error):
        raise ConfigInvalid(
            f"gguf: {path}: this is not a GGUF file, or it is not whole",
            hint="llama.cpp reads models in the GGUF format, version 2 or 3",
        ) from None


def _described(
    path: Path, size_bytes: int, modified_at: datetime, metadata: dict[str, _Value]
) -> Gguf:
    architecture = metadata.get("general.architecture")

    def number(name: str) -> int | None:
        value = metadata.get(f"{architecture}.{name}")
        return value if isinstance(value, int) and value > 0 else None

    layers, width = number("block_count"), number("embedding_length")
    heads = number("attention.head_count")
    kv_heads = number("attention.head_count_kv") or heads
    kv_bytes = None
    if layers and width and heads and kv_heads:
        key = number("attention.key_length") or width // heads
        value = number("attention.value_length") or width // heads
        kv_bytes = layers * kv_heads * (key + value) * _KV_NUMBER_BYTES
    return Gguf(
        path=path,
        size_bytes=size_bytes,
        modified_at=modified_at,
        context_tokens=number("context_length"),
        kv_bytes_per_token=kv_bytes,
    )


def _metadata(file: BinaryIO) -> dict[str, _Value]:
    """Read the pairs; those whose value is a list are None. Raises: ValueError, struct.error."""
    if file.read(4) != _MAGIC:
        raise ValueError
    version, _tensors, pairs = struct.unpack("<IQQ", file.read(20))
    if version not in _VERSIONS or pairs > _MAX_ENTRIES:
        raise ValueError
    found: dict[str, _Value] = {}
    for _ in range(pairs):
        key = _string(file)
        if key.startswith("tokenizer."):
            # Comes after what describes the model, and is most of the head.
            break
        found[key] = _value(file, _uint32(file))
    return found


def _value(file: BinaryIO, kind: int) -> _Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        entry, count = _uint32(file), _uint64(file)
        if count > _MAX_ENTRIES:
            raise ValueError
        for _ in range(count):
            _value(file, entry)
        return None
    if kind not in _NUMBERS:
        raise ValueError
    number = _NUMBERS[kind]
    value: int | float = number.unpack(file.read(number.size))[0]
    return value


def _string(file: BinaryIO) -> str:
    length = _uint64(file)
    data = file.read(min(length, 1 << 24))
    if len(data) != length:
        raise ValueError
    return data.decode()


def _uint32(file: BinaryIO) -> int:
    return int(struct.unpack("<I", file.read(4))[0])


def _uint64(file: BinaryIO) -> int:
    return int(struct.unpack("<Q", file.read(8))[0])
