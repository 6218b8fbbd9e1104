"""The floor of dispatching: send every body with pyreqwest and keep the answers in memory.

    python -m bench.bare URL BODIES CONCURRENCY

BODIES has one body per line. Prints one JSON object `{"seconds", "answers"}`; the time runs from
before the first call to after the last answer, on new connections, as it does for ours.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop
from bench.body import API_VERSION
from pyreqwest.client import Client, ClientBuilder


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a contestant did; every one of them prints this."""

    seconds: float
    # How many answers it has: all are checked to be there.
    answers: int


async def run(url: str, bodies: list[bytes], concurrency: int) -> Report:
    """Send all bodies, `concurrency` at a time, by a fixed pool of senders."""
    answers: list[bytes] = []
    began = time.perf_counter()
    client = (
        ClientBuilder()
        .runtime_multithreaded(False)
        .pool_max_idle_per_host(concurrency)
        .no_proxy()
        .error_for_status(True)
        .default_headers({"content-type": "application/json", "anthropic-version": API_VERSION})
        .build()
    )
    async with client:
        waiting = iter(bodies)
        senders = (
            _send_all(client, f"{url}/v1/messages", waiting, answers) for _ in range(concurrency)
        )
        await asyncio.gather(*senders)
    return Report(seconds=time.perf_counter() - began, answers=len(answers))


async def _send_all(
    client: Client, url: str, waiting: Iterator[bytes], answers: list[bytes]
) -> None:
    for body in waiting:
        response = await client.post(url).body_bytes(body).build().send()
        answers.append((await response.bytes()).to_bytes())


def main() -> None:
    url, bodies, concurrency = sys.argv[1:]
    report = uvloop.run(run(url, Path(bodies).read_bytes().splitlines(), int(concurrency)))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
