"""`kill -9` amid real-time calls: every answer that was given is charged, exactly once."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pyreqwest.exceptions import PyreqwestError
from tests.support.api import Api, params, requests
from tests.support.process import Server, server, simulator
from tests.support.waiting import until

CALLERS = 8
KILLS = 3
# Answers between two kills, about.
ANSWERS = 60
SEED = 20261122
# Each call has a model of its own, so that the reports tell each call's charge.
_SCRIPT = 'models = ["call-*"]\n[latency]\nbase_s = 0.005\n'


class Tokens(NamedTuple):
    input: int
    output: int


class Caller:
    """Calls again and again, whether or not the server is there."""

    def __init__(self, running: Server, number: int) -> None:
        self._running = running
        self._number = number
        self.answered: dict[str, Tokens] = {}
        # Sent, and nobody knows what became of them.
        self.unanswered: set[str] = set()

    async def call_on(self, leaving: asyncio.Event) -> None:
        while not leaving.is_set():
            model = f"call-{self._number}-{len(self.answered) + len(self.unanswered)}"
            try:
                async with self._running.api() as api:
                    tokens = await _answer(api, model, stream=self._number % 2 == 0)
            except PyreqwestError:
                tokens = None
            if tokens is None:
                self.unanswered.add(model)
                await asyncio.sleep(0.02)
            else:
                self.answered[model] = tokens


async def _answer(api: Api, model: str, *, stream: bool) -> Tokens | None:
    """Give what an answer says that it used; None when it is not whole."""
    body = msgspec.json.encode(params("And?", model=model, stream=stream))
    answer = await api.call("POST", "/v1/messages", body)
    assert answer.status == 200, answer
    if not stream:
        usage = answer.json["usage"]
        return Tokens(usage["input_tokens"], usage["output_tokens"])
    data = [
        line.removeprefix(b"data: ") for line in answer.body.split(b"\n") if line[:5] == b"data:"
    ]
    last: list[Any] = [msgspec.json.decode(line) for line in data[-2:]]
    if not last or last[-1]["type"] != "message_stop":
        return None
    usage = last[0]["usage"]
    return Tokens(usage["input_tokens"], usage["output_tokens"])


async def charged(api: Api) -> dict[str, Tokens]:
    """Give what the ledger has, by model: each model is one call."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    query = f"starting_at={yesterday:%Y-%m-%dT%H:%M:%SZ}&group_by[]=model&service_tiers[]=standard"
    report = (await api.call("GET", f"/v1/organizations/usage_report/messages?{query}")).json
    assert not report["has_more"]
    # Two when midnight came in between; none has a call in both.
    results = [result for bucket in report["data"] for result in bucket["results"]]
    return {r["model"]: Tokens(r["uncached_input_tokens"], r["output_tokens"]) for r in results}


async def test_every_answer_is_charged_once_however_often_the_server_is_killed(
    tmp_path: Path, database_url: str | None
) -> None:
    draw, leaving = random.Random(SEED), asyncio.Event()
    async with simulator(tmp_path, _SCRIPT) as backend:
        options = ["--backend", backend, "--concurrency", "8"]
        options += ["--database-url", database_url] if database_url else []
        async with server(tmp_path / "data", *options) as running:
            async with running.api() as api:
                batch_id = await api.created(requests(2_000))
            callers = [Caller(running, number) for number in range(CALLERS)]
            tasks = [asyncio.create_task(caller.call_on(leaving)) for caller in callers]
            answers = 0
            for _ in range(KILLS):
                answers += draw.randint(ANSWERS // 2, ANSWERS * 2)

                async def reached(answers: int = answers) -> bool:
                    return sum(len(caller.answered) for caller in callers) >= answers

                await until(reached, what=f"{answers} answers", timeout_s=30)
                running.kill()
                await running.start()
            leaving.set()
            await asyncio.gather(*tasks)
            async with running.api() as api:
                await api.ended(batch_id, timeout_s=30)
                ledger = await charged(api)
    answered = {model: tokens for c in callers for model, tokens in c.answered.items()}
    unanswered = set[str]().union(*(caller.unanswered for caller in callers))
    assert {model: ledger.get(model) for model in answered} == answered
    # Those whose charge was stored and whose answer was cut off by a kill.
    assert ledger.keys() - answered.keys() <= unanswered
