"""Ask a running `bench.upstream` what has come."""

import time

import msgspec
from bench.service import client
from bench.upstream import Calls

_LOOK_S = 0.002


class UpstreamProbe:
    """Asks `bench.upstream` what has come."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = client()

    def calls(self) -> Calls:
        answer = self._client.get(f"{self._url}/calls").build().send().bytes().to_bytes()
        return msgspec.json.decode(answer, type=Calls)

    def mark(self) -> None:
        """Forget when the first call came."""
        self._client.post(f"{self._url}/mark").build().send()

    def wait_for_call(self) -> float:
        """Give the time of the first call since the mark, as `time.monotonic` has it."""
        while (first_at_s := self.calls().first_at_s) is None:
            time.sleep(_LOOK_S)
        return first_at_s
