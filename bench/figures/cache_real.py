"""cache-real: prompt tokens that an embedded llama.cpp computes, in our order and in any order.

The shuffled order is what every peer of `bench.peers` sends: the requests as they came. Its tokens
depend on the order alone, so the peers are not run here. A local model has no price: time is saved.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
from bench.body import API_VERSION, create_body
from bench.figure import Figure, Pair, Target, figure
from bench.process import BenchFailed
from bench.run import Run
from bench.service import check_results, service
from tests.support.gguf import write_tiny_model

from overnight.backends.llama import Asked, LlamaBackend
from overnight.model import Call, Reply

# The shape of `cache`, smaller: lengths are characters, which are the tokens of the tiny model.
_SYSTEMS, _DOCUMENTS, _QUESTIONS = 4, 6, 8
_SYSTEM_TOKENS, _DOCUMENT_TOKENS, _QUESTION_TOKENS = 400, 1_200, 40
_ANSWER_TOKENS = 8
_SLOTS = 2
_CONTEXT_TOKENS = 2_304
_MAX_PAIRS = 3
_PEER = "the same engine, shuffled"


class Work(NamedTuple):
    """What it took to answer all requests."""

    computed_tokens: int
    seconds: float


class _Usage(msgspec.Struct):
    input_tokens: int


class _Message(msgspec.Struct):
    usage: _Usage


class _Result(msgspec.Struct):
    message: _Message


class _Line(msgspec.Struct):
    result: _Result


def cache_real(run: Run) -> Iterator[Figure]:
    """Answer 192 requests about 24 documents with llama.cpp: our order beside a shuffled one."""
    with run.folder() as folder:
        model = write_tiny_model(folder / "tiny.gguf", width=128, layers=4)
        # A large model's prompts do not fit the memory beside it: so they get none.
        yield from _figures(run, model, cache_mib=0, name="")
        # With everything kept, no order is better than another in tokens: shown once.
        once = msgspec.structs.replace(run, pairs=1)
        yield from _figures(once, model, cache_mib=1_024, name=", all kept in memory")


def _figures(run: Run, model: Path, *, cache_mib: int, name: str) -> Iterator[Figure]:
    requests = _requests(Random(0))
    pairs = [
        (_ours(run, model, requests, cache_mib), asyncio.run(_naive(model, requests, cache_mib)))
        for _ in range(min(run.pairs, _MAX_PAIRS))
    ]
    how = (
        f"{len(requests)} requests: {_SYSTEMS} system prompts of {_SYSTEM_TOKENS} tokens × "
        f"{_DOCUMENTS} documents of {_DOCUMENT_TOKENS} × {_QUESTIONS} questions of "
        f"{_QUESTION_TOKENS}; random weights, {_SLOTS} slots, {cache_mib} MiB of prompt cache"
    )
    tokens = [Pair(ours.computed_tokens, naive.computed_tokens) for ours, naive in pairs]
    yield figure(
        "cache-real", "prompt tokens computed" + name, tokens, unit="tokens", peer=_PEER, how=how,
        target=None if cache_mib else Target(limit=0.5, of="ratio"),
    )  # fmt: skip
    seconds = [Pair(ours.seconds, naive.seconds) for ours, naive in pairs]
    yield figure("cache-real", "until ended" + name, seconds, unit="s", peer=_PEER, how=how)


def _ours(run: Run, model: Path, requests: list[bytes], cache_mib: int) -> Work:
    """Measure a fresh service from the create call to the last result."""
    flags = (
        "--gguf", model, "--llama-slots", _SLOTS, "--llama-cache-mib", cache_mib,
        "--llama-context-tokens", _CONTEXT_TOKENS,
    )  # fmt: skip
    with run.folder() as folder, service(folder, *map(str, flags)) as ours:
        began = time.perf_counter()
        batch_id = ours.create(create_body(requests))
        ours.wait_until_ended(batch_id)
        lines = ours.results(batch_id)
        seconds = time.perf_counter() - began
    check_results(lines, len(requests))
    decode = msgspec.json.Decoder(_Line).decode
    computed = sum(decode(line).result.message.usage.input_tokens for line in lines.splitlines())
    return Work(computed, seconds)


async def _naive(model: Path, requests: list[bytes], cache_mib: int) -> Work:
    """Measure a plain loop: the requests as they come, as many at a time as ours sends."""
    asked = Asked(slots=_SLOTS, context_tokens=_CONTEXT_TOKENS, prompt_cache_mib=cache_mib)
    backend = LlamaBackend([str(model)], asked)
    await backend.start()
    waiting = iter(requests)
    computed: list[int] = []

    async def send_all() -> None:
        for params in waiting:
            reply = await backend.send(Call(params=params, api_version=API_VERSION))
            if not isinstance(reply, Reply):
                raise BenchFailed(reply.message)
            computed.append(reply.usage.input_tokens)

    try:
        began = time.perf_counter()
        await asyncio.gather(*(send_all() for _ in range(backend.engines[0].max_calls)))
        return Work(sum(computed), time.perf_counter() - began)
    finally:
        await backend.close()


def _requests(random: Random) -> list[bytes]:
    """Make the params of all requests, shuffled."""
    made: list[bytes] = []
    for _ in range(_SYSTEMS):
        system = _text(random, _SYSTEM_TOKENS)
        for _ in range(_DOCUMENTS):
            document = _text(random, _DOCUMENT_TOKENS)
            made += [
                _params(system, document, _text(random, _QUESTION_TOKENS))
                for _ in range(_QUESTIONS)
            ]
    random.shuffle(made)
    return made


def _params(system: str, document: str, question: str) -> bytes:
    content = [{"type": "text", "text": document}, {"type": "text", "text": question}]
    return msgspec.json.encode(
        {
            "model": "tiny",
            "max_tokens": _ANSWER_TOKENS,
            "temperature": 0,
            "system": system,
            "messages": [{"role": "user", "content": content}],
        }
    )


def _text(random: Random, length: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz    ", k=length))
