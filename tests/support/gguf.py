"""A tiny GGUF with random weights: a real llama model that llama.cpp loads and runs in a moment.

Its tokens are the bytes of the text, so that one token is one ASCII character.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3 (read 2026-11-24).
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

_VERSION = 3
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_TENSOR_F32 = 0
_NORMAL_TOKEN, _CONTROL_TOKEN = 1, 3
_SPECIAL_TOKENS = ("<|start|>", "<|end|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)

Value = int | float | bool | str | Sequence[int] | Sequence[str]


class _Tensor(NamedTuple):
    name: str
    # Fastest first, as the format has it.
    shape: tuple[int, ...]
    data: bytes


def write_tiny_model(
    path: Path, *, seed: int = 0, width: int = 32, layers: int = 2, context_tokens: int = 8_192
) -> Path:
    """Write the model; equal arguments write equal bytes."""
    tokens = [*_byte_tokens(), *_SPECIAL_TOKENS]
    metadata = _metadata(tokens, width=width, layers=layers, context_tokens=context_tokens)
    tensors = _tensors(Random(seed), len(tokens), width=width, layers=layers)
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _string(key) + _typed(value)
    offset = 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head += _string(tensor.name) + shape + struct.pack("<IQ", _TENSOR_F32, offset)
        offset += len(_padded(tensor.data))
    path.write_bytes(_padded(head) + b"".join(_padded(tensor.data) for tensor in tensors))
    return path


def _metadata(
    tokens: list[str], *, width: int, layers: int, context_tokens: int
) -> dict[str, Value]:
    control = len(tokens) - len(_SPECIAL_TOKENS)
    return {
        "general.architecture": "llama",
        "general.name": "tiny",
        "llama.block_count": layers,
        "llama.context_length": context_tokens,
        "llama.embedding_length": width,
        "llama.feed_forward_length": 2 * width,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": width // 2,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [
            _CONTROL_TOKEN if number >= control else _NORMAL_TOKEN for number in range(len(tokens))
        ],
        # One merge, of bytes that stand together in no valid text: the loader wants a list.
        "tokenizer.ggml.merges": ["Ā Ā"],
        "tokenizer.ggml.bos_token_id": control,
        "tokenizer.ggml.eos_token_id": control + 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _CHAT_TEMPLATE,
    }


def _tensors(random: Random, vocabulary: int, *, width: int, layers: int) -> list[_Tensor]:
    def weights(name: str, *shape: int) -> _Tensor:
        count = 1
        for size in shape:
            count *= size
        values = [random.uniform(-0.2, 0.2) for _ in range(count)]
        return _Tensor(f"{name}.weight", shape, struct.pack(f"<{count}f", *values))

    def norm(name: str) -> _Tensor:
        return _Tensor(f"{name}.weight", (width,), struct.pack(f"<{width}f", *[1.0] * width))

    tensors = [weights("token_embd", width, vocabulary)]
    for layer in range(layers):
        block = f"blk.{layer}"
        tensors += [norm(f"{block}.attn_norm"), norm(f"{block}.ffn_norm")]
        tensors += [weights(f"{block}.attn_{part}", width, width) for part in "qkv"]
        tensors += [
            weights(f"{block}.attn_output", width, width),
            weights(f"{block}.ffn_gate", width, 2 * width),
            weights(f"{block}.ffn_up", width, 2 * width),
            weights(f"{block}.ffn_down", 2 * width, width),
        ]
    return [*tensors, norm("output_norm"), weights("output", width, vocabulary)]


def _byte_tokens() -> list[str]:
    """Give the sign by which byte-level BPE writes each byte: itself where it can be printed."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (number for number in range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(0x100)]


def _typed(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    # The type stands once, before the entries.
    kind = _STRING if isinstance(value[0], str) else _INT32
    entries = (_string(e) if isinstance(e, str) else struct.pack("<i", e) for e in value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(entries)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
