"""`messages` and `system`: roles, content blocks, and what each kind of block must have.

Blocks of a kind that is not known here pass: the wire gains new ones without a version.
"""

from typing import Any

from overnight.wire.params import shapes
from overnight.wire.params.caching import cache_control_fault
from overnight.wire.params.rules import STRICT_VERSION, Rules

MAX_MESSAGES = 100_000

_ROLES = ("user", "assistant", "system")
_EMPTY_TEXT = "text content blocks must be non-empty"
_EMPTY_MESSAGE = (
    "all messages must have non-empty content except for the optional final assistant message"
)
# Keys whose value must be a string, by kind of block.
_TEXTS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": (),
    "document": (),
    "tool_use": ("id", "name"),
    "server_tool_use": ("id", "name"),
    "tool_result": ("tool_use_id",),
    "search_result": ("source", "title"),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "container_upload": ("file_id",),
}
# What a `source` must have, by its type; other types pass.
_SOURCES: dict[str, tuple[str, ...]] = {
    "base64": ("media_type", "data"),
    "url": ("url",),
    "file": ("file_id",),
    "text": ("data",),
}


def messages_fault(value: Any, rules: Rules) -> str | None:
    """Check `messages`."""
    if fault := shapes.array(value, "messages"):
        return fault
    if not value:
        return "messages: at least one message is required"
    if len(value) > MAX_MESSAGES:
        return (
            f"messages: List should have at most {MAX_MESSAGES} items after validation, "
            f"not {len(value)}"
        )
    last = len(value) - 1
    for index, message in enumerate(value):
        if fault := _message_fault(message, rules, index, final=index == last):
            return fault
    return None


def system_fault(value: Any, rules: Rules) -> str | None:
    """Check `system`: a text, or a list of text blocks."""
    if isinstance(value, str):
        return None
    if fault := shapes.array(value, "system"):
        return fault
    for index, block in enumerate(value):
        path = f"system.{index}"
        text = block.get("text") if shapes.is_object(block) else None
        if not isinstance(text, str) or block.get("type") != "text":
            return (
                shapes.dictionary(block, path)
                or shapes.member(block, "type", path)
                or shapes.one_of(block["type"], f"{path}.type", ("text",))
                or shapes.text_member(block, "text", path)
            )
        if not text:
            return f"system: {_EMPTY_TEXT}"
        control = block.get("cache_control")
        if control is not None and (
            fault := cache_control_fault(control, rules, f"{path}.cache_control")
        ):
            return fault
    return None


def _message_fault(message: Any, rules: Rules, index: int, *, final: bool) -> str | None:
    path = f"messages.{index}"
    if not shapes.is_object(message):
        return f"{path}: {shapes.NOT_AN_OBJECT}"
    role = message.get("role")
    if role not in _ROLES:
        return shapes.member(message, "role", path) or shapes.one_of(
            role, f"{path}.role", ("user", "assistant")
        )
    content = message.get("content")
    if shapes.is_array(content):
        for number, block in enumerate(content):
            if fault := _block_fault(block, rules, f"{path}.content.{number}", role):
                return fault
    elif not isinstance(content, str):
        return shapes.member(message, "content", path) or shapes.array(content, f"{path}.content")
    if not content and not (final and role == "assistant"):
        return f"{path}: {_EMPTY_MESSAGE}"
    if len(message) != 2 and rules.refuses_unknown_nested:
        return shapes.only_keys(message, ("role", "content"), path)
    return None


def _block_fault(block: Any, rules: Rules, path: str, role: str) -> str | None:
    if not shapes.is_object(block):
        return f"{path}: {shapes.NOT_AN_OBJECT}"
    kind = block.get("type")
    if not isinstance(kind, str):
        return shapes.text_member(block, "type", path)
    path = f"{path}.{kind}"
    control = block.get("cache_control")
    if control is not None and (
        fault := cache_control_fault(control, rules, f"{path}.cache_control")
    ):
        return fault
    texts = _TEXTS.get(kind)
    if texts is None:
        return None
    for key in texts:
        if not isinstance(block.get(key), str):
            return shapes.text_member(block, key, path)
    return _kind_fault(block, rules, path, role)


def _kind_fault(block: dict[str, Any], rules: Rules, path: str, role: str) -> str | None:
    match block["type"]:
        case "text":
            return _text_fault(block, rules, path, role)
        case "image":
            return _source_fault(block, path)
        case "document":
            if role == "assistant" and rules.strict_version:
                return (
                    f"{path}: document blocks in assistant messages are not supported "
                    f"since anthropic-version {STRICT_VERSION}"
                )
            return _source_fault(block, path)
        case "tool_use" | "server_tool_use":
            return shapes.member(block, "input", path) or shapes.dictionary(
                block["input"], f"{path}.input"
            )
        case "tool_result":
            return _inner_fault(block.get("content", ""), rules, f"{path}.content", role)
        case "search_result":
            return (
                shapes.member(block, "content", path)
                or shapes.array(block["content"], f"{path}.content")
                or _inner_fault(block["content"], rules, f"{path}.content", role)
            )
        case _:
            return None


def _text_fault(block: dict[str, Any], rules: Rules, path: str, role: str) -> str | None:
    if not block["text"]:
        return f"messages: {_EMPTY_TEXT}"
    if role == "user" and rules.strict_version and block.get("citations"):
        return (
            f"{path}.citations: citations on text blocks of a user are not supported "
            f"since anthropic-version {STRICT_VERSION}"
        )
    return None


def _inner_fault(content: Any, rules: Rules, path: str, role: str) -> str | None:
    """Check what a tool or a search brought: a text or blocks; blocks hold no more such results."""
    if content is None or isinstance(content, str):
        return None
    if fault := shapes.array(content, path):
        return fault
    for index, block in enumerate(content):
        inner = f"{path}.{index}"
        if shapes.is_object(block) and block.get("type") == "tool_result":
            return f"{inner}.type: a tool result cannot hold another tool result"
        if fault := _block_fault(block, rules, inner, role):
            return fault
    return None


def _source_fault(block: dict[str, Any], path: str) -> str | None:
    path = f"{path}.source"
    if "source" not in block:
        return f"{path}: {shapes.FIELD_REQUIRED}"
    source = block["source"]
    if fault := shapes.dictionary(source, path) or shapes.text_member(source, "type", path):
        return fault
    path = f"{path}.{source['type']}"
    for key in _SOURCES.get(source["type"], ()):
        if fault := shapes.text_member(source, key, path):
            return fault
    return None
