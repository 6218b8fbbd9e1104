"""cache: how much of the prompts is read from the backend's cache, and what that is worth.

Beside the best order stand the requests as they came, which is what every peer of `bench.peers`
sends, and sorted without leaders. Reads depend on the order alone, so the peers are not run here.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import msgspec
from bench.body import API_VERSION, MODEL, create_body
from bench.figure import Figure, Pair, Target, figure
from bench.process import BenchFailed
from bench.run import Run
from bench.service import service
from bench.simulator import simulator
from pyreqwest.client import Client, ClientBuilder

from overnight import prompt
from overnight.model import Usage
from overnight.pricing import shelf
from overnight.pricing.cost import cost

_SYSTEMS, _DOCUMENTS, _QUESTIONS = 20, 50, 10
_CONCURRENCIES = (64, 256)
_LATENCY_S = 0.05
_SCRIPT = f"[latency]\nbase_s = {_LATENCY_S}\njitter = 0.3\n"
_MARK = {"cache_control": {"type": "ephemeral"}}
# By the rule of `overnight.tokens` 1,100, 3,000 and 100 tokens: 1,024 is the least that is cached.
_SYSTEM_CHARACTERS, _DOCUMENT_CHARACTERS, _QUESTION_CHARACTERS = 4_400, 12_000, 400
# One that halves only uncached input and output, and one where caching and batch stack.
_BOOKS = (shelf.DEFAULT, shelf.VENDOR_FROZEN)


class _Usage(msgspec.Struct):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class _Message(msgspec.Struct):
    usage: _Usage


class _Result(msgspec.Struct):
    message: _Message


class _Line(msgspec.Struct):
    result: _Result


class _Work(NamedTuple):
    """The requests in the caller's order, and what a perfect order would read."""

    params: list[bytes]
    prompt_tokens: int
    best_read_tokens: int


def cache(run: Run) -> Iterator[Figure]:
    """Send 20 system prompts × 50 documents × 10 questions, shuffled, to a prompt cache."""
    work = _work()
    best = work.best_read_tokens / work.prompt_tokens * 100
    for concurrency in _CONCURRENCIES:
        how = (
            f"simulator with {_LATENCY_S * 1000:g} ms to the first byte; "
            f"concurrency {concurrency}; best order {best:.1f} %"
        )
        ours = _ours(run, work, concurrency)
        yield figure(
            "cache", "prompt tokens read from the cache", [Pair(_share(ours), best)], unit="%",
            floor="the best order", target=Target(limit=0.98, of="ratio", best="high"), how=how,
        )  # fmt: skip
        orders = {"as they came": work.params, "sorted, no leaders": sorted(work.params)}
        for name, bodies in orders.items():
            loop = _loop(run, bodies, concurrency)
            yield figure(
                "cache", "prompt tokens read from the cache",
                [Pair(_share(ours), _share(loop))], unit="%", peer=name, how=how,
            )  # fmt: skip
            if name == "as they came":
                yield from _money(ours, loop, how)


def _money(ours: Usage, naive: Usage, how: str) -> Iterator[Figure]:
    for book in _BOOKS:
        yield figure(
            "cache", f"cost of the batch, book {book}",
            [Pair(float(_usd(ours, book)), float(_usd(naive, book)))], unit="USD",
            peer="as they came, batch price", how=how,
        )  # fmt: skip
        plain = Usage(input_tokens=_prompt_tokens(ours))
        prompt_only = msgspec.structs.replace(ours, output_tokens=0)
        saved = 100 - 100 * _usd(prompt_only, book) / _usd(plain, book, tier="standard")
        yield figure(
            "cache", f"saved on the prompts, book {book}", [Pair(float(saved))], unit="%",
            target=Target(limit=50, of="ours", best="high"),
            how=f"{how}; against the standard price without caching",
        )  # fmt: skip


def _usd(usage: Usage, book: str, *, tier: Any = "batch") -> Decimal:
    today = datetime.now(UTC).date()
    priced = cost(usage, model=MODEL, tier=tier, book=shelf.open_book(book), on=today)
    if priced.usd is None or not priced.complete:
        raise BenchFailed(f"book {book} has no price for {MODEL}")
    return priced.usd


def _share(usage: Usage) -> float:
    return usage.cache_read_tokens / _prompt_tokens(usage) * 100


def _prompt_tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.cache_write_5m_tokens + usage.cache_read_tokens


def _ours(run: Run, work: _Work, concurrency: int) -> Usage:
    with run.folder() as folder, simulator(folder, _SCRIPT) as upstream:
        flags = ("--concurrency", concurrency)
        with service(folder / "ours", *flags, backend=upstream.url) as ours:
            batch_id = ours.create(create_body(work.params))
            ours.wait_until_ended(batch_id)
            lines = ours.results(batch_id).splitlines()
    decode = msgspec.json.Decoder(_Line).decode
    return _sum([decode(line).result.message.usage for line in lines], len(work.params))


def _loop(run: Run, bodies: list[bytes], concurrency: int) -> Usage:
    """Send the requests in this order, all that fit at once, as a plain loop does."""
    with run.folder() as folder, simulator(folder, _SCRIPT) as upstream:
        answers = asyncio.run(_send(f"{upstream.url}/v1/messages", bodies, concurrency))
    decode = msgspec.json.Decoder(_Message).decode
    return _sum([decode(answer).usage for answer in answers], len(bodies))


async def _send(url: str, bodies: list[bytes], concurrency: int) -> list[bytes]:
    answers: list[bytes] = []
    waiting = iter(bodies)
    headers = {"content-type": "application/json", "anthropic-version": API_VERSION}
    builder = ClientBuilder().no_proxy().error_for_status(True).default_headers(headers)

    async def send_all(client: Client) -> None:
        for body in waiting:
            response = await client.post(url).body_bytes(body).build().send()
            answers.append((await response.bytes()).to_bytes())

    async with builder.build() as client:
        await asyncio.gather(*(send_all(client) for _ in range(concurrency)))
    return answers


def _sum(usages: list[_Usage], count: int) -> Usage:
    if len(usages) != count:
        raise BenchFailed(f"{len(usages)} answers for {count} requests")
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        cache_write_5m_tokens=sum(usage.cache_creation_input_tokens for usage in usages),
        cache_read_tokens=sum(usage.cache_read_input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
    )


def _work() -> _Work:
    requests = [
        _request(system, document, question)
        for system in range(_SYSTEMS)
        for document in range(_DOCUMENTS)
        for question in range(_QUESTIONS)
    ]
    Random(7).shuffle(requests)
    written: dict[bytes, int] = {}
    prompt_tokens = marked_tokens = 0
    for request in requests:
        reached = tokens = 0
        for prefix in prompt.prefixes(request, MODEL):
            tokens = prefix.tokens
            if prefix.ttl:
                written[prefix.key] = tokens - reached
                reached = tokens
        prompt_tokens += tokens
        marked_tokens += reached
    return _Work(
        params=[msgspec.json.encode(request) for request in requests],
        prompt_tokens=prompt_tokens,
        best_read_tokens=marked_tokens - sum(written.values()),
    )


def _request(system: int, document: int, question: int) -> dict[str, Any]:
    asked = _text(f"Question {question}. ", _QUESTION_CHARACTERS)
    read = _text(f"Document {document} of {system}. ", _DOCUMENT_CHARACTERS) | _MARK
    return {
        "model": MODEL,
        "max_tokens": 16,
        "system": [_text(f"System {system}. ", _SYSTEM_CHARACTERS) | _MARK],
        "messages": [{"role": "user", "content": [read, asked]}],
    }


def _text(beginning: str, characters: int) -> dict[str, Any]:
    return {"type": "text", "text": (beginning + "and so on " * (characters // 10))[:characters]}
