"""A prompt, block by block: what makes its beginnings equal to those of another one. Pure.

The order is tools, system, messages. Two beginnings are equal when the model and the content of
all their blocks are; `cache_control` is no content.
Source: protocol notes §10 (documentation of 2026-08).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from overnight.errors import InvalidRequest
from overnight.shape import is_array, is_object
from overnight.tokens import (
    MESSAGE_TOKENS,
    TOOL_USE_TOKENS,
    block_tokens,
    format_tokens,
    tool_tokens,
)

# What `cache_control.ttl` may say.
TTL_S = {"5m": 300, "1h": 3600}
# Blocks of a message that may carry a breakpoint, beside texts; thinking may not.
_MARKABLE = frozenset({"document", "image", "search_result", "tool_result", "tool_use"})

_encode = msgspec.json.Encoder().encode


class Prefix(NamedTuple):
    """The prompt up to the end of one block."""

    place: str
    key: bytes
    tokens: int
    # "5m" or "1h" where the block carries a breakpoint, else "".
    ttl: str
    # The block itself; a text in its long form.
    block: Any

    @property
    def markable(self) -> bool:
        """Tell whether the block may carry a breakpoint: elsewhere one is refused, or unknown."""
        block = self.block
        if not is_object(block):
            return False
        if self.place.startswith("tools."):
            return not block.get("defer_loading")
        if block.get("type") != "text":
            return block.get("type") in _MARKABLE
        text = block.get("text")
        return isinstance(text, str) and bool(text) and not text.isspace()


def prefixes(params: Mapping[str, Any], model: str) -> Iterator[Prefix]:
    """Give the prompt's beginnings, one for each block, the shortest first.

    Raises: InvalidRequest for a `cache_control` that means nothing.
    """
    return _prefixes(_marked_blocks(params), model)


def shareable(params: Mapping[str, Any], model: str) -> Iterator[Prefix]:
    """Give the beginnings that other prompts may share: all but the whole, unless it is marked.

    Raises: InvalidRequest for a `cache_control` that means nothing.
    """
    if _is_one_text(params):
        return iter(())
    blocks = _marked_blocks(params)
    if blocks and not blocks[-1].ttl:
        del blocks[-1]
    return _prefixes(blocks, model)


class _Block(NamedTuple):
    # Where it stands: `tools.0`, `system.1`, `messages.2.content.0`.
    place: str
    # What makes it another prompt besides its content.
    head: bytes
    content: Any
    # What it adds to the prompt besides its content.
    extra_tokens: int
    tokens_of: Callable[[Any], int]
    ttl: str


def _prefixes(blocks: Iterable[_Block], model: str) -> Iterator[Prefix]:
    digest = hashlib.sha256(model.encode())
    tokens = 0
    for block in blocks:
        digest.update(b"%b%b\0" % (block.head, _content(block.content)))
        tokens += block.extra_tokens + block.tokens_of(block.content)
        yield Prefix(block.place, digest.digest(), tokens, block.ttl, block.content)


def _is_one_text(params: Mapping[str, Any]) -> bool:
    """Tell the simplest prompt of all: one message, one text, no markers."""
    messages = params.get("messages")
    return bool(
        is_array(messages)
        and len(messages) == 1
        and isinstance(messages[0].get("content"), str)
        and not (params.get("system") or params.get("tools") or params.get("cache_control"))
    )


def _marked_blocks(params: Mapping[str, Any]) -> list[_Block]:
    blocks = list(_blocks(params))
    automatic = _ttl(params)
    if automatic and blocks:
        blocks[-1] = _with_automatic(blocks[-1], automatic)
    return blocks


def _blocks(params: Mapping[str, Any]) -> Iterator[_Block]:
    """Give the prompt block by block; their tokens sum up to `tokens.prompt_tokens`."""
    extra = TOOL_USE_TOKENS
    for index, tool in enumerate(params.get("tools") or ()):
        yield _Block(f"tools.{index}", b"", tool, extra, tool_tokens, _ttl(tool))
        extra = 0
    system = params.get("system")
    extra = MESSAGE_TOKENS
    for index, block in enumerate(_as_blocks(system) if system else ()):
        yield _Block(f"system.{index}", b"system", block, extra, block_tokens, _ttl(block))
        extra = 0
    # Changing these makes another prompt of the messages, but not of tools and system.
    head = _encode([params.get(key) for key in ("tool_choice", "thinking", "output_config")])
    extra = format_tokens(params)
    for number, message in enumerate(params.get("messages") or ()):
        extra += MESSAGE_TOKENS
        head += str(message.get("role")).encode()
        for index, block in enumerate(_as_blocks(message.get("content"))):
            place = f"messages.{number}.content.{index}"
            yield _Block(place, head, block, extra, block_tokens, _ttl(block))
            head, extra = b"", 0


def _as_blocks(content: Any) -> list[Any]:
    """Write a text in the long form: the short one is the same prompt."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if is_array(content) else []


def _content(block: Any) -> bytes:
    if is_object(block) and "cache_control" in block:
        block = {key: value for key, value in block.items() if key != "cache_control"}
    return _encode(block)


def _ttl(block: Any) -> str:
    control = block.get("cache_control") if is_object(block) else None
    if not is_object(control):
        return ""
    ttl = str(control.get("ttl") or "5m")
    if ttl not in TTL_S:
        raise InvalidRequest(f"cache_control.ttl: '{ttl}', must be '5m' or '1h'")
    return ttl


def _with_automatic(block: _Block, ttl: str) -> _Block:
    if block.ttl and block.ttl != ttl:
        raise InvalidRequest(
            f"cache_control.ttl: '{ttl}' for the whole request, but {block.place} has '{block.ttl}'"
        )
    return block._replace(ttl=ttl)
