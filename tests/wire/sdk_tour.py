"""Everything a caller does with batches, through whichever anthropic SDK runs this file.

Usage: sdk_tour.py, with ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY set. Says what it did, one line
for each namespace; ends with a traceback at the first thing that is not as it must be.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anthropic

COUNT = 7
_PARAMS: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 32,
    "messages": [{"role": "user", "content": "Summarize: the night is long."}],
}
_POLL_S = 0.02


def main() -> None:
    client = anthropic.Anthropic(max_retries=0)
    for name, batches in (
        ("messages.batches", client.messages.batches),
        ("beta.messages.batches", client.beta.messages.batches),
    ):
        tour(batches)
        print(f"anthropic {anthropic.__version__}: toured {name}")
    strangers = anthropic.Anthropic(api_key="sk-wrong", max_retries=0).messages.batches
    refused(anthropic.AuthenticationError, 401, lambda: strangers.list())


def tour(batches: Any) -> None:
    created = [batches.create(requests=[row("a"), row("b", max_tokens=0)]) for _ in range(COUNT)]
    batch = created[0]
    assert batch.type == "message_batch" and batch.results_url is None
    assert batch.request_counts.processing == 2
    lifetime = batch.expires_at - batch.created_at
    assert lifetime.total_seconds() == 86_400, lifetime
    ended = [until_ended(batches, one.id) for one in created]
    for one in ended:
        counts = one.request_counts
        assert (counts.processing, counts.succeeded, counts.errored) == (0, 1, 1), counts
        assert one.results_url.endswith(f"/v1/messages/batches/{one.id}/results")
    read_results(batches, batch.id)
    page_through(batches, [one.id for one in created])
    cancel_one(batches)
    delete_all(batches, [one.id for one in created])
    refused(anthropic.BadRequestError, 400, lambda: batches.create(requests=[row("a"), row("a")]))


def row(custom_id: str, **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": {**_PARAMS, **params}}


def until_ended(batches: Any, batch_id: str) -> Any:
    while (batch := batches.retrieve(batch_id)).processing_status != "ended":
        time.sleep(_POLL_S)
    return batch


def read_results(batches: Any, batch_id: str) -> None:
    lines = {line.custom_id: line.result for line in batches.results(batch_id)}
    assert sorted(lines) == ["a", "b"]
    message = lines["a"].message
    assert message.content[0].text and message.usage.service_tier == "batch"
    assert message.model == "claude-haiku-4-5-20251001"
    error = lines["b"].error
    assert error.type == "error" and error.error.type == "invalid_request_error"
    assert error.error.message == "max_tokens: must be greater than or equal to 1"


def page_through(batches: Any, oldest_first: list[str]) -> None:
    newest_first = oldest_first[::-1]
    forward = [batch.id for batch in batches.list(limit=2)]
    assert [i for i in forward if i in newest_first] == newest_first
    page = batches.list(limit=2, before_id=newest_first[-1])
    assert [batch.id for batch in page.data] == newest_first[-3:-1]
    # Auto-paging to newer ones gives page after page, each newest first.
    backward = [batch.id for batch in batches.list(limit=2, before_id=newest_first[-1])]
    assert sorted(backward) == sorted(newest_first[:-1])
    rest = [batch.id for batch in batches.list(limit=3, after_id=newest_first[2])]
    assert rest[: COUNT - 3] == newest_first[3:]


def cancel_one(batches: Any) -> None:
    held = batches.create(requests=[row(f"held-{n}") for n in range(3)])
    not_ready(batches, held.id)
    canceling = batches.cancel(held.id)
    assert canceling.cancel_initiated_at is not None
    refused(anthropic.BadRequestError, 400, lambda: batches.delete(held.id))
    ended = until_ended(batches, held.id)
    counts = ended.request_counts
    assert counts.succeeded + counts.canceled == 3, counts
    assert len(list(batches.results(held.id))) == 3
    batches.delete(held.id)


def delete_all(batches: Any, ids: list[str]) -> None:
    for batch_id in ids:
        deleted = batches.delete(batch_id)
        assert (deleted.id, deleted.type) == (batch_id, "message_batch_deleted")
        refused(anthropic.NotFoundError, 404, partial(batches.retrieve, batch_id))
    assert not {batch.id for batch in batches.list()} & set(ids)


def not_ready(batches: Any, batch_id: str) -> None:
    """See that the SDK itself refuses to download: `results_url` is null."""
    try:
        batches.results(batch_id)
    except anthropic.AnthropicError as error:
        assert "results_url" in str(error), error
    else:
        raise AssertionError("results of a running batch")


def refused(kind: type[anthropic.APIStatusError], status: int, call: Callable[[], object]) -> None:
    try:
        call()
    except kind as error:
        body: Any = error.body
        assert error.status_code == status, error
        assert error.request_id is not None and error.request_id.startswith("req_")
        assert body["type"] == "error" and body["request_id"] == error.request_id, body
    else:
        raise AssertionError(f"no {kind.__name__}")


if __name__ == "__main__":
    main()
