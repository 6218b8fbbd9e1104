"""A loop that obeys: `bench.bare` with retries, which waits as long as `retry-after` says.

    python -m bench.obedient URL BODIES CONCURRENCY TIMEOUT_S

Every sender keeps its request until it is answered: a 429 is sent again when the upstream said,
everything else that can be sent again after a wait that doubles. Prints a `bench.bare.Report`.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import uvloop
from bench.bare import Report
from bench.body import API_VERSION
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import TransportError

_BACKOFF_BASE_S = 0.5
_BACKOFF_CAP_S = 30.0


async def run(url: str, bodies: list[bytes], concurrency: int, timeout_s: float) -> Report:
    """Send all bodies, `concurrency` at a time, until each has its answer."""
    answers: list[bytes] = []
    began = time.perf_counter()
    client = (
        ClientBuilder()
        .runtime_multithreaded(False)
        .pool_max_idle_per_host(concurrency)
        .no_proxy()
        .timeout(timedelta(seconds=timeout_s))
        .default_headers({"content-type": "application/json", "anthropic-version": API_VERSION})
        .build()
    )
    random = Random(0)
    async with client:
        waiting = iter(bodies)
        senders = (
            _send_all(client, f"{url}/v1/messages", waiting, answers, random)
            for _ in range(concurrency)
        )
        await asyncio.gather(*senders)
    return Report(seconds=time.perf_counter() - began, answers=len(answers))


async def _send_all(
    client: Client, url: str, waiting: Iterator[bytes], answers: list[bytes], random: Random
) -> None:
    for body in waiting:
        failures = 0
        while True:
            answer, retry_after_s = await _send(client, url, body)
            if answer is not None:
                answers.append(answer)
                break
            failures += 1
            ceiling = min(_BACKOFF_CAP_S, _BACKOFF_BASE_S * 2 ** (failures - 1))
            await asyncio.sleep(retry_after_s or random.uniform(0, ceiling))


async def _send(client: Client, url: str, body: bytes) -> tuple[bytes | None, float | None]:
    """Give the answer, or None and how long the upstream asks to wait, where it does."""
    try:
        response = await client.post(url).body_bytes(body).build().send()
        answer = (await response.bytes()).to_bytes()
    except TransportError:
        return None, None
    if response.status == 200:
        return answer, None
    stated = response.headers.get("retry-after")
    return None, float(stated) if stated else None


def main() -> None:
    url, path, concurrency, timeout_s = sys.argv[1:]
    bodies = Path(path).read_bytes().splitlines()
    report = uvloop.run(run(url, bodies, int(concurrency), float(timeout_s)))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
