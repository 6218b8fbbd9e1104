"""The real-time endpoints, called by the official SDK, over both backends."""

import asyncio
import gzip
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message
from tests.conformance.backend import IMPLEMENTATIONS
from tests.raw_server import Answer, RawServer, Step, answer, chunk, chunked_head
from tests.support.api import MODEL, params
from tests.support.service import Service, serving, settings_for

from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import SimulatorScript
from overnight.backends.simulator.script import Rule, Status

SCRIPT = SimulatorScript(
    rules=(
        Rule(model="claude-opus-4-8", fault=Status(status=529)),
        Rule(model="claude-sonnet-4-6", fault=Status(status=429, retry_after_s=3.0)),
    )
)


@pytest.fixture(params=IMPLEMENTATIONS)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    """The service over one of the backends."""
    async with (
        IMPLEMENTATIONS[request.param](SCRIPT) as backend,
        serving(settings_for(tmp_path), backend=backend) as running,
    ):
        yield running


@pytest.fixture
async def client(service: Service) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=service.base_url, api_key="k", max_retries=0) as opened:
        yield opened


@asynccontextmanager
async def client_of(tmp_path: Path, *steps: Answer) -> AsyncGenerator[AsyncAnthropic, None]:
    """Open a client of a service whose backend gives these answers."""
    async with RawServer(*steps) as server:
        backend = MessagesBackend(url=server.url)
        async with (
            serving(settings_for(tmp_path), backend=backend) as running,
            AsyncAnthropic(base_url=running.base_url, api_key="k", max_retries=0) as opened,
        ):
            yield opened


async def created(client: AsyncAnthropic, **changes: Any) -> Message:
    """Create a message, without streaming."""
    message: Message = await client.messages.create(**params(**changes), stream=False)
    return message


async def test_a_message_is_answered(client: AsyncAnthropic) -> None:
    message = await created(client)
    assert message.type == "message"
    assert message.model.startswith(MODEL)
    assert message.usage.output_tokens > 0


async def test_each_answer_has_a_request_id(client: AsyncAnthropic) -> None:
    answered = await client.messages.with_raw_response.create(**params(), stream=False)
    assert str(answered.headers["request-id"]).startswith("req_")


async def test_a_message_is_answered_to_the_sync_sdk(service: Service) -> None:
    def create() -> Message:
        with Anthropic(base_url=service.base_url, api_key="k", max_retries=0) as opened:
            message: Message = opened.messages.create(**params(), stream=False)
            return message

    message = await asyncio.to_thread(create)
    assert message.content[0].type == "text"


async def test_a_stream_adds_up_to_the_message(client: AsyncAnthropic) -> None:
    async with client.messages.stream(**params()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert final.content[0].type == "text"
    assert text == final.content[0].text
    assert final.stop_reason is not None
    assert final.usage.output_tokens > 0


async def test_a_stream_reaches_the_sync_sdk(service: Service) -> None:
    def collect() -> str:
        with (
            Anthropic(base_url=service.base_url, api_key="k", max_retries=0) as opened,
            opened.messages.stream(**params()) as stream,
        ):
            return "".join(stream.text_stream)

    assert await asyncio.to_thread(collect)


async def test_tokens_are_counted(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=params()["messages"])
    message = await created(client)
    assert counted.input_tokens == message.usage.input_tokens


async def test_a_gzip_body_is_understood(client: AsyncAnthropic) -> None:
    answered = await client.post(
        "/v1/messages",
        cast_to=Message,
        content=gzip.compress(json.dumps(params()).encode()),
        options={"headers": {"content-encoding": "gzip", "content-type": "application/json"}},
    )
    assert answered.model.startswith(MODEL)


async def test_a_warming_call_without_output_may_pass(client: AsyncAnthropic) -> None:
    message = await created(client, max_tokens=0)
    assert message.usage.output_tokens == 0


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": []}, "messages: at least one message is required"),
        ({"extra_body": {"temperature": 1.0}}, "temperature"),
        ({"extra_body": {"nonsense": 1}}, "nonsense: Extra inputs are not permitted"),
    ],
)
async def test_params_are_checked_as_in_a_batch(
    client: AsyncAnthropic, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(**params(**changes))
    assert refused.value.type == "invalid_request_error"
    assert refused.value.api_message is not None
    assert refused.value.api_message.startswith(message)


async def test_the_older_version_still_takes_sampling_parameters(client: AsyncAnthropic) -> None:
    message = await created(
        client,
        extra_body={"temperature": 1.0},
        extra_headers={"anthropic-version": "2023-06-01"},
    )
    assert message.type == "message"


async def test_count_tokens_is_checked_too(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="messages: at least one message"):
        await client.messages.count_tokens(model=MODEL, messages=[])


async def test_an_unknown_version_is_refused(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="is not a valid version"):
        await client.messages.create(**params(), extra_headers={"anthropic-version": "1999-01-01"})


async def test_a_body_that_is_no_json_is_refused(service: Service) -> None:
    refused = await service.api.call("POST", "/v1/messages", b'{"model": ')
    assert refused.status == 400
    assert refused.error["message"].startswith("The request body is not valid JSON")


async def test_an_unknown_model_is_not_found(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        await client.messages.create(**params(model="claude-unknown-9"))
    assert missing.value.api_message == "model: claude-unknown-9"


async def test_an_overloaded_backend_is_named_so(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.OverloadedError) as overloaded:
        await client.messages.create(**params(model="claude-opus-4-8"))
    assert overloaded.value.type == "overloaded_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rate_limit_of_the_backend_keeps_its_pause(
    client: AsyncAnthropic, stream: bool
) -> None:
    with pytest.raises(anthropic.RateLimitError) as limited:
        await client.messages.create(**params(model="claude-sonnet-4-6"), stream=stream)
    assert limited.value.response.headers["retry-after"] == "3"


async def test_a_body_above_32_mb_is_refused_with_the_limit(client: AsyncAnthropic) -> None:
    content = secrets.token_hex(17 * 1024 * 1024)
    with pytest.raises(anthropic.ContentTooLargeError) as refused:
        await client.messages.create(
            model=MODEL, max_tokens=8, messages=[{"role": "user", "content": content}]
        )
    assert str(refused.value.type) == "request_too_large"
    assert "at most 33554432 bytes" in str(refused.value.api_message)


# Backends that fail


async def test_a_broken_backend_is_a_bad_gateway(tmp_path: Path) -> None:
    async with client_of(tmp_path, [Step.RESET]) as client:
        with pytest.raises(anthropic.InternalServerError) as failed:
            await client.messages.create(**params())
    assert (failed.value.status_code, failed.value.type) == (502, "api_error")


async def test_a_backend_that_is_down_is_unavailable(tmp_path: Path) -> None:
    async with RawServer([]) as server:
        pass
    async with (
        serving(settings_for(tmp_path), backend=MessagesBackend(url=server.url)) as running,
        AsyncAnthropic(base_url=running.base_url, api_key="k", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.ServiceUnavailableError, match="cannot be reached"):
            await client.messages.create(**params())


async def test_a_backend_that_cannot_count_says_so(tmp_path: Path) -> None:
    async with client_of(tmp_path, [answer(b"404 page not found", status=404)]) as client:
        with pytest.raises(anthropic.NotFoundError, match="cannot count tokens"):
            await client.messages.count_tokens(model=MODEL, messages=params()["messages"])


async def test_a_stream_that_breaks_raises_in_the_sdk(tmp_path: Path) -> None:
    start = b'{"type":"message_start","message":{"id":"m","type":"message","content":[]}}'
    event = b"event: message_start\ndata: " + start + b"\n\n"
    head = chunked_head("text/event-stream")
    async with client_of(tmp_path, [head, chunk(event), Step.RESET]) as client:
        with pytest.raises(anthropic.APIStatusError, match="broke before its answer was whole"):
            async for _ in await client.messages.create(**params(), stream=True):
                pass


async def test_a_client_that_leaves_a_stream_ends_the_call_to_the_backend(tmp_path: Path) -> None:
    event = b'event: ping\ndata: {"type":"ping"}\n\n'
    head = chunked_head("text/event-stream")
    async with RawServer([head, chunk(event), Step.HANG]) as server:
        backend = MessagesBackend(url=server.url)
        async with serving(settings_for(tmp_path), backend=backend) as running:
            async with AsyncAnthropic(base_url=running.base_url, api_key="k") as client:
                stream = await client.messages.create(**params(), stream=True)
                await stream.close()
            await server.client_left.wait()


# Models


async def test_models_are_listed_page_by_page(client: AsyncAnthropic) -> None:
    whole = await client.models.list(limit=1000)
    assert len(whole.data) > 3
    assert not whole.has_more
    paged = [model async for model in client.models.list(limit=2)]
    assert paged == whole.data
    assert all(model.capabilities and model.capabilities.batch for model in whole.data)


async def test_a_page_before_a_cursor_is_the_one_next_to_it(client: AsyncAnthropic) -> None:
    ids = [model.id for model in (await client.models.list(limit=1000)).data]
    before = await client.models.list(before_id=ids[3], limit=2)
    assert [model.id for model in before.data] == ids[1:3]
    assert before.has_more
    first = await client.models.list(before_id=ids[1], limit=2)
    assert [model.id for model in first.data] == ids[:1]
    assert not first.has_more


async def test_a_page_behind_the_last_model_is_empty(client: AsyncAnthropic) -> None:
    last = (await client.models.list(limit=1000)).last_id
    page = await client.models.list(after_id=str(last))
    assert (page.data, page.has_more, page.first_id, page.last_id) == ([], False, None, None)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"limit": 1001}, "limit: Input should be less than or equal to 1000"),
        ({"after_id": "nope"}, "after_id: no model 'nope' in this list; take an id from `data`"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(
    client: AsyncAnthropic, query: dict[str, Any], message: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.models.list(**query)
    assert refused.value.api_message == message


async def test_one_model_is_found_by_id_and_by_alias(client: AsyncAnthropic) -> None:
    first = (await client.models.list()).data[0]
    assert await client.models.retrieve(first.id) == first
    assert (await client.models.retrieve(MODEL)).id.startswith(MODEL)


async def test_an_unknown_model_cannot_be_retrieved(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        await client.models.retrieve("nope")
    assert missing.value.api_message == "model: nope"


async def test_a_model_id_may_hold_slashes(tmp_path: Path) -> None:
    body = b'{"object":"list","data":[{"id":"Qwen/Qwen3-8B","created":1700000000}]}'
    async with client_of(tmp_path, [answer(body)]) as client:
        assert (await client.models.retrieve("Qwen/Qwen3-8B")).id == "Qwen/Qwen3-8B"
