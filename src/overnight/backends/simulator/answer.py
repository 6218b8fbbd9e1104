"""What the simulator says: text, a tool call, JSON or a refusal, all drawn from the request."""

from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from overnight.backends.simulator.instance import instance
from overnight.backends.simulator.script import Answer as AnswerScript
from overnight.backends.simulator.script import Refusal
from overnight.errors import InvalidRequest
from overnight.shape import is_object
from overnight.tokens import block_tokens, text_tokens

# How much of the last user text is repeated, so that a reader sees that answers differ.
HINT_CHARACTERS = 60

_OPENINGS = (
    "Here is a simulated answer to",
    "This stands in for an answer to",
    "No model ran; a plausible reply to",
    "Simulated: in reply to",
)
_SENTENCES = (
    "The main point comes first and the details follow in order.",
    "Two parts matter most, and both are stated plainly.",
    "Nothing in the material contradicts this reading.",
    "The figures agree with one another as far as they go.",
    "A shorter form would leave out what the reader needs.",
    "What remains open is named at the end.",
    "The tone is neutral and the wording stays close to the source.",
    "Each claim can be traced to the text that was given.",
)
_PROSE = " ".join(_SENTENCES) + " "
_STARTS = tuple(_PROSE.index(sentence) for sentence in _SENTENCES)

_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a message that is not about the request: content and why it stopped."""

    content: list[dict[str, Any]]
    stop_reason: str
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    output_tokens: int


def answer(params: Mapping[str, Any], digest: bytes, script: AnswerScript) -> Answer:
    """Answer a request; the same params, digest and script give the same answer.

    Raises InvalidRequest when a forced tool is not there or a schema cannot be filled.
    """
    max_tokens = params["max_tokens"]
    if max_tokens == 0:  # only writes the prompt to the cache
        return Answer(content=[], stop_reason="max_tokens", output_tokens=0)
    tool = _forced_tool(params, digest)
    if tool is not None:
        return _tool_call(tool, digest, max_tokens)
    schema = _answer_schema(params)
    text = _prose(params, digest, script)
    if schema is not None:
        text = _encode(instance(schema, Random(digest))).decode()
    return _text_answer(text, max_tokens, params.get("stop_sequences") or ())


def refusal(fault: Refusal) -> Answer:
    details = {"type": "refusal", "category": fault.category, "explanation": fault.explanation}
    return Answer(content=[], stop_reason="refusal", stop_details=details, output_tokens=1)


def _text_answer(text: str, max_tokens: int, stop_sequences: tuple[str, ...]) -> Answer:
    stop_reason, stop_sequence = "end_turn", None
    tokens = text_tokens(text)
    if tokens > max_tokens:
        text, tokens, stop_reason = _cut(text, max_tokens), max_tokens, "max_tokens"
    if stop_sequences:
        found = [(text.find(stop), stop) for stop in stop_sequences if stop and stop in text]
        if found:
            end, stop_sequence = min(found)
            text, stop_reason = text[:end], "stop_sequence"
            tokens = max(1, text_tokens(text))
    return Answer(
        content=[{"type": "text", "text": text}],
        stop_reason=stop_reason,
        stop_sequence=stop_sequence,
        output_tokens=tokens,
    )


def _prose(params: Mapping[str, Any], digest: bytes, script: AnswerScript) -> str:
    if script.text is not None:
        return script.text
    opening = _OPENINGS[digest[0] % len(_OPENINGS)]
    hint = " ".join(_last_user_text(params)[: 4 * HINT_CHARACTERS].split())
    if len(hint) > HINT_CHARACTERS:
        hint = hint[:HINT_CHARACTERS].rpartition(" ")[0] or hint[:HINT_CHARACTERS]
    head = f'{opening} "{hint}". ' if hint else f"{opening} your request. "
    span = script.max_tokens - script.min_tokens + 1
    tokens = script.min_tokens + int.from_bytes(digest[1:5], "big") % span
    wanted = 4 * tokens - len(head)
    start = _STARTS[digest[5] % len(_STARTS)]
    prose = (_PROSE * (2 + max(0, wanted) // len(_PROSE)))[start : start + max(wanted, 0)]
    return (head + prose.rpartition(" ")[0]).rstrip(" .,") + "."


def _last_user_text(params: Mapping[str, Any]) -> str:
    for message in reversed(params["messages"]):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content
        texts = [block.get("text", "") for block in content if block.get("type") == "text"]
        if texts:
            return str(texts[-1])
    return ""


def _cut(text: str, max_tokens: int) -> str:
    """Keep as much of a text as counts at most `max_tokens`."""
    if text.isascii():
        return text[: 4 * max_tokens]
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_tokens(text[:middle]) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _forced_tool(params: Mapping[str, Any], digest: bytes) -> Mapping[str, Any] | None:
    """Give the tool that the answer must call; None when it need not call one."""
    choice = params.get("tool_choice")
    kind = choice.get("type") if is_object(choice) else None
    if kind not in ("tool", "any"):
        return None
    tools = [tool for tool in params.get("tools") or () if is_object(tool)]
    if kind == "tool":
        name = choice.get("name") if is_object(choice) else None
        for tool in tools:
            if tool.get("name") == name:
                return tool
        raise InvalidRequest(f"Tool '{name}' not found in provided tools")
    own = [tool for tool in tools if "input_schema" in tool]
    if not own:
        raise InvalidRequest("tool_choice: 'any' may only be specified while providing tools")
    return own[digest[6] % len(own)]


def _tool_call(tool: Mapping[str, Any], digest: bytes, max_tokens: int) -> Answer:
    block = {
        "type": "tool_use",
        "id": "toolu_01" + digest.hex()[:22],
        "name": tool.get("name"),
        "input": instance(tool.get("input_schema", {"type": "object"}), Random(digest)),
    }
    tokens, stop_reason = block_tokens(block), "tool_use"
    if tokens > max_tokens:
        block["input"], tokens, stop_reason = {}, max_tokens, "max_tokens"
    return Answer(content=[block], stop_reason=stop_reason, output_tokens=tokens)


def _answer_schema(params: Mapping[str, Any]) -> Any:
    config = params.get("output_config")
    wanted = config.get("format") if is_object(config) else None
    if not is_object(wanted) or wanted.get("type") != "json_schema":
        return None
    return wanted.get("schema", {})
