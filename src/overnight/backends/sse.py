"""Server-sent events: their data out of bytes that are cut anywhere, and an event of our own. Pure.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, read 2026-11.
"""

import msgspec


class Events:
    """Splits a stream of bytes into the data of its events."""

    def __init__(self) -> None:
        self._unread: list[bytes] = []
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes of the stream; give the data of each event that they complete."""
        if b"\n" not in chunk:
            self._unread.append(chunk)
            return []
        *lines, rest = b"".join((*self._unread, chunk)).split(b"\n")
        self._unread = [rest]
        events: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events


def error_event(error_type: str, message: str, *, after: bytes) -> bytes:
    """Write the event that breaks off a stream whose bytes so far end with `after`."""
    error = {"type": error_type, "message": message}
    data = msgspec.json.encode({"type": "error", "error": error})
    # A blank line ends an event that was cut in the middle.
    gap = b"" if after in (b"", b"\n\n") else b"\n\n"
    return gap + b"event: error\ndata: " + data + b"\n\n"
