"""What a stream that is passed on has told of its cost: model, usage, and how it ended. Pure.

Of content it reads nothing: what clients understand and we do not yet must still be charged.
"""

from typing import Any

import msgspec

from overnight.backends import answers
from overnight.backends.sse import Events
from overnight.model import Usage
from overnight.parsing import UNREADABLE


class _Event(msgspec.Struct):
    type: str | None = None
    # Of a message_start.
    message: msgspec.Raw = msgspec.Raw()
    # Of a message_delta: sums so far, null for what they do not change.
    usage: dict[str, Any] | None = None


class _Start(msgspec.Struct):
    model: str | None = None
    usage: dict[str, Any] | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_start_decoder = msgspec.json.Decoder(_Start)


class Account:
    """Reads events as they pass; its fields say what is known at any time."""

    def __init__(self) -> None:
        # As the message names it; None before it began, and when it names none.
        self.model: str | None = None
        # The message is whole.
        self.ended = False
        # The data of the error event that ended the stream instead.
        self.error: bytes | None = None
        self._events = Events()
        self._told: dict[str, Any] = {}

    @property
    def usage(self) -> Usage:
        """Give what is known to have been used."""
        return answers.usage_told(self._told)

    def feed(self, chunk: bytes) -> None:
        """Take bytes of the stream, cut anywhere."""
        for data in self._events.feed(chunk):
            if not self.ended and self.error is None:
                self._event(data)

    def _event(self, data: bytes) -> None:
        try:
            event = _event_decoder.decode(data)
            match event.type:
                case "message_start":
                    start = _start_decoder.decode(event.message)
                    self.model = answers.model_name(start.model) if start.model else None
                    self._told = start.usage or {}
                case "message_delta":
                    told = event.usage or {}
                    self._told |= {key: told[key] for key in told if told[key] is not None}
                case "message_stop":
                    self.ended = True
                case "error":
                    self.error = data
                case _:
                    pass
        except UNREADABLE:
            # The client's to judge: it gets the same bytes.
            pass
