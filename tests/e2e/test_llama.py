"""`overnight serve --gguf` as a process, with real inference on models of random weights."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # the wheel has no types
import pytest
from tests.support.api import Api
from tests.support.gguf import write_tiny_model
from tests.support.process import Server, server
from tests.support.waiting import until

from overnight.backends.llama import LlamaBackend
from overnight.errors import ConfigInvalid
from overnight.model import Call, Failure, FailureKind, Reply

CALL = Call(
    params=b'{"model":"tiny","max_tokens":4,"messages":[{"role":"user","content":"Hello"}]}',
    api_version="2023-06-01",
)
SYSTEM = "Answer in one word, and never in two, whatever the question is. " * 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def questions(count: int, *, model: str = "tiny", max_tokens: int = 8) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": f"{model}-{number}",
            "params": {
                "model": model,
                "max_tokens": max_tokens,
                "temperature": 0,
                "system": SYSTEM,
                "messages": [{"role": "user", "content": f"Question {number:03}"}],
            },
        }
        for number in range(count)
    ]


def children(service: Server) -> list[psutil.Process]:
    """Find the processes in which llama.cpp runs."""
    found = [
        process
        for process in psutil.process_iter(["cmdline", "ppid"])
        if "overnight.backends.llama" in (process.info["cmdline"] or ())
    ]
    pids = {process.pid for process in psutil.process_iter() if _of(process, service)}
    return [process for process in found if process.info["ppid"] in pids]


def _of(process: psutil.Process, service: Server) -> bool:
    try:
        return str(service.data) in process.cmdline()
    except psutil.Error:
        return False


async def ended(api: Api, requests: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    batch_id = await api.created(requests)
    await api.ended(batch_id)
    return await api.lines(batch_id)


async def test_a_batch_is_answered_with_true_usage_and_a_shared_prompt_is_computed_once_a_slot(
    model: Path, tmp_path: Path
) -> None:
    async with server(tmp_path / "data", "--gguf", str(model)) as service, service.api() as api:
        lines = await ended(api, questions(30))
        assert {result["type"] for result in lines.values()} == {"succeeded"}
        usages = [result["message"]["usage"] for result in lines.values()]
        counted = await api.call(
            "POST", "/v1/messages/count_tokens",
            b'{"model":"tiny","system":"%b","messages":[{"role":"user","content":"Question 007"}]}'
            % SYSTEM.encode(),
        )  # fmt: skip
    prompts = {usage["input_tokens"] + usage["cache_read_input_tokens"] for usage in usages}
    assert prompts == {counted.json["input_tokens"]}
    assert all(1 <= usage["output_tokens"] <= 8 for usage in usages)
    assert {result["message"]["model"] for result in lines.values()} == {"tiny"}
    # Two slots computed it; all others read it.
    assert sum(usage["cache_read_input_tokens"] > len(SYSTEM) for usage in usages) >= 28


async def test_a_batch_outlives_the_death_of_llama_cpp(model: Path, tmp_path: Path) -> None:
    async with server(tmp_path / "data", "--gguf", str(model)) as service, service.api() as api:
        (child,) = children(service)
        batch_id = await api.created(questions(60, max_tokens=400))

        async def some_recorded() -> bool:
            return bool((await api.progress(batch_id))["recorded"] >= 5)

        await until(some_recorded, what="the first results")
        child.send_signal(signal.SIGKILL)
        assert (await api.progress(batch_id))["recorded"] < 60, "it ended before the kill"
        # While llama.cpp starts again the gate waits longer from try to try.
        batch = await api.ended(batch_id, timeout_s=90)
        (next_child,) = children(service)
    assert batch["request_counts"]["succeeded"] == 60
    assert next_child.pid != child.pid


async def test_two_models_answer_under_their_names_and_others_are_errored(
    model: Path, tmp_path: Path
) -> None:
    other = write_tiny_model(tmp_path / "other.gguf", seed=1)
    flags = ("--gguf", str(model), "--gguf", f"second={other}", "--llama-slots", "1")
    async with server(tmp_path / "data", *flags) as service, service.api() as api:
        named = (questions(2), questions(2, model="second"), questions(1, model="third"))
        lines = await ended(api, [request for requests in named for request in requests])
        listed = (await api.call("GET", "/v1/models")).json["data"]
    texts = {name: result["message"]["content"] for name, result in lines.items()
             if result["type"] == "succeeded"}  # fmt: skip
    assert set(texts) == {"tiny-0", "tiny-1", "second-0", "second-1"}
    assert texts["tiny-0"] != texts["second-0"]
    assert lines["third-0"]["error"]["error"]["type"] == "not_found_error"
    assert {found["id"]: found["max_input_tokens"] for found in listed} == {
        "tiny": 8_192, "second": 8_192,
    }  # fmt: skip


async def test_a_prompt_longer_than_the_context_is_errored_and_the_others_succeed(
    model: Path, tmp_path: Path
) -> None:
    flags = ("--gguf", str(model), "--llama-context-tokens", "600")
    requests = questions(3)
    requests[1]["params"]["messages"][0]["content"] = "x" * 900
    async with server(tmp_path / "data", *flags) as service, service.api() as api:
        lines = await ended(api, requests)
    outcomes = {name: result["type"] for name, result in lines.items()}
    assert outcomes == {"tiny-0": "succeeded", "tiny-1": "errored", "tiny-2": "succeeded"}
    error = lines["tiny-1"]["error"]["error"]
    assert error["type"] == "invalid_request_error"
    assert "exceeds the available context size (768 tokens)" in error["message"]


async def test_llama_cpp_ends_with_a_service_that_is_killed(model: Path, tmp_path: Path) -> None:
    async with server(tmp_path / "data", "--gguf", str(model)) as service:
        (child,) = children(service)
        service.kill()

        async def gone() -> bool:
            return not child.is_running()

        await until(gone, what="the end of llama.cpp")


async def test_a_model_that_cannot_be_loaded_stops_the_start_with_the_reason(
    model: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:-20_000])
    backend = LlamaBackend([str(model), str(cut)])
    with pytest.raises(ConfigInvalid, match=r"cut\.gguf: llama\.cpp cannot load it: .*bounds"):
        await backend.start()
    assert [engine.pid for engine in backend.engines] == [None, None]


async def test_calls_while_it_is_away_are_unreachable_and_later_ones_are_answered(
    model: Path,
) -> None:
    backend = LlamaBackend([str(model)])
    await backend.start()
    try:
        (engine,) = backend.engines
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        kinds: list[FailureKind] = []

        async def answers() -> bool:
            outcome = await backend.send(CALL)
            if isinstance(outcome, Failure):
                kinds.append(outcome.kind)
            return isinstance(outcome, Reply)

        await until(answers, what="an answer of the next child")
        assert set(kinds) <= {FailureKind.RESET, FailureKind.UNREACHABLE}
    finally:
        await backend.close()
