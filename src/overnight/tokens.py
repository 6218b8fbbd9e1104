"""How many tokens a prompt has, by one stated rule: offline, deterministic, the same everywhere.

The rule: an ASCII character is a quarter of a token, a character of two UTF-8 bytes (é, Я, ش)
5/8, of three bytes (漢, あ, 한) 1, of four bytes (most emoji) 11/8; each text is rounded up. To
that come fixed costs for every message, tool, image and page (the constants below). JSON counts
as the text that it is. The count of a prompt is the sum of the counts of its parts, so that
prefixes can be counted.

It is an estimate: models have tokenizers of their own, and those since Claude Opus 4.7 make about
30 % more tokens of the same text than those before.
Source: https://platform.claude.com/docs/en/models/haiku-5-5/overview, read 2026-11-22.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from overnight.shape import is_array, is_object

# What stands around each message, and around the system prompt.
MESSAGE_TOKENS = 4
# The instructions that a prompt with at least one tool carries.
# Source: https://platform.claude.com/docs/en/build-with-claude/pricing, tool use, 2025-11.
TOOL_USE_TOKENS = 346
TOOL_TOKENS = 8
# What stands around a tool's call and around its result.
TOOL_CALL_TOKENS = 12
# An image at the size to which larger ones are scaled down.
IMAGE_TOKENS = 1600
# A PDF page, as text and image; pages are guessed from the size of the file.
PAGE_TOKENS = 2500
PAGE_BASE64_CHARACTERS = 100_000

_encode = msgspec.json.Encoder().encode


def text_tokens(text: str) -> int:
    """Count a text."""
    if text.isascii():
        return (len(text) + 3) >> 2
    continuation_bytes = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return (2 * len(text) + 3 * continuation_bytes + 7) >> 3


def json_tokens(value: Any) -> int:
    """Count a value by its compact JSON."""
    return text_tokens(_encode(value).decode())


def block_tokens(block: Any) -> int:
    """Count one content block of a message or of the system prompt; a plain text is a block too.

    A block of a kind that is not known here counts as its JSON, without `cache_control`.
    """
    if isinstance(block, str):
        return text_tokens(block)
    if not is_object(block):
        return json_tokens(block)
    kind = block.get("type")
    count = _BLOCKS.get(kind, _other) if isinstance(kind, str) else _other
    return count(block)


def content_tokens(content: Any) -> int:
    """Count what stands in `content` or `system`: a text or a list of blocks."""
    if isinstance(content, str):
        return text_tokens(content)
    if is_array(content):
        return sum(map(block_tokens, content))
    return 0 if content is None else json_tokens(content)


def tool_tokens(tool: Any) -> int:
    """Count one definition of `tools`."""
    return TOOL_TOKENS + _other(tool)


def format_tokens(params: Mapping[str, Any]) -> int:
    """Count the JSON schema that `output_config.format` puts before the conversation."""
    config = params.get("output_config")
    schema_format = config.get("format") if is_object(config) else None
    return 0 if schema_format is None else json_tokens(schema_format)


def prompt_tokens(params: Mapping[str, Any]) -> int:
    """Count the whole prompt of a Messages request, cached or not.

    `params` are decoded JSON. What is malformed is counted as JSON, so that a prompt can be
    counted before it is checked. Raises nothing.
    """
    tokens = format_tokens(params)
    system = params.get("system")
    if system:
        tokens += MESSAGE_TOKENS + content_tokens(system)
    tools = params.get("tools")
    if tools and is_array(tools):
        tokens += TOOL_USE_TOKENS + sum(map(tool_tokens, tools))
    messages = params.get("messages")
    if is_array(messages):
        for message in messages:
            content = message.get("content") if is_object(message) else message
            tokens += MESSAGE_TOKENS + content_tokens(content)
    return tokens


def _text(block: Mapping[str, Any]) -> int:
    text = block.get("text")
    return text_tokens(text) if isinstance(text, str) else json_tokens(text)


def _image(block: Mapping[str, Any]) -> int:
    return IMAGE_TOKENS


def _document(block: Mapping[str, Any]) -> int:
    source = block.get("source")
    if not is_object(source):
        return PAGE_TOKENS
    match source.get("type"):
        case "text":
            return content_tokens(source.get("data"))
        case "content":
            return content_tokens(source.get("content"))
        case "base64":
            data = source.get("data")
            characters = len(data) if isinstance(data, str) else 0
            return PAGE_TOKENS * max(1, -(-characters // PAGE_BASE64_CHARACTERS))
        case _:
            return PAGE_TOKENS


def _tool_use(block: Mapping[str, Any]) -> int:
    return TOOL_CALL_TOKENS + content_tokens(block.get("name")) + json_tokens(block.get("input"))


def _tool_result(block: Mapping[str, Any]) -> int:
    return TOOL_CALL_TOKENS + content_tokens(block.get("content"))


def _search_result(block: Mapping[str, Any]) -> int:
    return sum(content_tokens(block.get(key)) for key in ("title", "source", "content"))


def _thinking(block: Mapping[str, Any]) -> int:
    return content_tokens(block.get("thinking"))


def _other(block: Any) -> int:
    if is_object(block) and "cache_control" in block:
        block = {key: value for key, value in block.items() if key != "cache_control"}
    return json_tokens(block)


_BLOCKS: dict[str, Callable[[Mapping[str, Any]], int]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "server_tool_use": _tool_use,
    "tool_result": _tool_result,
    "search_result": _search_result,
    "thinking": _thinking,
}
