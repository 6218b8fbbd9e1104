"""For whom breakpoints are chosen: by prices, by the backend's cache, by what the caller set."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overnight.dispatch.breakpoints import Mark
from overnight.model import Batch, BatchId, Caching, Counts, Prefix, WorkspaceId
from overnight.pipeline.autocache import AutoCache
from overnight.pipeline.lanes import Cache
from overnight.pipeline.planned import PlannedRequest
from overnight.pricing import shelf

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SONNET, OPUS_4_5 = "claude-sonnet-4-6", "claude-opus-4-5"
MARKED = Caching(marked=True, min_tokens=1_024)
BATCH = Batch(
    id=BatchId("msgbatch_a"),
    workspace_id=WorkspaceId("w"),
    status="in_progress",
    created_at=NOW,
    expires_at=NOW + timedelta(days=1),
    retain_until=NOW + timedelta(days=29),
    api_version="2023-06-01",
    auto_cache=True,
    request_count=1,
    input_key="k",
    input_bytes=1,
    counts=Counts(processing=1),
)
# The first block is what all share.
SHARED = (Mark(0, "5m"),)


def a_request(number: int, model: str, params: Mapping[str, Any], tokens: int) -> PlannedRequest:
    return PlannedRequest(
        custom_id=f"r-{number}",
        params=msgspec.Raw(msgspec.json.encode(params)),
        model=model,
        input_tokens=tokens,
        max_tokens=1,
    )


def marks(
    *,
    caching: Caching = MARKED,
    caches: Sequence[Cache] = (),
    book: str = shelf.DEFAULT,
    model: str = SONNET,
    shared_tokens: int = 2_000,
    params: Mapping[str, Any] | None = None,
    prompt_tokens: tuple[int, ...] = (3_000, 3_000, 3_000),
) -> Mapping[int, tuple[Mark, ...]]:
    """Choose for requests that share a beginning; the first one has these params."""
    found = caches or [Cache(model, caching, 64)]
    auto = AutoCache(book=shelf.open_book(book), caches_of=lambda model: found)
    choice = auto.choice(BATCH)
    for number, tokens in enumerate(prompt_tokens):
        prefixes = [Prefix(1, shared_tokens), Prefix(100 + number, tokens)]
        written = params if params and number == 0 else {}
        request = a_request(number, model, written, tokens)
        if choice.takes(request):
            choice.add(number, request, prefixes, [])
    return choice.marks()


def test_what_all_share_is_marked_in_all() -> None:
    assert marks() == {0: SHARED, 1: SHARED, 2: SHARED}


@pytest.mark.parametrize(
    "caching",
    [
        Caching(),
        Caching(automatic=True, min_tokens=1),
        Caching(marked=True, automatic=True, min_tokens=1),
        Caching(marked=True, min_tokens=2_001),
    ],
)
def test_nothing_is_marked_where_the_backend_needs_no_marks_or_heeds_none(
    caching: Caching,
) -> None:
    assert marks(caching=caching) == {}


def test_nothing_is_marked_without_a_price() -> None:
    assert marks(model=OPUS_4_5) == {}
    assert marks(model=OPUS_4_5, book=shelf.VENDOR_FROZEN) == {0: SHARED, 1: SHARED, 2: SHARED}


def test_each_cache_of_a_model_is_written_into() -> None:
    two = [Cache(SONNET, MARKED, 64)] * 2
    # 5 × (1.50 - 0.30) < 2 × (3.75 - 0.30) < 6 × (1.50 - 0.30)
    assert marks(caches=two, prompt_tokens=(3_000,) * 5) == {}
    assert len(marks(caches=two, prompt_tokens=(3_000,) * 6)) == 6


@pytest.mark.parametrize(
    "other",
    [
        Cache(SONNET, Caching(marked=True, automatic=True, min_tokens=32), 64),
        Cache(SONNET, Caching(), 64),
        Cache("claude-haiku-4-5", MARKED, 64),
        Cache("qwen3-32b", MARKED, 64),
    ],
)
def test_nothing_is_marked_where_backends_of_a_model_differ_in_price_or_cache(other: Cache) -> None:
    both = [Cache(SONNET, MARKED, 64), other]
    assert marks(caches=both, prompt_tokens=(3_000,) * 20) == {}


@pytest.mark.parametrize("caches", [[], [Cache("qwen3-32b", MARKED, 64)]])
def test_what_a_backend_calls_the_model_decides_about_its_price(caches: list[Cache]) -> None:
    auto = AutoCache(book=shelf.open_book(shelf.DEFAULT), caches_of=lambda model: caches)
    choice = auto.choice(BATCH)
    assert not choice.takes(a_request(0, SONNET, {}, 3_000))
    assert choice.marks() == {}


@pytest.mark.parametrize(
    "params",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"messages": [{"content": [{"content": [{"cache_control": {"type": "ephemeral"}}]}]}]},
    ],
)
def test_a_request_with_a_breakpoint_of_its_caller_is_left_alone(params: dict[str, Any]) -> None:
    four = (3_000,) * 4
    assert marks(params=params, prompt_tokens=four) == {1: SHARED, 2: SHARED, 3: SHARED}
    # Nor does it count among those that would read.
    assert marks(params=params) == {}


def test_a_mark_that_is_spelled_with_escapes_is_one() -> None:
    cache = Cache(SONNET, MARKED, 64)
    auto = AutoCache(book=shelf.open_book(shelf.DEFAULT), caches_of=lambda model: [cache])
    choice = auto.choice(BATCH)
    for number in range(4):
        request = a_request(number, SONNET, {}, 3_000)
        assert choice.takes(request)
        choice.add(number, request, [Prefix(1, 2_000, 300 if number == 0 else 0)], [])
    assert choice.marks() == {1: SHARED, 2: SHARED, 3: SHARED}


def test_a_prompt_that_is_too_short_as_a_whole_is_not_looked_at() -> None:
    cache = Cache(SONNET, MARKED, 64)
    auto = AutoCache(book=shelf.open_book(shelf.DEFAULT), caches_of=lambda model: [cache])
    choice = auto.choice(BATCH)
    assert not choice.takes(a_request(0, SONNET, {}, 1_023))
    assert choice.takes(a_request(1, SONNET, {}, 1_024))


def test_a_text_about_breakpoints_is_none() -> None:
    params = {"messages": [{"role": "user", "content": 'What is "cache_control"?'}]}
    assert marks(params=params) == {0: SHARED, 1: SHARED, 2: SHARED}


BOOK = """\
name = "steps"
dated = 2026-11-01
[source]
title = "a test"
read = 2026-11-01
[rules.cache]
write_5m = 1.25
write_1h = 2
read = 0.1
[rules.batch]
factor = 0.5
applies_to = ["input", "output"]
[[models]]
id = "claude-sonnet-4-6"
[[models.prices]]
from = 2026-01-01
input = 1
output = 5
[models.prices.long_prompt]
over_tokens = 5_000
input = 2
output = 5
"""


@pytest.mark.parametrize(
    ("lengths", "chosen"),
    [
        ((3_000, 4_000, 5_000), True),
        ((6_000, 7_000, 8_000), True),
        # Who writes may pay twice what those save who read.
        ((3_000, 4_000, 6_000), False),
    ],
)
def test_nothing_is_marked_where_some_prompts_have_another_price_for_their_length(
    tmp_path: Path, lengths: tuple[int, ...], chosen: bool
) -> None:
    (tmp_path / "steps.toml").write_text(BOOK, encoding="utf-8")
    found = marks(book=str(tmp_path / "steps.toml"), prompt_tokens=lengths)
    assert bool(found) == chosen
