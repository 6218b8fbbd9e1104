"""Ours under measurement: a fresh `overnight serve`, and a client that is as lean as can be."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from bench.body import API_VERSION, custom_id
from bench.process import BenchFailed, Process, free_port, process
from pyreqwest.client import SyncClient, SyncClientBuilder

# How often a client asks whether its batch has ended.
POLL_S = 0.01
_LIVENESS_S = 0.002


class _Batch(msgspec.Struct):
    id: str
    processing_status: str


class _Progress(msgspec.Struct):
    recorded: int


class _Result(msgspec.Struct):
    type: str


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class Service:
    """A running service, as a client sees it."""

    def __init__(self, url: str, running: Process) -> None:
        self.url = url
        self.process = running
        self._client = client()

    @property
    def pid(self) -> int:
        return self.process.pid

    def create(self, body: bytes) -> str:
        """Create a batch; give its id."""
        request = self._client.post(f"{self.url}/v1/messages/batches").body_bytes(body)
        return self._batch(request.build().send().bytes().to_bytes()).id

    def has_ended(self, batch_id: str) -> bool:
        answer = self._client.get(self.batch_url(batch_id)).build().send().bytes()
        return self._batch(answer.to_bytes()).processing_status == "ended"

    def wait_until_ended(self, batch_id: str, *, poll_s: float = POLL_S) -> None:
        while not self.has_ended(batch_id):
            time.sleep(poll_s)

    def recorded(self, batch_id: str) -> int:
        """Tell how many requests have their outcome."""
        url = f"{self.url}/overnight/v1/batches/{batch_id}/progress"
        answer = self._client.get(url).build().send().bytes().to_bytes()
        return msgspec.json.decode(answer, type=_Progress).recorded

    def results(self, batch_id: str) -> bytes:
        """Read the results to their last line."""
        request = self._client.get(f"{self.batch_url(batch_id)}/results")
        return request.build().send().bytes().to_bytes()

    def is_alive(self) -> bool:
        """Tell whether it accepts batches now."""
        return bool(self._client.get(f"{self.url}/healthz").build().send().status == 200)

    def batch_url(self, batch_id: str) -> str:
        return f"{self.url}/v1/messages/batches/{batch_id}"

    def _batch(self, answer: bytes) -> _Batch:
        return msgspec.json.decode(answer, type=_Batch)


@contextmanager
def service(
    folder: Path, *flags: str | int, backend: str = "simulator", port: int | None = None
) -> Generator[Service]:
    """Run `overnight serve` with its data in `folder` until the block ends."""
    port = port or free_port()
    command: list[str | Path] = [
        Path(sys.executable).with_name("overnight"), "serve", "--port", str(port),
        "--data", folder / "data", "--backend", backend, *(str(flag) for flag in flags),
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with process(command, folder=folder, port=port, log=f"overnight-{port}.log") as running:
        ours = Service(f"http://127.0.0.1:{port}", running)
        # The socket listens before the parts behind it have started.
        while not ours.is_alive():
            time.sleep(_LIVENESS_S)
        yield ours


def client() -> SyncClient:
    """Make a client that raises for a status that is no success."""
    headers = {"anthropic-version": API_VERSION, "content-type": "application/json"}
    builder = SyncClientBuilder().no_proxy().error_for_status(True).default_headers(headers)
    return builder.build()


class Tally(NamedTuple):
    """How results differ from one succeeded line for each request; all zero when they do not."""

    lost: int
    # Lines beyond the first of a request, or of no request.
    surplus: int
    failed: int


def tally(lines: bytes, count: int) -> Tally:
    """Compare results with the `count` requests they belong to."""
    decode = msgspec.json.Decoder(_Line).decode
    found = [decode(line) for line in lines.splitlines()]
    expected = {custom_id(number) for number in range(count)}
    known = {line.custom_id for line in found} & expected
    return Tally(
        lost=count - len(known),
        surplus=len(found) - len(known),
        failed=sum(line.result.type != "succeeded" for line in found),
    )


def check_results(lines: bytes, count: int) -> None:
    """Check that each request has one line and succeeded.

    Raises: BenchFailed, because speed without the work is worth nothing.
    """
    found = tally(lines, count)
    if any(found):
        raise BenchFailed(f"the results of {count} requests are wrong: {found}")
