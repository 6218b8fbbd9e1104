"""What `params` may say: every documented refusal with its text, and what must pass."""

import json
from typing import Any

import msgspec
import pytest
from tests.unit.params_cases import (
    BATCH,
    COUNTING,
    DOCUMENT,
    NEW,
    OLD,
    OLD_BATCH,
    OLD_VERSION,
    PIXEL,
    REAL_TIME,
    TOOL,
    TOOL_USE,
    VALID,
    cached,
    check,
    passes,
    refusal,
    rules,
    says,
    text,
    without,
)

from overnight.catalogue import known_models
from overnight.errors import InvalidRequest, NotFound
from overnight.wire.params import Checked, Refusal, check_params


def test_valid_params_say_what_the_plan_needs() -> None:
    checked = passes(VALID)
    assert (checked.model, checked.max_tokens, checked.stream) == (NEW, 1024, False)
    assert checked.known is known_models().find(NEW)
    assert 0 < checked.input_tokens < 20
    assert checked.params == VALID


def test_params_are_taken_as_raw_json_too() -> None:
    assert isinstance(check_params(msgspec.Raw(json.dumps(VALID).encode()), BATCH), Checked)


# Protocol notes §4.2: deferred faults, in the order of that table.
DEFERRED: list[tuple[dict[str, Any], str]] = [
    (without("messages"), "messages: Field required"),
    (VALID | {"messages": []}, "messages: at least one message is required"),
    (VALID | {"max_tokens": 0}, "max_tokens: must be greater than or equal to 1"),
    (
        VALID | {"model": OLD, "max_tokens": 9999999},
        "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens "
        "for claude-haiku-4-5-20251001",
    ),
    (
        VALID | {"model": "claude-haiku-4-5", "max_tokens": 64001},
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens "
        "for claude-haiku-4-5-20251001",
    ),
    (VALID | {"stream": True}, "`stream=True` is not supported in the Message Batches API"),
    (VALID | {"foo": 1}, "foo: Extra inputs are not permitted"),
    (
        VALID | {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}},
        "Tool 'x' not found in provided tools",
    ),
    (
        VALID | {"tool_choice": {"type": "tool", "name": "x"}},
        "Tool 'x' not found in provided tools",
    ),
    (
        VALID | {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" '
        'and "output_config.effort" to control thinking behavior.',
    ),
    (
        VALID | {"model": OLD, "thinking": {"type": "adaptive"}},
        "adaptive thinking is not supported on this model",
    ),
    (
        VALID | {"messages": [*VALID["messages"], {"role": "assistant", "content": "Well,"}]},
        "This model does not support assistant message prefill. "
        "The conversation must end with a user message.",
    ),
]


@pytest.mark.parametrize(("params", "message"), DEFERRED)
def test_a_deferred_fault_has_the_documented_text(params: dict[str, Any], message: str) -> None:
    assert refusal(params) == message


@pytest.mark.parametrize("model", ["claude-nothing", "claude-3-7-sonnet-20250219"])
def test_an_unknown_or_retired_model_is_not_found(model: str) -> None:
    outcome = check(VALID | {"model": model})
    assert outcome == Refusal(error_type="not_found_error", message=f"model: {model}")
    assert isinstance(outcome, Refusal) and isinstance(outcome.error(), NotFound)


def test_an_unknown_model_passes_when_the_backend_decides() -> None:
    by = rules(knows_all=False)
    assert passes(VALID | {"model": "qwen3", "max_tokens": 9999999}, by).known is None


def test_a_refusal_is_an_invalid_request_on_the_real_time_endpoints() -> None:
    outcome = check(without("messages"), REAL_TIME)
    assert isinstance(outcome, Refusal)
    error = outcome.error()
    assert isinstance(error, InvalidRequest) and error.message == "messages: Field required"


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers() -> None:
    by = rules(max_context_tokens=10)
    tokens = passes(VALID).input_tokens
    assert refusal(VALID | {"system": "x" * 400}, by) == (
        f"prompt is too long: {tokens + 104} tokens > 10 maximum"
    )


def test_a_models_own_context_counts_where_it_is_lower() -> None:
    by = rules(max_context_tokens=10_000_000)
    long = {"messages": [{"role": "user", "content": "x" * 900_000}]}
    assert refusal(VALID | {"model": OLD} | long, by).endswith(" tokens > 200000 maximum")
    passes(VALID | long, by)


# Protocol notes §4.3: what batches do not take, and real-time calls do.
NOT_IN_BATCHES: list[dict[str, Any]] = [
    {"stream": True},
    {"speed": "fast"},
    {"speed": "standard"},
    {"store": True},
    {"previous_thread_event_id": "x"},
    {"cache_hint": "x"},
    {"context_hint": {}},
    {"max_tokens": 0},
    {"research_preview_2026_02": "active"},
    {"fallbacks": []},
    {"billing_policy": {"type": "billing_policy", "bill_to": "user_profile"}},
    {"thread": {}},
]


@pytest.mark.parametrize("extra", NOT_IN_BATCHES)
def test_what_batches_do_not_support_is_refused_there_alone(extra: dict[str, Any]) -> None:
    assert next(iter(extra)) in refusal(VALID | extra)
    passes(VALID | extra, REAL_TIME)


ALLOWED: list[dict[str, Any]] = [
    {"fallback_credit_token": "x"},
    {"billing_policy": {"type": "billing_policy", "bill_to": "self"}},
    {"stream": False},
    {"stream": None, "system": None, "tools": None, "cache_control": None, "thinking": None},
    {"service_tier": "auto", "inference_geo": "us", "container": "c", "diagnostics": None},
    {"metadata": {"user_id": "u"}, "stop_sequences": ["\n\nHuman:"]},
    {"thinking": {"type": "adaptive", "display": "omitted"}},
    {"thinking": {"type": "between_tools"}},
    {"thinking": {"type": "disabled"}},
    {"output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {}}}},
    {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
    {"tools": [{"type": "web_search_20260318", "name": "web_search", "max_uses": 3}]},
    {"tools": [{"type": "browser_toolset_20260801"}], "tool_choice": {"type": "any"}},
    {"system": [text(**cached())]},
    {"system": ""},
    {"user_profile_id": "p"},
    {"max_tokens": 1024.0},
]


@pytest.mark.parametrize("extra", ALLOWED)
def test_what_batches_support_passes(extra: dict[str, Any]) -> None:
    passes(VALID | extra)


BLOCKS: list[dict[str, Any]] = [
    text(),
    {"type": "image", "source": PIXEL},
    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": None},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
    {"type": "document", "source": {"type": "content", "content": [text()]}},
    {"type": "tool_result", "tool_use_id": "t"},
    {"type": "tool_result", "tool_use_id": "t", "content": "sunny", "is_error": False},
    {"type": "tool_result", "tool_use_id": "t", "content": [text(), {"type": "new"}]},
    {"type": "search_result", "source": "s", "title": "t", "content": [text()]},
    {"type": "search_result", "source": "s", "title": "t", "content": [], "citations": {}},
    {"type": "container_upload", "file_id": "f"},
    {"type": "a_block_of_next_year", "anything": [1]},
]


@pytest.mark.parametrize("block", BLOCKS)
def test_known_blocks_and_those_of_the_future_pass(block: dict[str, Any]) -> None:
    passes(says(block))


def test_a_paused_answer_may_be_sent_back_to_go_on() -> None:
    search = TOOL_USE | {"type": "server_tool_use", "name": "web_search"}
    paused: dict[str, Any] = {"role": "assistant", "content": [text(), search]}
    passes(VALID | {"messages": [*VALID["messages"], paused]})


def test_prefill_passes_on_a_model_that_takes_it() -> None:
    prefilled = [*VALID["messages"], {"role": "assistant", "content": "Well,"}]
    passes(VALID | {"model": OLD, "messages": prefilled})


# Protocol notes §2.4: the three rules of the newer version.
CITED = text(citations=[{"type": "char_location"}])
STRICT: list[tuple[dict[str, Any], str]] = [
    (
        VALID | {"messages": [{"role": "assistant", "content": [DOCUMENT]}, *VALID["messages"]]},
        "messages.0.content.0.document: document blocks in assistant messages",
    ),
    (says(CITED), "messages.0.content.0.text.citations: citations on text blocks of a user"),
    (
        says({"type": "search_result", "source": "s", "title": "t", "content": [CITED]}),
        "messages.0.content.0.search_result.content.0.text.citations: ",
    ),
    (VALID | {"temperature": 1}, "temperature: not supported since anthropic-version 2026-10-21"),
    (VALID | {"top_p": 0.5}, "top_p: not supported since "),
    (VALID | {"top_k": 5}, "top_k: not supported since "),
]


@pytest.mark.parametrize(("params", "message"), STRICT)
@pytest.mark.parametrize("endpoint", ["batch", "messages"])
def test_the_newer_version_refuses_what_the_older_takes(
    params: dict[str, Any], message: str, endpoint: str
) -> None:
    in_batch = endpoint == "batch"
    assert refusal(params, rules(in_batch=in_batch)).startswith(message)
    passes(params, rules(in_batch=in_batch, version=OLD_VERSION))


def test_citations_of_an_assistant_and_empty_ones_pass_in_the_newer_version() -> None:
    passes(says(text(citations=[])))
    answered = {"role": "assistant", "content": [CITED]}
    passes(VALID | {"messages": [answered, *VALID["messages"]]})


def test_counting_tokens_follows_the_version_rules_and_needs_no_max_tokens() -> None:
    assert passes(without("max_tokens"), COUNTING).max_tokens == 0
    assert "citations" in refusal(says(CITED) | {}, rules(in_batch=False))
    counted = {key: value for key, value in says(CITED).items() if key != "max_tokens"}
    assert "citations" in refusal(counted, COUNTING)
    assert refusal(VALID, COUNTING) == "max_tokens: Extra inputs are not permitted"


def test_sampling_parameters_keep_to_their_range_in_the_older_version() -> None:
    assert refusal(VALID | {"temperature": 1.5}, OLD_BATCH) == (
        "temperature: Input should be less than or equal to 1"
    )
    assert refusal(VALID | {"top_k": "x"}, OLD_BATCH) == "top_k: Input should be a valid number"
    passes(VALID | {"temperature": None})


def test_the_first_fault_in_document_order_wins() -> None:
    assert refusal({"foo": 1, "model": 5}) == "foo: Extra inputs are not permitted"
    assert refusal({"model": 5, "foo": 1}) == "model: Input should be a valid string"


def test_unknown_keys_pass_when_they_are_to_be_forwarded() -> None:
    by = rules(unknown="forward")
    passes(VALID | {"min_p": 0.1, "metadata": {"x": 1}, "chat_template_kwargs": {}}, by)
    assert refusal(VALID | {"stream": True}, by).startswith("`stream=True`")


def test_a_beta_brings_its_keys() -> None:
    with_beta: dict[str, Any] = {"mcp_servers": [], "output_config": {"task_budget": {}}}
    assert refusal(VALID | with_beta) == "mcp_servers: Extra inputs are not permitted"
    passes(VALID | with_beta, rules(betas=("mcp-client-2025-11-20",)))


def test_the_long_output_beta_raises_max_tokens_inside_batches_alone() -> None:
    beta = ("output-300k-2026-03-24",)
    long = VALID | {"model": "claude-sonnet-5-5", "max_tokens": 300_000}
    assert "300000 > 128000" in refusal(long)
    assert passes(long, rules(betas=beta)).max_tokens == 300_000
    assert "300001 > 300000" in refusal(long | {"max_tokens": 300_001}, rules(betas=beta))
    assert "300000 > 128000" in refusal(long, rules(betas=beta, in_batch=False))


def test_a_user_profile_that_disagrees_with_the_header_is_refused() -> None:
    passes(VALID | {"user_profile_id": "p"}, rules(profile="p"))
    assert refusal(VALID | {"user_profile_id": "q"}, rules(profile="p")) == (
        "user_profile_id: 'q' disagrees with the anthropic-user-profile-id header 'p'"
    )


def test_a_model_that_cannot_be_forced_to_use_a_tool_says_so() -> None:
    forced = {"model": "claude-sonnet-5-5", "tools": [TOOL], "tool_choice": {"type": "any"}}
    assert refusal(VALID | forced) == '"tool_choice.type.any" is not supported for this model.'


def test_interleaved_thinking_may_think_longer_than_it_answers() -> None:
    thinking = {"model": OLD, "thinking": {"type": "enabled", "budget_tokens": 5000}}
    passes(VALID | thinking, rules(betas=("interleaved-thinking-2025-05-14",)))


def test_strict_tools_and_optional_parameters_are_limited() -> None:
    tools = [TOOL | {"name": f"t{i}", "strict": True} for i in range(21)]
    passes(VALID | {"tools": tools[:20]})
    assert refusal(VALID | {"tools": tools}) == "tools: at most 20 tools may be strict, not 21"
    properties = {f"p{i}": {"type": "string"} for i in range(25)}
    nested = {"type": "object", "properties": {"properties": {"properties": properties}}}
    strict = TOOL | {"input_schema": nested | {"required": ["properties"]}, "strict": True}
    message = refusal(VALID | {"tools": [strict]})
    assert message.startswith("Schemas contains too many optional parameters (25), which would")
    assert refusal(
        VALID | {"output_config": {"format": {"type": "json_schema", "schema": nested}}}
    ).startswith("Schemas contains too many optional parameters (26)")
    passes(VALID | {"tools": [strict | {"strict": False}]})


# Protocol notes §10.
def test_four_breakpoints_pass_and_five_do_not() -> None:
    four = says(*[text(**cached())] * 2) | {
        "tools": [TOOL | cached()],
        "system": [text(**cached())],
    }
    passes(four)
    too_many = "A maximum of 4 blocks with cache_control may be provided. Found 5."
    assert refusal(four | {"messages": says(*[text(**cached())] * 3)["messages"]}) == too_many


def test_the_automatic_breakpoint_takes_a_slot_unless_the_last_block_has_one() -> None:
    system = {"system": [text(**cached())] * 4}
    assert refusal(VALID | system | cached()).endswith("Found 5.")
    three = {"system": [text(**cached())] * 3}
    passes(says(text(**cached())) | three | cached())
    assert "another ttl" in refusal(says(text(**cached("1h"))) | cached("5m"))


def test_an_hour_must_not_come_after_five_minutes() -> None:
    text_1h, text_5m = text(**cached("1h")), text(**cached())
    passes(says(text_1h, text_5m))
    rule = (
        "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
        "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
    )
    assert refusal(says(text_5m, text_1h)) == f"messages.0.content.1.cache_control.ttl: {rule}"
    later = {"system": [text_1h], "tools": [TOOL | cached()]}
    assert refusal(VALID | later) == f"system.0.cache_control.ttl: {rule}"
    assert refusal(says(text_5m, text()) | cached("1h")) == f"cache_control.ttl: {rule}"
