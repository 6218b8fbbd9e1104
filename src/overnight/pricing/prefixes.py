"""Find what prompts begin with in common, in one pass and little memory.

Requests with the same model, tools and system prompt form a group. Within it the beginning of
the first message is compared twice: the longest beginning that all have, and the beginnings of
4,096, 8,192, … characters that some have (by hash, so that no prompt is kept).
"""

from typing import Any

import msgspec

from overnight.pricing.rows import Params
from overnight.tokens import MESSAGE_TOKENS, prompt_tokens, text_tokens

FIRST_LEVEL_CHARACTERS = 4_096
LEVELS = 6
_sizes = tuple(FIRST_LEVEL_CHARACTERS << level for level in range(LEVELS))

GroupKey = tuple[str | None, bytes, bytes, bytes]


class Sharing(msgspec.Struct, frozen=True, kw_only=True):
    """One way to cache: so many beginnings, each written once and read by the other requests."""

    # What the beginnings are: "tools and system prompt", or with the first message's characters.
    beginnings: int
    requests: int
    write_tokens: int
    read_tokens: int
    # The longest of the beginnings.
    longest_tokens: int


class Group:
    """Requests with the same model, tools and system prompt."""

    def __init__(self, params: Params) -> None:
        fixed = {
            name: msgspec.json.decode(raw)
            for name in ("system", "tools", "output_config")
            if (raw := getattr(params, name))
        }
        self.model = params.model
        self.fixed_tokens = prompt_tokens(fixed)
        self.requests = 0
        # None until the first request; then what all first messages begin with.
        self._common: str | None = None
        # Per level: hash of a beginning → [requests, tokens].
        self._levels: tuple[dict[int, list[int]], ...] = tuple({} for _ in range(LEVELS))

    def add(self, messages: list[Any]) -> None:
        """Take in a request's messages."""
        self.requests += 1
        text = _first_text(messages)
        if self._common is None:
            self._common = text[: _sizes[-1]]
        elif not text.startswith(self._common):
            self._common = _common_beginning(self._common, text)
        if len(text) >= FIRST_LEVEL_CHARACTERS:
            self._hash(text)

    def sharings(self) -> list[Sharing]:
        """Give every way to cache that has something to read."""
        found = []
        if self.requests > 1:
            common = text_tokens(self._common) + MESSAGE_TOKENS if self._common else 0
            tokens = self.fixed_tokens + common
            if tokens:
                found.append(self._sharing([[self.requests, tokens]]))
        for level in self._levels:
            shared = [
                [count, self.fixed_tokens + MESSAGE_TOKENS + tokens]
                for count, tokens in level.values()
                if count > 1
            ]
            if shared:
                found.append(self._sharing(shared))
        return found

    def _sharing(self, shared: list[list[int]]) -> Sharing:
        return Sharing(
            beginnings=len(shared),
            requests=sum(count for count, _ in shared),
            write_tokens=sum(tokens for _, tokens in shared),
            read_tokens=sum((count - 1) * tokens for count, tokens in shared),
            longest_tokens=max(tokens for _, tokens in shared),
        )

    def _hash(self, text: str) -> None:
        for size, level in zip(_sizes, self._levels, strict=True):
            if len(text) < size:
                return
            beginning = text[:size]
            entry = level.get(hash(beginning))
            if entry is None:
                level[hash(beginning)] = [1, text_tokens(beginning)]
            else:
                entry[0] += 1


def key(params: Params) -> GroupKey:
    """Give what the requests of a group have in common."""
    return (
        params.model,
        bytes(params.tools),
        bytes(params.system),
        bytes(params.output_config),
    )


def _first_text(messages: list[Any]) -> str:
    first = messages[0] if messages else None
    content = first.get("content") if isinstance(first, dict) else None
    if isinstance(content, list):
        content = content[0] if content else None
        content = content.get("text") if isinstance(content, dict) else content
    return content if isinstance(content, str) else ""


def _common_beginning(one: str, other: str) -> str:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return one[:low]
