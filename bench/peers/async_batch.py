"""async-batch-llm: `process_prompts` with an OpenAI-compatible model."""

import asyncio
import time
from typing import Any

from async_batch_llm import llm, process_prompts  # type: ignore[import-not-found] # the peer's
from bench.peers.work import Work, given, report


async def run(work: Work) -> None:
    await process_prompts(_model(work), work.prompts[:1], concurrency=1)
    began = time.perf_counter()
    batch = await process_prompts(_model(work), work.prompts, concurrency=work.concurrency)
    report(time.perf_counter() - began, sum(result.success for result in batch.results))


def _model(work: Work) -> Any:
    """Make a model; a run closes the one it was given."""
    return llm(
        f"openai-compatible:{work.model}",
        base_url=f"{work.url}/v1",
        api_key="bench",
        max_connections=work.concurrency,
    )


if __name__ == "__main__":
    asyncio.run(run(given()))
