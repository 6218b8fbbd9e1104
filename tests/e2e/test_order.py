"""Prompts that begin alike are written into the backend's cache once and read by all others."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.support.api import MODEL
from tests.support.service import serving, settings_for

from overnight import prompt
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency

_MARK = {"cache_control": {"type": "ephemeral"}}


def nested(systems: int, documents: int, questions: int) -> list[dict[str, Any]]:
    """Make requests of a few system prompts × documents × questions, in no order."""
    made = []
    for s in range(systems):
        system = [{"type": "text", "text": f"System {s}. " + "Be exact. " * 2_000, **_MARK}]
        for d in range(documents):
            document = {"type": "text", "text": f"Document {d} " + "lorem " * 700, **_MARK}
            for q in range(questions):
                question = {"type": "text", "text": f"Question {q}?"}
                messages = [{"role": "user", "content": [document, question]}]
                params = {
                    "model": MODEL, "max_tokens": 16, "system": system, "messages": messages,
                }  # fmt: skip
                made.append({"custom_id": f"{s}-{d}-{q}", "params": params})
    Random(7).shuffle(made)
    return made


def written_once(requests: list[dict[str, Any]]) -> int:
    """Count the tokens of all marked beginnings, each once."""
    sizes: dict[bytes, int] = {}
    for request in requests:
        reached = 0
        for prefix in prompt.prefixes(request["params"], MODEL):
            if prefix.ttl:
                sizes[prefix.key] = prefix.tokens - reached
                reached = prefix.tokens
    return sum(sizes.values())


@pytest.mark.parametrize("concurrency", [4, 64])
async def test_each_shared_beginning_is_written_once(tmp_path: Path, concurrency: int) -> None:
    simulator = Simulator(SimulatorScript(latency=Latency(base_s=0.02, jitter=0.5)))
    settings = settings_for(tmp_path / "data", concurrency=concurrency, shard_requests=50)
    requests = nested(3, 6, 8)
    async with serving(settings, backend=simulator) as service:
        batch_id = await service.api.created(requests)
        await service.api.ended(batch_id)
        lines = await service.api.lines(batch_id)
        usages = [result["message"]["usage"] for result in lines.values()]
    assert len(usages) == len(requests)
    assert sum(usage["cache_creation_input_tokens"] for usage in usages) == written_once(requests)
    assert sum(usage["cache_read_input_tokens"] > 0 for usage in usages) == len(requests) - 3
