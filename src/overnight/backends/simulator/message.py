"""The simulator's answer as a Messages object, and what it used."""

from collections.abc import Mapping
from typing import Any

from overnight.backends.simulator.answer import Answer
from overnight.backends.simulator.cache import CacheUse
from overnight.catalogue import KnownModel
from overnight.model import Usage

# The alphabet of the wire's ids; every byte of a digest becomes one of its characters.
_ID_ALPHABET = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TO_ID = bytes(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in range(256))


def usage_of(cache_use: CacheUse | None, input_tokens: int, answered: Answer) -> Usage:
    """Count a request: by what it took from the cache, or `input_tokens` when it used none."""
    if cache_use is None:
        return Usage(input_tokens=input_tokens, output_tokens=answered.output_tokens)
    return Usage(
        input_tokens=cache_use.input_tokens,
        cache_write_5m_tokens=cache_use.written_tokens("5m"),
        cache_write_1h_tokens=cache_use.written_tokens("1h"),
        cache_read_tokens=cache_use.read_tokens,
        output_tokens=answered.output_tokens,
    )


def message(
    known: KnownModel, params: Mapping[str, Any], identity: bytes, answered: Answer, usage: Usage
) -> dict[str, Any]:
    """Give the Messages object, keys in the order of the wire.

    Source: protocol notes §3.6–3.7 (captures of 2025 and 2026).
    """
    geo = params.get("inference_geo") or "global" if known.reports_geo else "not_available"
    made: dict[str, Any] = {
        "id": "msg_01" + identity[:22].translate(_TO_ID).decode(),
        "type": "message",
        "role": "assistant",
        "model": known.id,
        "content": answered.content,
        "stop_reason": answered.stop_reason,
        "stop_sequence": answered.stop_sequence,
        "usage": {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": usage.cache_write_5m_tokens
            + usage.cache_write_1h_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
            },
            "output_tokens": usage.output_tokens,
            "service_tier": "standard",
            "inference_geo": geo,
        },
    }
    if answered.stop_details is not None:
        made["stop_details"] = answered.stop_details
    return made
