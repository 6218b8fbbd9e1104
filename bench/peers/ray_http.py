"""Ray Data: its HTTP request processor, with an actor for each eight requests under way.

An actor sends the requests of its block one after the other, so more actors would be faster; but
each is a process, and so many are as large as the machine allows.
"""

import time
from typing import Any

import ray  # type: ignore[import-not-found] # the peer's
from bench.peers.work import Work, given, report
from ray.data.llm import (  # type: ignore[import-not-found] # the peer's
    HttpRequestProcessorConfig,
    build_processor,
)

_ACTORS = 8


def run(work: Work) -> None:
    # More than there are, because actors that only wait need none.
    ray.init(num_cpus=2 * _ACTORS, include_dashboard=False, log_to_driver=False)
    config = HttpRequestProcessorConfig(
        url=f"{work.url}/v1/messages",
        headers={"x-api-key": "bench", "anthropic-version": "2023-06-01"},
        concurrency=_ACTORS,
        batch_size=max(1, len(work.bodies) // _ACTORS),
    )
    processor = build_processor(config, preprocess=_request, postprocess=_answer)
    rows = ray.data.from_items([{"body": body} for body in work.bodies])
    began = time.perf_counter()
    answers = processor(rows).take_all()
    report(time.perf_counter() - began, sum(bool(row["answer"]) for row in answers))


def _request(row: dict[str, Any]) -> dict[str, Any]:
    return {"payload": row["body"]}


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    return {"answer": row["http_response"]["content"][0]["text"]}


if __name__ == "__main__":
    run(given())
