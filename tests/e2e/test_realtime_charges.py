"""What real-time calls are charged, seen from outside: by the official SDK and the reports."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import msgspec
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Usage as AnsweredUsage
from tests.raw_server import Answer, RawServer, Step, chunk, chunked_head
from tests.support.api import MODEL, Api, params, requests
from tests.support.failing import FailingDatabase
from tests.support.service import Service, serving, settings_for
from tests.support.waiting import until

from overnight import wiring
from overnight.access.keys import workspace_id
from overnight.app import open_database
from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Latency, Rule, Status
from overnight.clock import MovableClock
from overnight.errors import Unavailable
from overnight.model import Call, Failure, Need
from overnight.pipeline.realtime import RealTime
from overnight.pipeline.till import Spender, Till
from overnight.pipeline.treasury import NOTHING
from overnight.pricing import shelf
from overnight.pricing.tariff import Tariff

# What the seed says of Claude Haiku 4.5, in USD per token.
STANDARD = {"input_tokens": Decimal("0.80e-6"), "output_tokens": Decimal("4.00e-6")}
BATCH = {"input_tokens": Decimal("0.40e-6"), "output_tokens": Decimal("2.00e-6")}
SINCE = "starting_at=2026-11-01T00:00:00Z"
LATENCY = timedelta(seconds=10)
TEXT = "What did the night bring?"


class Report(NamedTuple):
    """Of one tier: tokens, and cents as the cost report tells them."""

    input_tokens: int
    output_tokens: int
    cents: Decimal


def client_of(service: Service, key: str = "k") -> AsyncAnthropic:
    return AsyncAnthropic(base_url=service.base_url, api_key=key, max_retries=0)


async def results(api: Api, path: str) -> list[dict[str, Any]]:
    answer = await api.call("GET", f"/v1/organizations/{path}")
    assert answer.status == 200, answer
    return [result for bucket in answer.json["data"] for result in bucket["results"]]


async def reported(api: Api, *, workspace: str | None = None) -> dict[str, Report]:
    """Give what both reports say, by service tier."""
    only = f"&workspace_ids[]={workspace}" if workspace else ""
    usage = await results(
        api, f"usage_report/messages?{SINCE}&limit=31&group_by[]=service_tier{only}"
    )
    cost = await results(api, f"cost_report?{SINCE}&limit=31&group_by[]=description{only}")
    found: dict[str, Report] = {}
    for result in usage:
        tier = result["service_tier"]
        cents = sum((Decimal(c["amount"]) for c in cost if c["service_tier"] == tier), Decimal(0))
        found[tier] = Report(result["uncached_input_tokens"], result["output_tokens"], cents)
    return found


def report_of(usages: Iterable[Any], prices: dict[str, Decimal]) -> Report:
    """Work out by hand what a report must say of these answers."""
    told = [msgspec.to_builtins(u) if isinstance(u, dict) else u.model_dump() for u in usages]
    tokens = {name: sum(usage[name] for usage in told) for name in prices}
    usd = sum((tokens[name] * prices[name] for name in prices), Decimal(0))
    return Report(tokens["input_tokens"], tokens["output_tokens"], 100 * usd)


async def settled(api: Api, expected: Report) -> None:
    """Wait until the reports say so: who breaks off is charged without being told."""

    async def holds() -> bool:
        return await reported(api) == {"standard": expected}

    await until(holds, what=f"{expected} in the reports")


async def streamed(client: AsyncAnthropic, text: str) -> AnsweredUsage:
    async with client.messages.stream(**params(text)) as stream:
        return (await stream.get_final_message()).usage


async def created(client: AsyncAnthropic, text: str) -> AnsweredUsage:
    message = await client.messages.create(**params(text), stream=False)
    usage: AnsweredUsage = message.usage
    return usage


async def test_real_time_calls_and_a_batch_are_in_both_reports_each_at_its_price(
    tmp_path: Path, clock: MovableClock, database_url: str | None
) -> None:
    settings = settings_for(tmp_path, database_url=database_url)
    async with serving(settings, clock=clock) as service, client_of(service) as client:
        batch_id = await service.api.created(requests(20))
        usages = await asyncio.gather(
            *(created(client, f"{TEXT} {number}") for number in range(15)),
            *(streamed(client, f"{TEXT} {number}") for number in range(15)),
        )
        await service.api.ended(batch_id)
        lines = (await service.api.lines(batch_id)).values()
        assert await reported(service.api) == {
            "standard": report_of(usages, STANDARD),
            "batch": report_of((line["message"]["usage"] for line in lines), BATCH),
        }


async def test_an_answer_that_came_is_in_the_reports_already(
    tmp_path: Path, clock: MovableClock
) -> None:
    usages: list[AnsweredUsage] = []
    async with (
        serving(settings_for(tmp_path), clock=clock) as service,
        client_of(service) as client,
    ):
        for call in (created, streamed, created, streamed):
            usages.append(await call(client, TEXT))
            assert await reported(service.api) == {"standard": report_of(usages, STANDARD)}


async def test_an_answer_keeps_the_tier_that_the_backend_named(
    tmp_path: Path, clock: MovableClock
) -> None:
    async with (
        serving(settings_for(tmp_path), clock=clock) as service,
        client_of(service) as client,
    ):
        assert (await created(client, TEXT)).service_tier == "standard"
        batch_id = await service.api.created(requests(1))
        await service.api.ended(batch_id)
        [line] = (await service.api.lines(batch_id)).values()
        assert line["message"]["usage"]["service_tier"] == "batch"


async def test_workspaces_are_charged_apart(tmp_path: Path, clock: MovableClock) -> None:
    keys = ("one=sk-one", "two=sk-two", "admin=sk-admin")
    settings = settings_for(tmp_path, api_keys=keys)
    async with (
        serving(settings, clock=clock) as service,
        client_of(service, "sk-one") as one,
        client_of(service, "sk-two") as two,
        Api(service.base_url, headers={"x-api-key": "sk-admin"}) as admin,
    ):
        *ones, last = await asyncio.gather(
            *(created(one, f"{TEXT} {number}") for number in range(5)), streamed(two, TEXT)
        )
        expected = {"one": report_of(ones, STANDARD), "two": report_of([last], STANDARD)}
        for name, report in expected.items():
            found = await reported(admin, workspace=workspace_id(name))
            assert found == {"standard": report}
        assert await reported(admin, workspace=workspace_id("admin")) == {}
        assert (await reported(admin))["standard"].cents == sum(r.cents for r in expected.values())


async def test_counting_tokens_and_failed_calls_cost_nothing(
    tmp_path: Path, clock: MovableClock
) -> None:
    script = SimulatorScript(rules=(Rule(fault=Status(status=529)),))
    async with (
        serving(settings_for(tmp_path), clock=clock, backend=Simulator(script)) as service,
        client_of(service) as client,
    ):
        await client.messages.count_tokens(model=MODEL, messages=params()["messages"])
        for call in (created, streamed):
            with pytest.raises(anthropic.OverloadedError):
                await call(client, TEXT)
        assert await reported(service.api) == {}


# Streams that break off


def event(**fields: object) -> bytes:
    data = msgspec.json.encode(fields)
    return chunk(b"event: %b\ndata: %b\n\n" % (str(fields["type"]).encode(), data))


HEAD = chunked_head("text/event-stream")
START = event(
    type="message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1_000, "output_tokens": 1},
    },
)
TOLD = event(type="message_delta", delta={"stop_reason": None}, usage={"output_tokens": 500})
STOP = event(type="message_stop")
KNOWN = {
    "only the beginning": ([START], 1),
    "output so far": ([START, TOLD], 500),
}


@asynccontextmanager
async def behind(tmp_path: Path, *steps: Answer) -> AsyncGenerator[tuple[Service, RawServer]]:
    """Run a service whose backend gives these answers."""
    async with RawServer(*steps) as server:
        backend = MessagesBackend(url=server.url)
        async with serving(settings_for(tmp_path), backend=backend) as service:
            yield service, server


def spent(output_tokens: int) -> Report:
    return report_of([{"input_tokens": 1_000, "output_tokens": output_tokens}], STANDARD)


@pytest.mark.parametrize(("events", "output_tokens"), KNOWN.values(), ids=KNOWN)
async def test_a_stream_that_the_client_breaks_off_is_charged_as_far_as_it_told(
    tmp_path: Path, events: list[bytes], output_tokens: int
) -> None:
    async with behind(tmp_path, [HEAD, *events, Step.HANG]) as (service, server):
        async with client_of(service) as client:
            stream = await client.messages.create(**params(), stream=True)
            for _ in events:
                await anext(stream)
            await stream.close()
        await server.client_left.wait()
        await settled(service.api, spent(output_tokens))


@pytest.mark.parametrize(("events", "output_tokens"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("how", [Step.RESET, Step.CLOSE, chunk(b"")], ids=["reset", "cut", "end"])
async def test_a_stream_that_the_backend_breaks_off_is_charged_as_far_as_it_told(
    tmp_path: Path, events: list[bytes], output_tokens: int, how: bytes | Step
) -> None:
    async with behind(tmp_path, [HEAD, *events, how]) as (service, _):
        answer = await service.api.call(
            "POST", "/v1/messages", msgspec.json.encode(params(stream=True))
        )
        assert b"message_stop" not in answer.body
        await settled(service.api, spent(output_tokens))


async def test_a_stream_without_any_event_costs_nothing(tmp_path: Path) -> None:
    async with behind(tmp_path, [HEAD, Step.RESET], [HEAD, START, TOLD, STOP, chunk(b"")]) as (
        service, _,
    ):  # fmt: skip
        for _ in range(2):
            await service.api.call("POST", "/v1/messages", msgspec.json.encode(params(stream=True)))
        # The second call is charged behind the first.
        assert await reported(service.api) == {"standard": spent(500)}


# When nothing can be charged


@asynccontextmanager
async def failing(
    tmp_path: Path, clock: MovableClock
) -> AsyncGenerator[tuple[Service, FailingDatabase, Simulator]]:
    settings = settings_for(tmp_path, worker=False)
    script = SimulatorScript(latency=Latency(base_s=LATENCY.total_seconds()))
    backend = Simulator(script, clock=clock)
    database = FailingDatabase(open_database(settings))
    async with serving(settings, clock=clock, backend=backend, database=database) as service:
        yield service, database, backend


async def test_while_nothing_can_be_charged_nothing_is_sent_and_what_was_sent_waits(
    tmp_path: Path, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        failing(tmp_path, clock) as (service, database, backend),
        client_of(service) as client,
    ):
        waiting = [asyncio.create_task(call(client, TEXT)) for call in (created, streamed)]

        async def sent() -> bool:
            return backend.calls == 2

        async def shut() -> bool:
            return "charges cannot be stored" in caplog.text

        await until(sent, what="both calls are sent")
        database.full = True
        clock.advance(LATENCY)
        await until(shut, what="a charge has failed")
        with pytest.raises(anthropic.ServiceUnavailableError, match="was not sent") as refused:
            await created(client, TEXT)
        assert refused.value.response.headers["retry-after"] == "1"
        assert backend.calls == 2
        assert not any(task.done() for task in waiting)
        database.full = False
        usages = await asyncio.gather(*waiting)
        assert await reported(service.api) == {"standard": report_of(usages, STANDARD)}


async def test_what_is_owed_when_a_service_stops_is_still_charged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(tmp_path)
    database = FailingDatabase(open_database(settings))

    async def tried() -> bool:
        # So often that the next try is later than the end.
        return caplog.text.count("charges cannot be stored") == 5

    async with RawServer([HEAD, START, TOLD, Step.RESET]) as server:
        backend = MessagesBackend(url=server.url)
        async with serving(settings, backend=backend, database=database) as service:
            database.full = True
            await service.api.call("POST", "/v1/messages", msgspec.json.encode(params(stream=True)))
            await until(tried, what="charges have failed")
            database.full = False
    async with serving(settings) as service:
        assert await reported(service.api) == {"standard": spent(500)}


CALLER = Spender(workspace_id("one"), None)


@asynccontextmanager
async def at_a_till(
    tmp_path: Path, clock: MovableClock
) -> AsyncGenerator[tuple[RealTime, FailingDatabase]]:
    """Give real-time calls whose charges are not waited for long."""
    settings = settings_for(tmp_path)
    database = FailingDatabase(open_database(settings))
    tariff = Tariff(shelf.open_book(settings.price_book))
    till = Till(database=database, tariff=tariff, clock=clock, patience_s=0.05)
    running = asyncio.create_task(till.run())
    async with wiring.opened(settings, clock, Simulator(clock=clock)) as lanes:
        yield RealTime(lanes, till, clock), database
    await till.close()
    running.cancel()
    await database.close()


def a_call(**more: Any) -> Call:
    return Call(params=msgspec.json.encode(params(TEXT, **more)), api_version="2023-06-01")


async def test_an_answer_that_cannot_be_charged_is_not_given(
    tmp_path: Path, clock: MovableClock
) -> None:
    async with at_a_till(tmp_path, clock) as (realtime, database):
        database.away = True
        with pytest.raises(Unavailable, match="neither given nor charged"):
            await realtime.send(a_call(), MODEL, Need(10, 64), by=CALLER, payment=NOTHING)
        database.away = False


async def test_a_stream_that_cannot_be_charged_ends_with_an_error_instead_of_its_last_event(
    tmp_path: Path, clock: MovableClock
) -> None:
    async with at_a_till(tmp_path, clock) as (realtime, database):
        call = a_call(stream=True)
        events = await realtime.stream(call, MODEL, Need(10, 64), by=CALLER, payment=NOTHING)
        assert not isinstance(events, Failure)
        database.away = True
        stream = b"".join([chunk async for chunk in events])
        database.away = False
    names = [line for line in stream.split(b"\n") if line.startswith(b"event: ")]
    assert names[0] == b"event: message_start" and names[-1] == b"event: error"
    assert b"event: message_stop" not in names
    last = msgspec.json.decode(stream.rpartition(b"data: ")[2])
    assert last["error"]["type"] == "api_error" and "charge" in last["error"]["message"]
