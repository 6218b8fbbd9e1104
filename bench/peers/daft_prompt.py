"""Daft: a column of a data frame made by `prompt()`, at the concurrency that it chooses."""

import time

import daft  # type: ignore[import-not-found] # the peer's
from bench.peers.work import Work, given, report
from daft.functions import prompt  # type: ignore[import-not-found] # the peer's


def run(work: Work) -> None:
    daft.set_provider("openai", base_url=f"{work.url}/v1", api_key="bench")
    _answers(work, work.prompts[:1])
    began = time.perf_counter()
    answers = _answers(work, work.prompts)
    report(time.perf_counter() - began, sum(answer is not None for answer in answers))


def _answers(work: Work, prompts: list[str]) -> list[str | None]:
    answer = prompt(
        daft.col("question"),
        model=work.model,
        use_chat_completions=True,
        max_tokens=work.max_tokens,
    )
    frame = daft.from_pydict({"question": prompts}).with_column("answer", answer)
    found: list[str | None] = frame.to_pydict()["answer"]
    return found


if __name__ == "__main__":
    run(given())
