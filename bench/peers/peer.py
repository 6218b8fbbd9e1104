"""The peers: who runs beside us, and their run."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from bench.bare import Report
from bench.peers import environment
from bench.process import BenchFailed, module, output_of

# No peer may hold up the others.
_WITHIN_S = 60.0
# litellm, for one, loses an answer in one run of twelve: its threads close each other's sockets.
_TRIES = 2


class PeerFailed(Exception):
    """A peer cannot be installed here, or did not do its work"""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs beside us."""

    # In the table of results.
    name: str
    # Of `bench.peers`.
    module: str
    # Slow peers get fewer requests: the rate is compared, not the time.
    max_requests: int
    # The Python that it needs, when it is not ours.
    python: str | None = None
    # Where it has no environment of its own, it runs in ours.
    own_environment: bool = True

    @property
    def requirements(self) -> Path | None:
        return environment.requirements(self.module) if self.own_environment else None

    def describe(self) -> str:
        """Name the release that runs, where it is not one of our own requirements."""
        return environment.release(self.requirements) if self.requirements else ""

    def prepare(self) -> None:
        """Make its environment, if that is not there. Idempotent. Raises: PeerFailed."""
        if self.requirements:
            try:
                environment.prepare(self.requirements, python=self.python)
            except BenchFailed as error:
                raise PeerFailed(str(error)) from error

    def run(self, url: str, bodies: Path, count: int, concurrency: int) -> float:
        """Let it send all bodies; give the seconds.

        Raises: PeerFailed when, tried again, it fails, takes too long or has not all answers.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._run(url, bodies, count, concurrency)
            except PeerFailed as error:
                print(f"note: {self.name} is tried again: {error}", file=sys.stderr)
        return self._run(url, bodies, count, concurrency)

    def _run(self, url: str, bodies: Path, count: int, concurrency: int) -> float:
        command = module(f"bench.peers.{self.module}", url, bodies, concurrency)
        environ: Mapping[str, str] = {}
        if self.requirements:
            command[0] = str(environment.python(self.requirements))
            environ = environment.QUIET
        try:
            printed = output_of(command, folder=bodies.parent, environ=environ, within_s=_WITHIN_S)
        except BenchFailed as error:
            raise PeerFailed(str(error)) from error
        report = _report(printed)
        if report.answers != count:
            raise PeerFailed(f"{report.answers} answers to {count} requests")
        return report.seconds


def _report(printed: bytes) -> Report:
    """Find the report among whatever else a peer prints. Raises: PeerFailed."""
    for line in printed.splitlines():
        try:
            return msgspec.json.decode(line, type=Report)
        except msgspec.DecodeError:
            continue
    raise PeerFailed(f"it printed no report: {printed[-500:]!r}")


PEERS = (
    Peer(
        name="AsyncAnthropic with a semaphore",
        module="naive_anthropic",
        max_requests=2_000,
        own_environment=False,
    ),
    Peer(name="OGX, message batches", module="ogx_batches", max_requests=1_000, python="3.12"),
    Peer(name="async-batch-llm", module="async_batch", max_requests=1_000),
    Peer(name="Daft, prompt()", module="daft_prompt", max_requests=1_000),
    Peer(name="litellm.batch_completion", module="litellm_batch", max_requests=1_000),
    Peer(name="Ray, HTTP request processor", module="ray_http", max_requests=1_000),
)
