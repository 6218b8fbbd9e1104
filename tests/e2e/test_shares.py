"""Workspaces share a backend by their weights."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.api import Api, requests
from tests.support.service import serving, settings_for
from tests.support.waiting import until

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency
from overnight.model import Call, Failure, Reply


class Recorder(Simulator):
    """A simulator that notes which requests it answers, in their order."""

    def __init__(self, script: SimulatorScript) -> None:
        super().__init__(script)
        self.answered: list[str] = []

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        self.answered.append(call.custom_id or "")
        return await super().send(call, begun)


async def test_workspaces_with_requests_waiting_are_served_by_weight(tmp_path: Path) -> None:
    backend = Recorder(SimulatorScript(latency=Latency(base_s=0.002)))
    settings = settings_for(
        tmp_path / "data", concurrency=2, api_keys=("a=key-a", "b=key-b"),
        workspace_weights=("a=3",),
    )  # fmt: skip
    async with serving(settings, backend=backend) as service:
        for name in ("a", "b"):
            async with Api(service.base_url, headers={"x-api-key": f"key-{name}"}) as api:
                await api.created(requests(400, prefix=name))

        async def many_answered() -> bool:
            return len(backend.answered) >= 500

        await until(many_answered, what="500 answers")
    both = backend.answered[backend.answered.index("b-0") :][:200]
    counts = Counter(custom_id[0] for custom_id in both)
    assert 140 <= counts["a"] <= 160
