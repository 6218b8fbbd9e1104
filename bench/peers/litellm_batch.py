"""LiteLLM: `batch_completion`, which has a thread for each request under way."""

import time
from typing import Any

import litellm  # type: ignore[import-not-found] # the peer's
from bench.peers.work import Work, given, report


def run(work: Work) -> None:
    litellm.suppress_debug_info = True
    _answers(work, work.conversations[:1])
    began = time.perf_counter()
    answers = _answers(work, work.conversations)
    took_s = time.perf_counter() - began
    report(took_s, sum(not isinstance(answer, Exception) for answer in answers))


def _answers(work: Work, conversations: list[list[dict[str, Any]]]) -> list[Any]:
    answers: list[Any] = litellm.batch_completion(
        model=f"anthropic/{work.model}",
        messages=conversations,
        max_tokens=work.max_tokens,
        max_workers=work.concurrency,
        api_base=work.url,
        api_key="bench",
    )
    return answers


if __name__ == "__main__":
    run(given())
