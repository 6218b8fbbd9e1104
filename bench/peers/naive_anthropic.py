"""What most people write first: AsyncAnthropic, a semaphore, and gather over all requests."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, cast

import anthropic
import msgspec
from anthropic.types import Message
from bench.bare import Report


async def run(url: str, bodies: list[dict[str, Any]], concurrency: int) -> Report:
    """Send all bodies, `concurrency` at a time, each in a task of its own."""
    gate = asyncio.Semaphore(concurrency)
    async with anthropic.AsyncAnthropic(base_url=url, api_key="bench") as client:
        await client.messages.create(**bodies[0])
        began = time.perf_counter()

        async def send(body: dict[str, Any]) -> Message:
            async with gate:
                return cast(Message, await client.messages.create(**body))

        answers = await asyncio.gather(*(send(body) for body in bodies))
    return Report(seconds=time.perf_counter() - began, answers=len(answers))


def main() -> None:
    url, path, concurrency = sys.argv[1:]
    bodies = [msgspec.json.decode(line) for line in Path(path).read_bytes().splitlines()]
    report = asyncio.run(run(url, bodies, int(concurrency)))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
