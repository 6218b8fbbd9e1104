"""What becomes of batches over time, from outside: cancel, expire, archive, delete, fail."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.raw_server import RawServer, Step
from tests.support.api import params, requests
from tests.support.service import DAY, START, Service, serving, settings_for
from tests.support.waiting import until

from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import (
    Fault,
    Latency,
    Malformed,
    Reset,
    Rule,
    Slow,
    Status,
    Unreachable,
)
from overnight.clock import MovableClock

SECOND = timedelta(seconds=1)
COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def counts(**given: int) -> dict[str, int]:
    return {name: given.get(name, 0) for name in COUNTS}


def slow(clock: MovableClock, seconds: float = 60) -> Simulator:
    """Answer after so much of the clock's time."""
    return Simulator(SimulatorScript(latency=Latency(base_s=seconds)), clock=clock)


def failing(clock: MovableClock, fault: Fault, **when: Any) -> Simulator:
    return Simulator(SimulatorScript(rules=(Rule(fault=fault, **when),)), clock=clock)


async def holds(condition: Callable[[], bool], what: str) -> None:
    async def check() -> bool:
        return condition()

    await until(check, what=what)


async def ended_as_time_passes(service: Service, batch_id: str) -> dict[str, Any]:
    """Move the clock on until the batch has ended."""

    async def has_ended() -> bool:
        service.advance(SECOND)
        return bool((await service.api.get(batch_id)).json["processing_status"] == "ended")

    await until(has_ended, what=f"the end of {batch_id}")
    found: dict[str, Any] = (await service.api.get(batch_id)).json
    return found


async def test_a_batch_ends_with_a_result_for_each_request(service: Service) -> None:
    batch_id = await service.api.created(requests(25))
    batch = await service.api.ended(batch_id)
    assert batch["request_counts"] == counts(succeeded=25)
    assert batch["results_url"] == f"{service.base_url}/v1/messages/batches/{batch_id}/results"
    lines = await service.api.lines(batch_id)
    assert lines.keys() == {request["custom_id"] for request in requests(25)}


# Cancel.


async def test_a_batch_canceled_before_its_plan_comes_to_nothing(
    tmp_path: Path, clock: MovableClock
) -> None:
    settings = settings_for(tmp_path)
    backend = Simulator(clock=clock)
    async with serving(replace(settings, worker=False), clock=clock) as service:
        batch_id = await service.api.created(requests(7))
        await service.api.cancel(batch_id)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch = await service.api.ended(batch_id)
        assert batch["request_counts"] == counts(canceled=7)
        lines = await service.api.lines(batch_id)
        assert list(lines.values()) == [{"type": "canceled"}] * 7
    assert backend.calls == 0


async def test_a_cancel_lets_running_requests_end_and_sends_no_others(
    tmp_path: Path, clock: MovableClock
) -> None:
    backend = slow(clock)
    settings = settings_for(tmp_path, concurrency=4)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(20))
        await holds(lambda: backend.in_flight == 4, "four requests under way")
        canceled = (await service.api.cancel(batch_id)).json
        assert canceled["processing_status"] == "canceling"
        assert canceled["cancel_initiated_at"] == "2026-11-22T06:40:25.141141+00:00"
        assert canceled["request_counts"] == counts(processing=20)

        async def rest_is_canceled() -> bool:
            return bool((await service.api.progress(batch_id))["counts"]["canceled"] == 16)

        await until(rest_is_canceled, what="sixteen canceled requests")
        assert (await service.api.get(batch_id)).json["processing_status"] == "canceling"
        service.advance(60 * SECOND)
        batch = await service.api.ended(batch_id)
        assert batch["request_counts"] == counts(succeeded=4, canceled=16)
        assert len(await service.api.lines(batch_id)) == 20
    assert backend.calls == 4


async def test_a_second_cancel_changes_nothing(tmp_path: Path, clock: MovableClock) -> None:
    backend = slow(clock)
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(1))
        await holds(lambda: backend.in_flight == 1, "a request under way")
        first = (await service.api.cancel(batch_id)).json
        service.advance(SECOND)
        assert (await service.api.cancel(batch_id)).json == first


async def test_an_ended_batch_cannot_be_canceled(service: Service) -> None:
    batch_id = await service.api.created(requests(1))
    batch = await service.api.ended(batch_id)
    answer = await service.api.cancel(batch_id)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert (await service.api.get(batch_id)).json == batch


# Expire, archive, delete.


async def test_after_its_window_a_batch_ends_and_what_has_no_answer_expires(
    tmp_path: Path, clock: MovableClock
) -> None:
    script = SimulatorScript(
        latency=Latency(base_s=10), rules=(Rule(fault=Slow(seconds=86_400), custom_id="slow-*"),)
    )
    backend = Simulator(script, clock=clock)
    settings = settings_for(tmp_path, concurrency=3)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(
            requests(3, prefix="quick") + requests(6, prefix="slow")
        )
        await holds(lambda: backend.in_flight == 3, "the quick ones")
        service.advance(10 * SECOND)
        await holds(lambda: backend.calls == 6, "three slow ones under way")
        service.advance(DAY - 11 * SECOND)
        assert (await service.api.get(batch_id)).json["processing_status"] == "in_progress"
        service.advance(SECOND)
        batch = await service.api.ended(batch_id)
        assert batch["request_counts"] == counts(succeeded=3, expired=6)
        lines = await service.api.lines(batch_id)
        assert {name for name, row in lines.items() if row["type"] == "expired"} == {
            f"slow-{number}" for number in range(6)
        }
        assert (backend.calls, backend.in_flight) == (6, 0)


async def test_after_29_days_results_are_gone_and_the_batch_stays(
    service: Service, tmp_path: Path
) -> None:
    batch_id = await service.api.created(requests(2))
    batch = await service.api.ended(batch_id)
    service.advance(29 * DAY - SECOND)
    assert len(await service.api.lines(batch_id)) == 2
    service.advance(SECOND)
    answer = await service.api.results(batch_id)
    assert answer.status == 404
    assert answer.error["message"] == f"Message Batch {batch_id} has no available results."
    objects = tmp_path / "data" / "objects" / batch_id
    await holds(lambda: not objects.exists(), "objects cleared away")
    archived = (await service.api.get(batch_id)).json
    assert archived.pop("archived_at") == "2026-12-21T06:40:25.141141+00:00"
    assert archived == {name: value for name, value in batch.items() if name != "archived_at"}
    assert [listed["id"] for listed in (await service.api.list()).json["data"]] == [batch_id]


async def test_a_deleted_batch_is_gone_with_all_it_had(service: Service, tmp_path: Path) -> None:
    batch_id = await service.api.created(requests(2))
    await service.api.ended(batch_id)
    deleted = await service.api.delete(batch_id)
    assert deleted.json == {"id": batch_id, "type": "message_batch_deleted"}
    api = service.api
    for answer in [await call(batch_id) for call in (api.get, api.results, api.cancel, api.delete)]:
        assert answer.status == 404
        assert answer.error["message"] == f"Message Batch {batch_id} not found."
    assert (await api.list()).json["data"] == []
    objects = tmp_path / "data" / "objects" / batch_id
    await holds(lambda: not objects.exists(), "objects cleared away")


async def test_a_running_batch_cannot_be_deleted(tmp_path: Path, clock: MovableClock) -> None:
    backend = slow(clock)
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(1))
        # A request that was not sent yet would end with the cancel.
        await holds(lambda: backend.in_flight == 1, "the request under way")
        for _ in range(2):
            answer = await service.api.delete(batch_id)
            assert (answer.status, answer.error["message"]) == (
                400,
                "In progress batches cannot be deleted. Consider canceling the batch instead.",
            )
            await service.api.cancel(batch_id)


async def test_batches_deleted_while_being_listed_do_not_disturb_the_list(
    service: Service,
) -> None:
    created = []
    for number in range(5):
        created.append(await service.api.created(requests(1, prefix=f"batch-{number}")))
        service.advance(SECOND)
    for batch_id in created:
        await service.api.ended(batch_id)
    seen: list[str] = []
    query, more = "?limit=2", True
    while more:
        page = (await service.api.list(query)).json
        seen += [batch["id"] for batch in page["data"]]
        more = page["has_more"]
        for batch in page["data"]:
            await service.api.delete(batch["id"])
        query = f"?limit=2&after_id={page['last_id']}"
    assert seen == created[::-1]
    assert (await service.api.list()).json["data"] == []


# Failures of the backend.

# Fault and how often it strikes; the last and the one with a time use up no attempts, of which
# there are five.
RECOVERED = [
    pytest.param(Status(status=529), 2, id="overloaded"),
    pytest.param(Status(status=500), 2, id="server error"),
    pytest.param(Status(status=409), 2, id="conflict"),
    pytest.param(Status(status=429), 2, id="limited"),
    pytest.param(Status(status=429, retry_after_s=7), 6, id="limited, with a time"),
    pytest.param(Reset(), 2, id="reset"),
    pytest.param(Malformed(), 2, id="malformed"),
    pytest.param(Unreachable(), 6, id="unreachable"),
]


@pytest.mark.parametrize(("fault", "attempts"), RECOVERED)
async def test_a_failure_that_passes_is_tried_again_until_it_has(
    tmp_path: Path, clock: MovableClock, fault: Fault, attempts: int
) -> None:
    backend = failing(clock, fault, first_attempts=attempts, custom_id="r-1")
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(3))
        batch = await ended_as_time_passes(service, batch_id)
    assert batch["request_counts"] == counts(succeeded=3)
    assert backend.calls == 3 + attempts


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
async def test_a_failure_that_cannot_pass_is_the_outcome_at_once(
    tmp_path: Path, clock: MovableClock, status: int
) -> None:
    backend = failing(clock, Status(status=status, message="So it is."), custom_id="r-1")
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(3))
        batch = await service.api.ended(batch_id)
        lines = await service.api.lines(batch_id)
    assert batch["request_counts"] == counts(succeeded=2, errored=1)
    assert lines["r-1"]["error"]["error"]["message"] == "So it is."
    assert backend.calls == 3


async def test_a_request_that_keeps_failing_is_errored_after_its_last_attempt(
    tmp_path: Path, clock: MovableClock
) -> None:
    backend = failing(clock, Status(status=529), custom_id="r-1")
    settings = settings_for(tmp_path, max_attempts=4)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(3))
        batch = await ended_as_time_passes(service, batch_id)
        lines = await service.api.lines(batch_id)
    assert batch["request_counts"] == counts(succeeded=2, errored=1)
    assert lines["r-1"]["error"]["error"]["type"] == "overloaded_error"
    assert backend.calls == 2 + 4


async def test_nobody_calls_before_the_time_that_the_backend_asked_for(
    tmp_path: Path, clock: MovableClock
) -> None:
    backend = failing(clock, Status(status=429, retry_after_s=30), until_call=1)
    settings = settings_for(tmp_path, concurrency=1)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(3))
        await holds(lambda: backend.calls == 1, "the first call")
        service.advance(29 * SECOND)
        for _ in range(10):
            await service.api.get(batch_id)
        assert backend.calls == 1
        await ended_as_time_passes(service, batch_id)
        assert clock.now() >= START + 30 * SECOND
    assert backend.calls == 4


async def test_a_backend_that_was_away_errors_nothing(tmp_path: Path, clock: MovableClock) -> None:
    backend = failing(clock, Unreachable(), until_call=8)
    settings = settings_for(tmp_path, max_attempts=1)
    async with serving(settings, clock=clock, backend=backend) as service:
        batch_id = await service.api.created(requests(50))
        batch = await ended_as_time_passes(service, batch_id)
    assert batch["request_counts"] == counts(succeeded=50)


async def test_a_request_that_hangs_is_cut_and_errored(tmp_path: Path) -> None:
    async with RawServer([Step.HANG]) as upstream:
        backend = MessagesBackend(url=upstream.url, request_timeout_s=0.2)
        settings = settings_for(tmp_path, max_attempts=2)
        async with serving(settings, backend=backend) as service:
            batch_id = await service.api.created(requests(1))
            batch = await service.api.ended(batch_id)
            lines = await service.api.lines(batch_id)
    assert batch["request_counts"] == counts(errored=1)
    assert lines["r-0"]["error"]["error"]["type"] == "timeout_error"
    assert len(upstream.requests) == 2


# Requests that are not sent.


async def test_bad_params_are_errored_without_a_call(tmp_path: Path, clock: MovableClock) -> None:
    bad = {
        "no-model": {"max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
        "unknown-model": params() | {"model": "no-such-model"},
        "no-tokens": params(max_tokens=0),
        "stream": params(stream=True),
        "unknown-key": params(colour="red"),
    }
    backend = Simulator(clock=clock)
    async with serving(settings_for(tmp_path), clock=clock, backend=backend) as service:
        rows = [{"custom_id": name, "params": given} for name, given in bad.items()]
        batch_id = await service.api.created(rows + requests(2))
        batch = await service.api.ended(batch_id)
        lines = await service.api.lines(batch_id)
    assert batch["request_counts"] == counts(succeeded=2, errored=5)
    errors = {name: lines[name]["error"]["error"] for name in bad}
    assert errors["unknown-model"]["type"] == "not_found_error"
    assert errors["unknown-model"]["message"] == "model: no-such-model"
    assert errors["no-model"]["message"] == "model: Field required"
    assert "stream" in errors["stream"]["message"]
    assert errors["unknown-key"]["message"] == "colour: Extra inputs are not permitted"
    assert backend.calls == 2


async def test_a_prompt_longer_than_the_context_is_errored(
    tmp_path: Path, clock: MovableClock
) -> None:
    settings = settings_for(tmp_path, max_context_tokens=100)
    async with serving(settings, clock=clock) as service:
        rows = [{"custom_id": "long", "params": params("word " * 500)}, *requests(1)]
        batch_id = await service.api.created(rows)
        batch = await service.api.ended(batch_id)
        lines = await service.api.lines(batch_id)
    assert batch["request_counts"] == counts(succeeded=1, errored=1)
    message = lines["long"]["error"]["error"]["message"]
    assert message.startswith("prompt is too long: ")
    assert message.endswith(" tokens > 100 maximum")


# Stop and start, send again.


async def test_a_drained_service_goes_on_where_it_stopped(
    tmp_path: Path, database_url: str | None
) -> None:
    backend = Simulator(SimulatorScript(latency=Latency(base_s=0.02)))
    settings = settings_for(
        tmp_path, database_url=database_url, concurrency=4, shard_requests=10, drain_timeout_s=5.0
    )
    async with serving(settings, backend=backend) as service:
        batch_id = await service.api.created(requests(60))
        await holds(lambda: backend.calls >= 10, "ten calls")
    assert backend.calls < 60
    async with serving(settings, backend=backend) as service:
        batch = await service.api.ended(batch_id)
        assert len(await service.api.lines(batch_id)) == 60
    assert batch["request_counts"] == counts(succeeded=60)
    assert backend.calls == 60


async def test_a_drain_cuts_only_requests_that_take_longer_than_their_time(
    tmp_path: Path, database_url: str | None
) -> None:
    script = SimulatorScript(rules=(Rule(fault=Slow(seconds=3_600), custom_id="r-3", times=1),))
    backend = Simulator(script)
    settings = settings_for(tmp_path, database_url=database_url, drain_timeout_s=0.0)
    async with serving(settings, backend=backend) as service:
        batch_id = await service.api.created(requests(10))
        await holds(lambda: backend.calls == 10 and backend.in_flight == 1, "the slow one")
    async with serving(settings, backend=backend) as service:
        batch = await service.api.ended(batch_id)
        assert len(await service.api.lines(batch_id)) == 10
    assert batch["request_counts"] == counts(succeeded=10)
    assert backend.calls == 11


async def test_a_create_sent_again_with_its_idempotency_key_is_one_batch(
    service: Service,
) -> None:
    key = {"idempotency-key": "night-7"}
    first = (await service.api.create(requests(2), key)).json
    assert (await service.api.create(requests(2), key)).json["id"] == first["id"]
    other = await service.api.create(requests(3), key)
    assert (other.status, other.error["type"]) == (400, "invalid_request_error")
    assert "idempotency-key" in other.error["message"]
    assert (await service.api.create(requests(2))).json["id"] != first["id"]
    assert len((await service.api.list()).json["data"]) == 2
