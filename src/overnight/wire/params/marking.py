"""Set breakpoints in params: a `cache_control` at the end of a block, and no other change.

A text that stands for one block is written as that block, which is the same prompt. Every value
that carries no breakpoint keeps the caller's bytes.
"""

from collections.abc import Iterable

import msgspec

# A breakpoint by its `ttl`; five minutes are the default of the wire.
_CONTROLS = {
    "5m": msgspec.Raw(b'{"type":"ephemeral"}'),
    "1h": msgspec.Raw(b'{"type":"ephemeral","ttl":"1h"}'),
}
_Object = dict[str, msgspec.Raw]
_TEXT: _Object = {"type": msgspec.Raw(b'"text"')}
_decode_object = msgspec.json.Decoder(_Object).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def marked(params: bytes | msgspec.Raw, marks: Iterable[tuple[int, str]]) -> msgspec.Raw:
    """Write breakpoints into params that were checked and have none.

    `marks` are numbers of blocks, as `overnight.prompt` counts them, each with "5m" or "1h".
    Raises: LookupError for a block that is not there.
    """
    waiting = dict(marks)
    found = _decode_object(params)
    start = 0
    for key in ("tools", "system"):
        # An empty system prompt is none.
        if key in found and bytes(memoryview(found[key])[:2]) != b'""':
            found[key], start = _marked_blocks(found[key], start, waiting)
    if waiting:
        messages = _decode_array(found["messages"])
        for index, message in enumerate(messages):
            parts = _decode_object(message)
            content, start = _marked_blocks(parts["content"], start, waiting)
            if content is not parts["content"]:
                parts["content"] = content
                messages[index] = msgspec.Raw(_encode(parts))
            if not waiting:
                break
        found["messages"] = msgspec.Raw(_encode(messages))
    if waiting:
        raise LookupError(f"no block {min(waiting)}: the prompt has {start}")
    return msgspec.Raw(_encode(found))


def _marked_blocks(
    value: msgspec.Raw, start: int, waiting: dict[int, str]
) -> tuple[msgspec.Raw, int]:
    """Mark what waits among the blocks of a value, the first of which is number `start`.

    Gives the value itself when nothing in it waits, and the number of the block after it.
    """
    head = bytes(memoryview(value)[:1])
    is_text = head == b'"'
    blocks = [value] if is_text else _decode_array(value) if head == b"[" else []
    end = start + len(blocks)
    ours = [number for number in waiting if number < end]
    if not ours:
        return value, end
    for number in ours:
        block = _TEXT | {"text": value} if is_text else _decode_object(blocks[number - start])
        block["cache_control"] = _CONTROLS[waiting.pop(number)]
        blocks[number - start] = msgspec.Raw(_encode(block))
    return msgspec.Raw(_encode(blocks)), end
