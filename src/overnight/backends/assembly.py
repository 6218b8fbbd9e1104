"""A message put together from its server-sent events: what non-streaming would have given. Pure.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming, and the event types of
SDK 2.12, read 2026-11.
"""

from typing import Any

import msgspec

from overnight.backends import answers
from overnight.backends.answers import Header
from overnight.backends.sse import Events
from overnight.model import Failure, Reply
from overnight.parsing import UNREADABLE

# Where the text of a delta goes; what is not here is handled apart, or not known.
_APPENDED = {"text_delta": "text", "thinking_delta": "thinking"}
_REPLACED = {"signature_delta": "signature", "compaction_delta": "content"}


class _Broken(Exception):
    """The events make no message"""


class Assembly:
    """Reads events as they come; `outcome` once no more come."""

    def __init__(self) -> None:
        # The answer has begun, and not with an error.
        self.begun = False
        # Nothing more is needed.
        self.ended = False
        self._events = Events()
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        # Pieces of texts by block and field: joined at the end, for deltas are many.
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._error: bytes | None = None
        self._problem: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Take bytes of the stream, cut anywhere."""
        for data in self._events.feed(chunk):
            if self._problem is None and not self.ended:
                self._event(data)

    def outcome(self, header: Header) -> Reply | Failure:
        """Give what the events came to."""
        if self._error is not None:
            return answers.refused_event(self._error, header)
        if self._problem is None and not self.ended:
            self._problem = "ended its event stream before the message was whole"
        if self._problem is not None:
            return answers.malformed(self._problem, header, status=200)
        for (index, field), pieces in self._pieces.items():
            self._blocks[index][field] = "".join(pieces)
        self._message["content"] = [self._blocks[index] for index in sorted(self._blocks)]
        return answers.reply(msgspec.json.encode(self._message), header)

    def _event(self, data: bytes) -> None:
        try:
            event = msgspec.json.decode(data, type=dict[str, Any])
            self._apply(event, data)
        except (*UNREADABLE, KeyError, TypeError, AttributeError, _Broken):
            # An event without the fields of its type ends here too, whatever is missing.
            self._problem = "sent an event that cannot be read"

    def _apply(self, event: dict[str, Any], data: bytes) -> None:
        match event.get("type"):
            case "message_start":
                self._message = dict(event["message"])
                self.begun = True
            case "content_block_start":
                self._blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                self._delta(event["index"], event["delta"])
            case "content_block_stop":
                self._stop(event["index"])
            case "message_delta":
                self._message |= event["delta"]
                told = event.get("usage") or {}
                usage = self._message.get("usage") or {}
                self._message["usage"] = usage | {k: v for k, v in told.items() if v is not None}
            case "message_stop":
                self.ended = bool(self._message)
            case "error":
                self._error, self.ended = data, True
            case _:
                # ping, and what is yet to come: clients must ignore what they do not know.
                pass

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        block, kind = self._blocks[index], delta["type"]
        if kind in _APPENDED:
            field = _APPENDED[kind]
            pieces = self._pieces.setdefault((index, field), [block.get(field) or ""])
            pieces.append(_text(delta[field]))
        elif kind == "input_json_delta":
            pieces = self._pieces.setdefault((index, "input"), [])
            pieces.append(_text(delta["partial_json"]))
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        elif kind in _REPLACED:
            block[_REPLACED[kind]] = delta[_REPLACED[kind]]
        else:
            # A message without it would not be the model's.
            raise _Broken

    def _stop(self, index: int) -> None:
        written = "".join(self._pieces.pop((index, "input"), ()))
        if written:
            # As it was written: 1.0 and 1e400 stay what they are.
            msgspec.json.decode(written)
            self._blocks[index]["input"] = msgspec.Raw(written.encode())


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Broken
    return value
