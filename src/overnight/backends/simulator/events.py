"""A message as server-sent events, in the order and form of the Messages API.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming, and the event types of
SDK 2.12, read 2026-11.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

# How many characters one delta carries, and so about four tokens.
DELTA_CHARACTERS = 16

_encode = msgspec.json.Encoder().encode


class Event(NamedTuple):
    data: bytes
    # What part of the answer's time passes before it is sent; all parts sum up to 1.
    share: float = 0.0


def events(message: Mapping[str, Any]) -> Iterator[Event]:
    """Give the events of a whole message."""
    usage = message["usage"]
    start = {key: value for key, value in message.items() if key != "stop_details"}
    start |= {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    start["stop_sequence"] = None
    yield _event("message_start", message=start)
    yield _event("ping")
    pieces = [_pieces(block) for block in message["content"]]
    share = 1 / max(1, sum(map(len, pieces)))
    for index, block in enumerate(message["content"]):
        yield _event("content_block_start", index=index, content_block=_empty(block))
        for delta in pieces[index]:
            yield _event("content_block_delta", share=share, index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    delta = {key: message.get(key) for key in ("stop_reason", "stop_sequence")}
    if message.get("stop_details"):
        delta["stop_details"] = message["stop_details"]
    counted = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    total = {key: usage[key] for key in (*counted, "output_tokens")}
    yield _event("message_delta", delta=delta, usage=total)
    yield _event("message_stop")


def _event(name: str, *, share: float = 0.0, **fields: Any) -> Event:
    data = _encode({"type": name, **fields})
    return Event(b"event: %b\ndata: %b\n\n" % (name.encode(), data), share)


def _empty(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {**block, "text": ""}
    return {**block, "input": {}}


def _pieces(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": text} for text in _split(block["text"])]
    written = _encode(block["input"]).decode()
    return [{"type": "input_json_delta", "partial_json": part} for part in ["", *_split(written)]]


def _split(text: str) -> list[str]:
    return [
        text[start : start + DELTA_CHARACTERS] for start in range(0, len(text), DELTA_CHARACTERS)
    ]
