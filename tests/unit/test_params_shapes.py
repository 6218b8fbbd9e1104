"""The shape of each value in `params`, and that nothing a caller writes can crash the check."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.params_cases import (
    BATCH,
    COUNTING,
    DOCUMENT,
    OLD,
    OLD_BATCH,
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

from overnight.wire.params import Checked, Refusal, Rules, check_params
from overnight.wire.params.shapes import is_array, is_object

SHAPES: list[tuple[Any, str]] = [
    ([], "Input should be a valid dictionary"),
    ({}, "model: Field required"),
    (without("max_tokens"), "max_tokens: Field required"),
    (VALID | {"model": 5}, "model: Input should be a valid string"),
    (VALID | {"model": ""}, "model: String should have at least 1 character"),
    (VALID | {"model": None}, "model: Input should be a valid string"),
    (VALID | {"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
    (VALID | {"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    (VALID | {"max_tokens": 1.5}, "max_tokens: Input should be a valid integer"),
    (VALID | {"max_tokens": None}, "max_tokens: Input should be a valid integer"),
    (VALID | {"messages": {}}, "messages: Input should be a valid list"),
    (VALID | {"messages": [5]}, "messages.0: Input should be a valid dictionary"),
    (VALID | {"messages": [{"content": "x"}]}, "messages.0.role: Field required"),
    (
        VALID | {"messages": [{"role": "bot", "content": "x"}]},
        "messages.0.role: Input should be 'user' or 'assistant'",
    ),
    (VALID | {"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    (
        VALID | {"messages": [{"role": "user", "content": 5}]},
        "messages.0.content: Input should be a valid list",
    ),
    (
        VALID | {"messages": [{"role": "user", "content": "x", "name": "n"}]},
        "messages.0.name: Extra inputs are not permitted",
    ),
    (
        VALID | {"messages": [{"role": "user", "content": ""}]},
        "messages.0: all messages must have non-empty content except for the optional final "
        "assistant message",
    ),
    (says(5), "messages.0.content.0: Input should be a valid dictionary"),
    (says({}), "messages.0.content.0.type: Field required"),
    (says({"type": 5}), "messages.0.content.0.type: Input should be a valid string"),
    (says({"type": "text"}), "messages.0.content.0.text.text: Field required"),
    (says(text("")), "messages: text content blocks must be non-empty"),
    (says({"type": "image"}), "messages.0.content.0.image.source: Field required"),
    (
        says({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}),
        "messages.0.content.0.image.source.base64.data: Field required",
    ),
    (
        says({"type": "tool_use", "id": "t", "name": "n"}, role="assistant"),
        "messages.0.content.0.tool_use.input: Field required",
    ),
    (
        says(TOOL_USE | {"input": "x"}, role="assistant"),
        "messages.0.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    (
        says({"type": "tool_result"}),
        "messages.0.content.0.tool_result.tool_use_id: Field required",
    ),
    (
        says({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
        "messages.0.content.0.tool_result.content.0.text.text: Field required",
    ),
    (
        says({"type": "thinking", "thinking": "hm"}, role="assistant"),
        "messages.0.content.0.thinking.signature: Field required",
    ),
    (VALID | {"system": 5}, "system: Input should be a valid list"),
    (VALID | {"system": ["x"]}, "system.0: Input should be a valid dictionary"),
    (VALID | {"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
    (VALID | {"system": [{"type": "text"}]}, "system.0.text: Field required"),
    (VALID | {"system": [text("")]}, "system: text content blocks must be non-empty"),
    (VALID | {"tools": {}}, "tools: Input should be a valid list"),
    (VALID | {"tools": [5]}, "tools.0: Input should be a valid dictionary"),
    (VALID | {"tools": [{"name": "n"}]}, "tools.0.custom.input_schema: Field required"),
    (
        VALID | {"tools": [{"name": "n", "input_schema": {}}]},
        "tools.0.custom.input_schema.type: Field required",
    ),
    (VALID | {"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    (VALID | {"tool_choice": {}}, "tool_choice.type: Field required"),
    (
        VALID | {"tool_choice": {"type": "all"}},
        "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'",
    ),
    (VALID | {"tool_choice": {"type": "tool"}}, "tool_choice.tool.name: Field required"),
    (
        VALID | {"tool_choice": {"type": "none", "name": "x"}},
        "tool_choice.none.name: Extra inputs are not permitted",
    ),
    (
        VALID | {"thinking": {"type": "on"}},
        "thinking.type: Input should be 'adaptive', 'between_tools', 'disabled' or 'enabled'",
    ),
    (
        VALID | {"model": OLD, "thinking": {"type": "enabled"}},
        "thinking.enabled.budget_tokens: Field required",
    ),
    (
        VALID | {"model": OLD, "thinking": {"type": "enabled", "budget_tokens": 1000}},
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        VALID | {"model": OLD, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    (
        VALID
        | {
            "model": OLD,
            "max_tokens": 4096,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
        },
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        VALID | {"output_config": {"effort": "huge"}},
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    (
        VALID | {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema: Field required",
    ),
    (
        VALID | {"output_config": {"foo": 1}},
        "output_config.foo: Extra inputs are not permitted",
    ),
    (VALID | {"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
    (VALID | {"stop_sequences": [1]}, "stop_sequences.0: Input should be a valid string"),
    (
        VALID | {"stop_sequences": [" "]},
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    (VALID | {"metadata": {"x": 1}}, "metadata.x: Extra inputs are not permitted"),
    (
        VALID | {"service_tier": "batch"},
        "service_tier: Input should be 'auto' or 'standard_only'",
    ),
    (VALID | {"stream": "no"}, "stream: Input should be a valid boolean"),
    (VALID | {"betas": ["x"]}, "betas: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("params", "message"), SHAPES)
def test_a_value_of_the_wrong_shape_is_named_by_its_path(params: Any, message: str) -> None:
    assert refusal(params) == message


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ("x", "cache_control: Input should be a valid dictionary"),
        ({}, "cache_control.type: Field required"),
        ({"type": "x"}, "cache_control.type: Input should be 'ephemeral'"),
        (
            {"type": "ephemeral", "ttl": "2h"},
            "cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
        ),
        (
            {"type": "ephemeral", "scope": "global"},
            "cache_control.ephemeral.scope: Extra inputs are not permitted",
        ),
    ],
)
def test_a_breakpoint_has_one_shape_wherever_it_stands(control: Any, message: str) -> None:
    control = {"cache_control": control}
    assert refusal(VALID | control) == message
    assert refusal(VALID | {"system": [text() | control]}) == f"system.0.{message}"
    assert refusal(VALID | {"tools": [TOOL | control]}) == f"tools.0.custom.{message}"
    assert refusal(says(text() | control)) == f"messages.0.content.0.text.{message}"
    # Kinds of blocks that are not known keep to it as well.
    assert refusal(says({"type": "new"} | control)) == f"messages.0.content.0.new.{message}"


@pytest.mark.parametrize(
    "params",
    [
        b"",
        b"{",
        b'{"a":\xff}',
        b'{"model":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"messages":' + b"[" * 100_000,
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_cannot_be_decoded_is_refused(params: bytes) -> None:
    outcome = check_params(params, BATCH)
    assert isinstance(outcome, Refusal) and outcome.message


def test_deep_search_results_are_refused_or_pass_but_never_crash() -> None:
    inner: dict[str, Any] = text()
    for _ in range(400):
        inner = {"type": "search_result", "source": "s", "title": "t", "content": [inner]}
    body = msgspec.json.encode(says(inner))
    assert isinstance(check_params(body, BATCH), Checked | Refusal)


def test_a_message_never_repeats_more_than_a_thousand_characters() -> None:
    outcome = check(VALID | {"model": "x" * 100_000})
    assert isinstance(outcome, Refusal)
    assert len(outcome.message) == 1000 and outcome.message.endswith("…")


_words = st.sampled_from(
    [
        *(key for key in VALID),
        *("cache_control", "content", "fallbacks", "name", "output_config", "properties"),
        *("required", "role", "source", "speed", "strict", "system", "text", "thinking"),
        *("tool_choice", "tools", "type", "assistant", "user", "ephemeral"),
        *("search_result", "tool_result", "tool_use"),
    ]
)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _words
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=12,
)
_rules = st.sampled_from(
    [BATCH, OLD_BATCH, REAL_TIME, COUNTING, rules(unknown="forward", knows_all=False)]
)


@given(params=_json, by=_rules)
def test_any_json_is_checked_or_refused(params: Any, by: Rules) -> None:
    body = json.dumps(params, ensure_ascii=True, allow_nan=False).encode()
    assert isinstance(check_params(body, by), Checked | Refusal)


RICH: dict[str, Any] = VALID | {
    "system": [text(**cached("1h"))],
    "tools": [TOOL | {"strict": True}, {"type": "web_search_20260318", "name": "web_search"}],
    "tool_choice": {"type": "tool", "name": "weather"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "billing_policy": {"type": "billing_policy"},
    "messages": [
        {"role": "user", "content": [text(), {"type": "image", "source": PIXEL}]},
        {"role": "assistant", "content": [TOOL_USE]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [text()]},
                {"type": "search_result", "source": "s", "title": "t", "content": [text()]},
                DOCUMENT | cached(),
            ],
        },
    ],
}


def places(value: dict[str, Any] | list[Any], path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the paths of all values inside a JSON value."""
    members: dict[Any, Any] = value if isinstance(value, dict) else dict(enumerate(value))
    found: list[tuple[Any, ...]] = []
    for key, inner in members.items():
        found.append((*path, key))
        if is_object(inner) or is_array(inner):
            found += places(inner, (*path, key))
    return found


def test_rich_params_pass() -> None:
    passes(RICH)


@settings(max_examples=400)
@given(place=st.sampled_from(places(RICH)), value=_json, removes=st.booleans(), by=_rules)
def test_any_change_of_valid_params_is_checked_or_refused(
    place: tuple[Any, ...], value: Any, removes: bool, by: Rules
) -> None:
    changed = json.loads(json.dumps(RICH))
    owner = changed
    for key in place[:-1]:
        owner = owner[key]
    if removes:
        del owner[place[-1]]
    else:
        owner[place[-1]] = value
    assert isinstance(check(changed, by), Checked | Refusal)
