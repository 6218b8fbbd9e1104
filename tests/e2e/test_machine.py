"""Any order of create, poll, cancel, expire, delete, moves of the clock, crashes and restarts."""

import asyncio
import contextlib
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support.api import read_lines, requests
from tests.support.postgres import Cluster
from tests.support.power import Power, PowerCut, PoweredDatabase, PoweredSimulator
from tests.support.service import DAY, START, Service, serving, settings_for
from tests.support.waiting import until

from overnight.app import open_database
from overnight.backends.simulator import SimulatorScript
from overnight.backends.simulator.script import Latency, Reset, Rule, Status, Unreachable
from overnight.clock import MovableClock

TERMINAL = ("succeeded", "errored", "canceled", "expired")
SCRIPT = SimulatorScript(
    latency=Latency(base_s=5, jitter=0.8),
    rules=(
        Rule(fault=Status(status=401), custom_id="*-3"),
        Rule(fault=Status(status=529), probability=0.2),
        Rule(fault=Reset(), probability=0.1),
        Rule(fault=Unreachable(), every=17),
    ),
)


class Known:
    """What a caller has seen of one batch so far."""

    def __init__(self, batch: dict[str, Any], ids: set[str]) -> None:
        self.batch = batch
        self.ids = ids
        self.live = dict.fromkeys(TERMINAL, 0)
        self.results: bytes | None = None
        self.deleted = False

    @property
    def id(self) -> str:
        return str(self.batch["id"])


class Machine(RuleBasedStateMachine):
    """Drives one service on one data directory, through crashes and restarts."""

    database_url: str | None = None
    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="overnight-machine-"))
        self.settings = settings_for(
            self.folder,
            database_url=self.database_url,
            concurrency=3,
            shard_requests=3,
            sweep_interval_s=0.01,
            drain_timeout_s=0.0,
        )
        self.clock = MovableClock(START)
        self.backend = PoweredSimulator(SCRIPT, clock=self.clock)
        self.known: list[Known] = []
        self.runner.run(self.start())

    async def start(self) -> None:
        self.power = self.backend.power = Power()
        database = PoweredDatabase(open_database(self.settings), self.power)
        self.stack = contextlib.AsyncExitStack()
        self.service: Service = await self.stack.enter_async_context(
            serving(self.settings, clock=self.clock, backend=self.backend, database=database)
        )

    async def stop(self) -> None:
        with contextlib.suppress(PowerCut):
            await self.stack.aclose()

    def teardown(self) -> None:
        try:
            for known in self.known:
                if not known.deleted:
                    self.runner.run(self.finish(known))
        finally:
            self.runner.run(self.stop())
            self.runner.close()
            shutil.rmtree(self.folder)

    # What can happen.

    @rule(target=batches, count=st.integers(1, 9))
    def create(self, count: int) -> Known:
        prefix = f"batch{len(self.known)}"
        rows = requests(count, prefix=prefix)
        batch = self.runner.run(self.service.api.create(rows)).json
        known = Known(batch, {row["custom_id"] for row in rows})
        self.known.append(known)
        return known

    @rule(known=batches)
    def cancel(self, known: Known) -> None:
        answer = self.runner.run(self.service.api.cancel(known.id))
        if known.deleted:
            assert answer.status == 404
        elif answer.status == 400:
            assert self.look(known)["processing_status"] == "ended"
        else:
            assert answer.json["processing_status"] == "canceling"
            assert answer.json["cancel_initiated_at"] is not None

    @rule(known=batches)
    def delete(self, known: Known) -> None:
        answer = self.runner.run(self.service.api.delete(known.id))
        if known.deleted:
            assert answer.status == 404
        elif answer.status == 200:
            known.deleted = True
        else:
            assert answer.status == 400

    @rule(seconds=st.sampled_from([1, 5, 60, 3_600, 86_400]))
    def pass_time(self, seconds: int) -> None:
        self.service.advance(timedelta(seconds=seconds))

    @rule()
    def retain_no_longer(self) -> None:
        self.service.advance(29 * DAY)

    @rule(turns=st.integers(1, 40))
    def work(self, turns: int) -> None:
        """Let the service do something while the clock ticks."""

        async def tick() -> None:
            for _ in range(turns):
                self.service.advance(timedelta(seconds=1))
                await self.service.api.list("?limit=1")

        self.runner.run(tick())

    @rule()
    def crash(self) -> None:
        self.power.cut()
        self.runner.run(self.stop())
        self.runner.run(self.start())

    @rule()
    def restart(self) -> None:
        self.runner.run(self.stop())
        self.runner.run(self.start())

    # What always holds.

    @invariant()
    def every_batch_is_as_it_must_be(self) -> None:
        for known in self.known:
            if known.deleted:
                assert self.runner.run(self.service.api.get(known.id)).status == 404
            else:
                self.look(known)

    def look(self, known: Known) -> dict[str, Any]:
        """Poll a batch and hold what is seen against what was seen before."""
        batch: dict[str, Any] = self.runner.run(self.service.api.get(known.id)).json
        assert sum(batch["request_counts"].values()) == len(known.ids)
        self.look_at_progress(known)
        before, known.batch = known.batch, batch
        for name in ("id", "created_at", "expires_at"):
            assert batch[name] == before[name]
        if before["processing_status"] == "ended":
            host = {"results_url": batch["results_url"]}
            archived = {} if before["archived_at"] else {"archived_at": batch["archived_at"]}
            assert batch == before | host | archived
        if batch["processing_status"] == "ended":
            self.look_at_results(known)
        else:
            assert batch["request_counts"]["processing"] == len(known.ids)
            assert (batch["ended_at"], batch["results_url"]) == (None, None)
        return batch

    def look_at_progress(self, known: Known) -> None:
        progress = self.runner.run(self.service.api.progress(known.id))
        live = progress["counts"]
        assert sum(live.values()) == len(known.ids)
        assert all(live[name] >= known.live[name] for name in TERMINAL), (known.live, live)
        known.live = live

    def look_at_results(self, known: Known) -> None:
        answer = self.runner.run(self.service.api.results(known.id))
        if answer.status == 404:
            assert self.clock.now() >= START + 29 * DAY
            return
        lines = read_lines(answer.body)
        assert lines.keys() == known.ids
        kinds = [line["type"] for line in lines.values()]
        found = {name: kinds.count(name) for name in TERMINAL}
        assert found | {"processing": 0} == known.batch["request_counts"]
        assert known.results in (None, answer.body)
        known.results = answer.body

    async def finish(self, known: Known) -> None:
        """Pass time until a batch has ended."""

        async def has_ended() -> bool:
            self.service.advance(timedelta(hours=1))
            batch = (await self.service.api.get(known.id)).json
            return bool(batch["processing_status"] == "ended")

        await until(has_ended, what=f"the end of {known.id}")


_HYPOTHESIS = settings(
    deadline=None,
    stateful_step_count=12,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)


def test_no_order_of_events_breaks_a_batch_on_sqlite() -> None:
    run_state_machine_as_test(Machine, settings=settings(_HYPOTHESIS, max_examples=8))


def test_no_order_of_events_breaks_a_batch_on_postgresql(postgres: Cluster) -> None:
    with postgres.database() as url:
        machine = type("OnPostgres", (Machine,), {"database_url": url})
        run_state_machine_as_test(machine, settings=settings(_HYPOTHESIS, max_examples=3))
