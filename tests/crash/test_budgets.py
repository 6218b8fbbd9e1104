"""`kill -9` amid batches under a budget: nothing held is lost, nothing is counted twice."""

import asyncio
import contextlib
import random
from decimal import Decimal
from pathlib import Path

from tests.crash.test_kill import called, options
from tests.e2e.test_budgets import ORGANIZATION, limited, under
from tests.support.api import requests
from tests.support.costs import charged
from tests.support.process import server, simulator

_SCRIPT = "[latency]\nbase_s = 0.01\n"
BATCHES = 4
KILLS = 2
SEED = 20261126


async def test_kills_neither_lose_nor_double_what_batches_have_reserved(
    tmp_path: Path, database_url: str | None
) -> None:
    points = sorted(random.Random(SEED).sample(range(20, 400), KILLS))
    async with contextlib.AsyncExitStack() as stack:
        backend = await stack.enter_async_context(simulator(tmp_path, _SCRIPT))
        chosen = options(backend, database_url)
        running = await stack.enter_async_context(server(tmp_path / "data", *chosen))
        if database_url is not None:
            # One more process, which takes over what the killed one held.
            await stack.enter_async_context(server(tmp_path / "data", *chosen))
        async with running.api() as api:
            await limited(api, 5, ORGANIZATION)
            answers = await asyncio.gather(
                *(api.create(requests(300), under("0.02")) for _ in range(BATCHES))
            )
            ids = [answer.json["id"] for answer in answers]
        for point in points:
            await called(backend, point)
            running.kill()
            await running.start()
        async with running.api() as api:
            costs = []
            for batch_id in ids:
                ended = await api.ended(batch_id, timeout_s=60)
                assert sum(ended["request_counts"].values()) == 300
                assert len(await api.lines(batch_id)) == 300
                costs.append(await charged(api, batch_id))
            path = "/v1/organizations/spend_limits/effective"
            standing = (await api.call("GET", path)).json["data"][0]["overnight"]
    spent = [Decimal(cost["spent_usd"]) for cost in costs]
    assert all(usd <= Decimal("0.02") for usd in spent)
    # All was spent but for less than one request of each batch may cost.
    assert Decimal("0.0495") < sum(spent) <= Decimal("0.05")
    assert Decimal(standing["used_usd"]) == sum(spent)
    assert Decimal(standing["reserved_usd"]) == 0
