"""The official Python SDK 2.x as a client, sync and async, against a running service."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from datetime import timedelta
from typing import Any, Literal

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types.messages import MessageBatch
from anthropic.types.messages.batch_create_params import Request
from tests.wire.caller import until
from tests.wire.conftest import NewCaller, ServeWith
from tests.wire.served import HELD_S, Served

_COUNT = 5
_POLL_S = 0.01


def _request(custom_id: str, *, max_tokens: int = 32) -> Request:
    return {
        "custom_id": custom_id,
        "params": {
            "model": "claude-sonnet-4-6",
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": "Summarize: the night is long."}],
        },
    }


@pytest.fixture
def client(served: Served, new_caller: NewCaller) -> Generator[Anthropic]:
    key = new_caller().key
    with Anthropic(base_url=served.url, api_key=key) as sdk:
        yield sdk
    served.advance(HELD_S)


@pytest.fixture
async def async_client(served: Served, new_caller: NewCaller) -> AsyncGenerator[AsyncAnthropic]:
    key = new_caller().key
    async with AsyncAnthropic(base_url=served.url, api_key=key) as sdk:
        yield sdk


def _ended(client: Anthropic, batch_id: str) -> MessageBatch:
    batches = client.messages.batches
    until(lambda: batches.retrieve(batch_id).processing_status == "ended", what="the end")
    return batches.retrieve(batch_id)


def test_a_created_batch_has_typed_fields_and_no_others(client: Anthropic) -> None:
    batch = client.messages.batches.create(requests=[_request("held")])
    assert batch.expires_at - batch.created_at == timedelta(days=1)
    assert batch.created_at.utcoffset() == timedelta(0)
    assert batch.ended_at is batch.archived_at is batch.cancel_initiated_at is None
    assert batch.model_extra == {} and batch.request_counts.model_extra == {}
    assert batch._request_id is not None and batch._request_id.startswith("req_")


def test_results_are_typed(client: Anthropic) -> None:
    created = client.messages.batches.create(
        requests=[_request("good"), _request("bad", max_tokens=0)]
    )
    _ended(client, created.id)
    results = {line.custom_id: line.result for line in client.messages.batches.results(created.id)}
    good, bad = results["good"], results["bad"]
    assert good.type == "succeeded"
    assert good.message.content[0].type == "text"
    assert good.message.usage.service_tier == "batch"
    assert good.message.usage.cache_creation is not None
    assert bad.type == "errored"
    assert bad.error.error.type == "invalid_request_error"
    assert bad.error.request_id is None


def test_the_beta_namespace_sees_the_same_batches(client: Anthropic) -> None:
    same: list[Any] = [_request("a")]
    created = client.beta.messages.batches.create(requests=same, betas=["a-2026-01-01"])
    _ended(client, created.id)
    beta = client.beta.messages.batches
    assert beta.retrieve(created.id).model_dump() == (
        client.messages.batches.retrieve(created.id).model_dump()
    )
    assert [line.custom_id for line in beta.results(created.id)] == ["a"]
    assert [batch.id for batch in beta.list()] == [created.id]
    assert beta.delete(created.id).type == "message_batch_deleted"


def test_auto_paging_gives_each_batch_once_in_both_directions(
    client: Anthropic, served: Served
) -> None:
    ids: list[str] = []
    for _ in range(_COUNT):
        ids.append(client.messages.batches.create(requests=[_request("a")]).id)
        served.advance(0.001)
    batches = client.messages.batches
    assert [batch.id for batch in batches.list(limit=2)] == ids[::-1]
    newer = list(batches.list(limit=2, before_id=ids[0]).iter_pages())
    assert [[batch.id for batch in page.data] for page in newer] == [
        [ids[2], ids[1]],
        [ids[4], ids[3]],
    ]
    assert [page.has_more for page in newer] == [True, False]


def test_a_raw_response_shows_the_headers(client: Anthropic, served: Served) -> None:
    batches = client.messages.batches
    batch = batches.create(requests=[_request("held")])
    running = batches.with_raw_response.retrieve(batch.id)
    assert running.headers["retry-after"] == "10"
    assert running.headers["request-id"].startswith("req_011C")
    assert running.parse() == batch
    served.sending(1)
    served.advance(HELD_S)
    _ended(client, batch.id)
    ended = batches.with_raw_response.retrieve(batch.id)
    assert "retry-after" not in ended.headers
    with batches.with_streaming_response.results(batch.id) as stream:
        assert stream.headers["content-type"] == "application/x-jsonl"


def test_cancel_then_results(client: Anthropic, served: Served) -> None:
    batches = client.messages.batches
    batch = batches.create(requests=[_request("held")])
    served.sending(1)
    canceling = batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    served.advance(HELD_S)
    assert _ended(client, batch.id).request_counts.succeeded == 1
    assert [line.custom_id for line in batches.results(batch.id)] == ["held"]


def test_results_of_a_running_batch_are_refused_by_the_sdk_itself(client: Anthropic) -> None:
    batch = client.messages.batches.create(requests=[_request("held")])
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        client.messages.batches.results(batch.id)


def test_automatic_caching_is_switched_on_by_a_header(client: Anthropic) -> None:
    system = "You are exact. " * 800
    rows: list[Request] = [_request(f"doc-{number}") for number in range(4)]
    for row in rows:
        row["params"]["system"] = system
    batches = client.messages.batches
    plain = _ended(client, batches.create(requests=rows).id)
    cached = _ended(
        client,
        batches.create(requests=rows, extra_headers={"overnight-auto-cache": "true"}).id,
    )
    reads = {
        batch.id: [
            line.result.message.usage.cache_read_input_tokens or 0
            for line in batches.results(batch.id)
            if line.result.type == "succeeded"
        ]
        for batch in (plain, cached)
    }
    assert reads[plain.id] == [0, 0, 0, 0]
    assert sum(tokens > 3_000 for tokens in reads[cached.id]) == 3
    with pytest.raises(anthropic.BadRequestError, match='overnight-auto-cache: "1"'):
        batches.create(requests=rows, extra_headers={"overnight-auto-cache": "1"})


_Case = tuple[
    Literal["create", "retrieve", "cancel", "delete", "results", "list"],
    dict[str, Any],
    type[anthropic.APIStatusError],
    str,
]
_UNKNOWN = "msgbatch_01nothing"
_REFUSALS: dict[str, _Case] = {
    "envelope": (
        "create",
        {"requests": [_request("a b")]},
        anthropic.BadRequestError,
        "invalid_request_error",
    ),
    "no requests": (
        "create",
        {"requests": []},
        anthropic.BadRequestError,
        "invalid_request_error",
    ),
    "limit": ("list", {"limit": 1001}, anthropic.BadRequestError, "invalid_request_error"),
    "unknown": (
        "retrieve",
        {"message_batch_id": _UNKNOWN},
        anthropic.NotFoundError,
        "not_found_error",
    ),
    "unknown cancel": (
        "cancel",
        {"message_batch_id": _UNKNOWN},
        anthropic.NotFoundError,
        "not_found_error",
    ),
    "unknown delete": (
        "delete",
        {"message_batch_id": _UNKNOWN},
        anthropic.NotFoundError,
        "not_found_error",
    ),
    "unknown results": (
        "results",
        {"message_batch_id": _UNKNOWN},
        anthropic.NotFoundError,
        "not_found_error",
    ),
    "other workspace": (
        "list",
        {"extra_headers": {"anthropic-workspace-id": "wrkspc_01other"}},
        anthropic.PermissionDeniedError,
        "permission_error",
    ),
    "wrong version": (
        "list",
        {"extra_headers": {"anthropic-version": "1999-01-01"}},
        anthropic.BadRequestError,
        "invalid_request_error",
    ),
}


@pytest.mark.parametrize("name", _REFUSALS)
def test_a_refusal_becomes_the_right_error_and_is_not_tried_again(
    client: Anthropic, name: str
) -> None:
    call, arguments, kind, wire_type = _REFUSALS[name]
    with pytest.raises(kind) as caught:
        getattr(client.messages.batches, call)(**arguments)
    error = caught.value
    assert type(error) is kind
    assert error.type == wire_type
    assert error.request_id is not None and error.request_id.startswith("req_")
    assert error.request_id == error.response.json()["request_id"]
    assert error.response.request.headers["x-stainless-retry-count"] == "0"


def test_errors_of_a_known_caller_name_its_workspace(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.batches.retrieve(_UNKNOWN)
    workspace = caught.value.workspace_id
    assert workspace is not None and workspace.startswith("wrkspc_01")


def test_a_wrong_key_is_an_authentication_error(served: Served) -> None:
    with (
        Anthropic(base_url=served.url, api_key="sk-wrong") as stranger,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        stranger.messages.batches.list()
    assert caught.value.request_id is not None and caught.value.workspace_id is None


def test_a_body_above_the_limit_is_a_content_too_large_error(serve_with: ServeWith) -> None:
    served = serve_with(max_batch_bytes=1024)
    requests = [_request(f"doc-{n}") for n in range(20)]
    with (
        Anthropic(base_url=served.url, api_key="not-needed") as client,
        pytest.raises(anthropic.ContentTooLargeError) as caught,
    ):
        client.messages.batches.create(requests=requests)
    assert caught.value.request_id is not None


def test_an_sdk_under_a_path_prefix_finds_everything(serve_with: ServeWith) -> None:
    served = serve_with(public_url="http://127.0.0.1:1/prefix")
    with Anthropic(base_url=f"{served.url}/prefix", api_key="not-needed") as client:
        batch = client.messages.batches.create(requests=[_request("a")])
        ended = _ended(client, batch.id)
        url = f"http://127.0.0.1:1/prefix/v1/messages/batches/{batch.id}/results"
        assert ended.results_url == url
        assert [found.id for found in client.messages.batches.list()] == [batch.id]


async def test_the_async_client_can_do_everything(async_client: AsyncAnthropic) -> None:
    batches = async_client.messages.batches
    created = [await batches.create(requests=[_request("a")]) for _ in range(_COUNT)]
    for one in created:
        while (await batches.retrieve(one.id)).processing_status != "ended":
            await asyncio.sleep(_POLL_S)
        results = [line.custom_id async for line in await batches.results(one.id)]
        assert results == ["a"]
    listed = [batch.id async for batch in batches.list(limit=2)]
    assert sorted(listed) == sorted(one.id for one in created)
    oldest = listed[-1]
    newer = [batch.id async for batch in batches.list(limit=2, before_id=oldest)]
    assert sorted(newer) == sorted(listed[:-1])
    for one in created:
        assert (await batches.delete(one.id)).id == one.id
        with pytest.raises(anthropic.NotFoundError):
            await batches.retrieve(one.id)
    held = await batches.create(requests=[_request("held")])
    canceled = await batches.cancel(held.id)
    assert canceled.cancel_initiated_at is not None
    with pytest.raises(anthropic.AuthenticationError):
        await async_client.with_options(api_key="sk-wrong").messages.batches.list()
