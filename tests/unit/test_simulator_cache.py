"""The simulator's prompt cache: what is written, what is read, and for how long."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.cache import PromptCache
from overnight.backends.simulator.script import Latency, Rule, Status
from overnight.clock import MovableClock
from overnight.model import Call, Failure, Reply, Usage
from overnight.tokens import prompt_tokens

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
MODEL = "claude-sonnet-4-6"  # shortest cacheable prefix: 1024 tokens
LONG = "The quick brown fox. " * 250


def text(words: str, *, ttl: str | None = None) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": words}
    return block | ({"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {})


def params(*, question: str = "Why?", ttl: str | None = "5m", **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 100,
        "system": [text(LONG, ttl=ttl)],
        "messages": [{"role": "user", "content": question}],
    }
    return plain | changes


def call(request: dict[str, Any]) -> Call:
    return Call(params=msgspec.json.encode(request), api_version="2026-10-21")


class Harness:
    """A simulator on a clock that only the test moves."""

    def __init__(self, script: SimulatorScript | None = None) -> None:
        self.clock = MovableClock(START)
        self.simulator = Simulator(script, clock=self.clock)

    async def usage(self, **changes: Any) -> Usage:
        reply = await self.simulator.send(call(params(**changes)))
        assert isinstance(reply, Reply), reply
        return reply.usage

    def advance(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))


async def settle() -> None:
    """Let every task run until it waits for the clock."""
    for _ in range(10):
        await asyncio.sleep(0)


def written(usage: Usage) -> int:
    return usage.cache_write_5m_tokens + usage.cache_write_1h_tokens


async def test_the_first_request_writes_and_the_next_one_reads() -> None:
    harness = Harness()
    first = await harness.usage(question="Who?")
    second = await harness.usage(question="Where?")
    assert first.cache_write_5m_tokens > 1024
    assert (first.cache_read_tokens, first.cache_write_1h_tokens) == (0, 0)
    assert second.cache_read_tokens == first.cache_write_5m_tokens
    assert written(second) == 0


async def test_all_input_is_counted_in_exactly_one_class() -> None:
    harness = Harness()
    total = prompt_tokens(params())
    for usage in (await harness.usage(), await harness.usage()):
        assert usage.input_tokens + written(usage) + usage.cache_read_tokens == total


async def test_a_prompt_without_a_mark_is_never_cached() -> None:
    harness = Harness()
    await harness.usage()
    usage = await harness.usage(ttl=None)
    assert (usage.cache_read_tokens, written(usage)) == (0, 0)


@pytest.mark.parametrize(("ttl", "minutes"), [("5m", 5), ("1h", 60)])
async def test_an_entry_lives_for_its_ttl_from_the_start_of_the_request(
    ttl: str, minutes: int
) -> None:
    harness = Harness()
    await harness.usage(ttl=ttl)
    harness.advance(minutes=minutes)
    late = await harness.usage(ttl=ttl)
    assert late.cache_read_tokens == 0 and written(late) > 0


@pytest.mark.parametrize(("ttl", "minutes"), [("5m", 4.9), ("1h", 59)])
async def test_each_read_lets_an_entry_live_on(ttl: str, minutes: float) -> None:
    harness = Harness()
    await harness.usage(ttl=ttl)
    for _ in range(3):
        harness.advance(minutes=minutes)
        assert (await harness.usage(ttl=ttl)).cache_read_tokens > 0


async def test_requests_in_flight_together_each_write_until_the_first_answer_begins() -> None:
    harness = Harness(SimulatorScript(latency=Latency(base_s=2, per_output_token_s=1)))
    together = [asyncio.create_task(harness.usage(question=str(n))) for n in range(3)]
    await settle()
    harness.advance(seconds=2)
    await settle()
    follower = asyncio.create_task(harness.usage(question="after the first byte"))
    await settle()
    harness.advance(seconds=2)
    await settle()
    harness.advance(minutes=5)
    for task in together:
        assert written(await task) > 0
    assert (await follower).cache_read_tokens > 0


async def test_a_request_before_the_first_byte_of_the_writer_reads_nothing() -> None:
    harness = Harness(SimulatorScript(latency=Latency(base_s=2)))
    writer = harness.simulator.begin(call(params()))
    early = harness.simulator.begin(call(params()))
    assert early.usage.cache_read_tokens == 0
    beginning = asyncio.create_task(harness.simulator.first_byte(writer))
    await settle()
    harness.advance(seconds=2)
    await beginning
    assert harness.simulator.begin(call(params())).usage.cache_read_tokens > 0


async def test_a_request_that_failed_leaves_nothing_in_the_cache() -> None:
    rule = Rule(fault=Status(status=500), until_call=1)
    harness = Harness(SimulatorScript(rules=(rule,)))
    assert isinstance(await harness.simulator.send(call(params())), Failure)
    assert (await harness.usage()).cache_read_tokens == 0


@pytest.mark.parametrize(
    ("model", "minimum"),
    [("claude-opus-5", 512), (MODEL, 1024), ("claude-opus-4-7", 2048), ("claude-haiku-4-5", 4096)],
)
async def test_a_prefix_shorter_than_the_models_minimum_is_silently_not_cached(
    model: str, minimum: int
) -> None:
    harness = Harness()
    # A system prompt costs four tokens by itself.
    exact = [text("abcd" * (minimum - 4), ttl="5m")]
    short = [text("abcd" * (minimum - 5), ttl="5m")]
    assert written(await harness.usage(model=model, system=exact)) == minimum
    assert written(await harness.usage(model=model, system=short)) == 0
    again = await harness.usage(model=model, system=short)
    assert (again.cache_read_tokens, written(again)) == (0, 0)


async def test_models_share_no_entries_but_an_alias_is_its_model() -> None:
    harness = Harness()
    system = [text(LONG * 4, ttl="5m")]
    await harness.usage(model="claude-haiku-4-5", system=system)
    other = await harness.usage(model=MODEL, system=system)
    full_id = await harness.usage(model="claude-haiku-4-5-20251001", system=system)
    assert other.cache_read_tokens == 0
    assert full_id.cache_read_tokens > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"system": [text(LONG + ".", ttl="5m")]},
        {"system": [text("First. "), text(LONG, ttl="5m")]},
        {"tools": [{"name": "find", "input_schema": {"type": "object"}}]},
    ],
    ids=["another text", "a block before", "a tool before"],
)
async def test_one_changed_byte_before_the_mark_is_another_prefix(changes: dict[str, Any]) -> None:
    harness = Harness()
    await harness.usage()
    assert (await harness.usage(**changes)).cache_read_tokens == 0


async def test_a_forced_tool_changes_the_messages_but_not_tools_and_system() -> None:
    harness = Harness()
    tools = [{"name": "find", "input_schema": {"type": "object"}}]
    content = [text(LONG, ttl="5m")]
    asked: dict[str, Any] = {"tools": tools, "messages": [{"role": "user", "content": content}]}
    first = await harness.usage(**asked)
    forced = await harness.usage(**asked, tool_choice={"type": "any"})
    assert 0 < forced.cache_read_tokens < written(first)


async def test_a_text_and_its_one_block_form_are_the_same_prompt() -> None:
    harness = Harness()
    control = {"type": "ephemeral"}
    await harness.usage(ttl=None, cache_control=control)
    usage = await harness.usage(
        ttl=None,
        cache_control=control,
        messages=[{"role": "user", "content": [{"type": "text", "text": "Why?"}]}],
    )
    assert usage.cache_read_tokens == prompt_tokens(params())


async def test_the_automatic_mark_stands_on_the_last_block() -> None:
    harness = Harness()
    usage = await harness.usage(ttl=None, cache_control={"type": "ephemeral", "ttl": "1h"})
    assert usage.cache_write_1h_tokens == prompt_tokens(params())
    assert usage.input_tokens == 0


async def test_a_conversation_that_grows_reads_what_it_wrote_before() -> None:
    harness = Harness()
    history: list[dict[str, Any]] = [{"role": "user", "content": [text(LONG, ttl="5m")]}]
    first = await harness.usage(ttl=None, messages=history)
    history[0]["content"][0].pop("cache_control")
    history += [
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": [text("And then?", ttl="5m")]},
    ]
    second = await harness.usage(ttl=None, messages=history)
    assert second.cache_read_tokens == written(first)
    assert 0 < written(second) < 30


@pytest.mark.parametrize(("blocks_between", "found"), [(18, True), (19, False)])
async def test_a_mark_looks_back_over_twenty_blocks(blocks_between: int, found: bool) -> None:
    harness = Harness()
    opening = [{"role": "user", "content": [text(LONG, ttl="5m")]}]
    await harness.usage(ttl=None, system=None, messages=opening)
    between = [text(f"part {number}") for number in range(blocks_between)]
    content = [text(LONG), *between, text("Why?", ttl="5m")]
    usage = await harness.usage(
        ttl=None, system=None, messages=[{"role": "user", "content": content}]
    )
    assert (usage.cache_read_tokens > 0) is found


async def test_each_lifetime_is_billed_for_its_own_part() -> None:
    harness = Harness()
    system = [text(LONG, ttl="1h"), text(LONG, ttl="5m")]
    usage = await harness.usage(system=system)
    one_hour = prompt_tokens({"system": system[:1]})
    both = prompt_tokens({"system": system})
    assert usage.cache_write_1h_tokens == one_hour
    assert usage.cache_write_5m_tokens == both - one_hour


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (
            [text(str(number), ttl="5m") for number in range(5)],
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            [text("a", ttl="5m"), text("b", ttl="1h")],
            "system.1.cache_control.ttl: a ttl='1h' cache_control block must not come after",
        ),
        ([text("a", ttl="2h")], "cache_control.ttl: '2h', must be '5m' or '1h'"),
    ],
    ids=["five marks", "1h after 5m", "an unknown lifetime"],
)
async def test_marks_that_the_service_refuses_are_refused(
    system: list[dict[str, Any]], expected: str
) -> None:
    failure = await Harness().simulator.send(call(params(system=system)))
    assert isinstance(failure, Failure) and failure.status == 400
    assert failure.message.startswith(expected)


blocks = st.lists(
    st.builds(text, st.text(max_size=40), ttl=st.sampled_from([None, None, None, "5m"])),
    min_size=1,
    max_size=3,
)


FORMAT: dict[str, Any] = {"format": {"type": "json_schema", "schema": {}}}


@given(
    system=blocks | st.text(max_size=20),
    contents=st.lists(blocks | st.text(max_size=20), min_size=1, max_size=4),
    tools=st.lists(st.fixed_dictionaries({"name": st.text(max_size=9)}), max_size=2),
    schema=st.none() | st.just(FORMAT),
)
def test_the_classes_always_sum_up_to_the_prompt(
    system: Any, contents: list[Any], tools: list[dict[str, Any]], schema: Any
) -> None:
    asked = {
        "system": system,
        "tools": tools,
        "messages": [{"role": "user", "content": content} for content in contents],
        "output_config": schema,
    }
    marks = msgspec.json.encode(asked).count(b"cache_control")
    if marks > 4:
        return
    cache = PromptCache()
    total = prompt_tokens(asked)
    first = cache.plan(asked, model=MODEL, min_tokens=8, now=START)
    cache.begin(first)
    again = cache.plan(asked, model=MODEL, min_tokens=8, now=START)
    assert first.input_tokens + first.written_tokens("5m") == total
    assert again.input_tokens + again.read_tokens == total
    assert (first.read_tokens, again.written_tokens("5m")) == (0, 0)
