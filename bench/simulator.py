"""The simulator as an upstream: a server of its own that follows a script and counts."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from bench.process import free_port, module, process
from bench.service import client


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What has come to a simulator."""

    calls: int
    rate_limited: int


class Simulated:
    """A running simulator."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> Stats:
        answer = client().get(f"{self.url}/stats").build().send().bytes().to_bytes()
        return msgspec.json.decode(answer, type=Stats)


@contextmanager
def simulator(folder: Path, script: str) -> Generator[Simulated]:
    """Run a simulator with an empty cache and full buckets; `script` is TOML."""
    port = free_port()
    path = folder / "simulator.toml"
    path.write_text(script, encoding="utf-8")
    command = module("overnight.backends.simulator", "--port", port, "--script", path)
    with process(command, folder=folder, port=port, log="simulator.log"):
        yield Simulated(f"http://127.0.0.1:{port}")
