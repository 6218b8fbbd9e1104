"""What the simulator says, and that it says the same thing every time."""

import re
from random import Random
from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.instance import instance
from overnight.backends.simulator.script import Answer, Latency, Refusal, Rule
from overnight.errors import InvalidRequest
from overnight.model import Call, Failure, FailureKind, Reply
from overnight.shape import is_array, is_object
from overnight.tokens import block_tokens, text_tokens

TOOL = {
    "name": "record",
    "input_schema": {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}, "score": {"type": "integer"}},
        "required": ["mood", "score"],
    },
}


def call(*, custom_id: str | None = None, text: str = "Why?", **changes: Any) -> Call:
    params = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": text}],
    }
    body = msgspec.json.encode(params | changes)
    return Call(params=body, api_version="2026-10-21", custom_id=custom_id)


async def message(request: Call, script: SimulatorScript | None = None) -> dict[str, Any]:
    """Answer with a new simulator; the official SDK must be able to read the message."""
    reply = await Simulator(script).send(request)
    assert isinstance(reply, Reply), reply
    Message.model_validate_json(reply.message)
    decoded = msgspec.json.decode(reply.message, type=dict[str, Any])
    assert decoded["usage"]["output_tokens"] == reply.usage.output_tokens
    return decoded


async def refused(request: Call) -> Failure:
    failure = await Simulator().send(request)
    assert isinstance(failure, Failure), failure
    return failure


async def test_the_same_request_gets_the_same_bytes_in_every_process() -> None:
    first = await Simulator().send(call(custom_id="a"))
    second = await Simulator().send(call(custom_id="a"))
    assert first == second


async def test_requests_differ_in_text_and_message_id() -> None:
    answers = [await message(call(custom_id=f"row-{number}")) for number in range(20)]
    assert len({answer["id"] for answer in answers}) == 20
    assert len({answer["content"][0]["text"] for answer in answers}) > 10


async def test_another_seed_gives_another_answer() -> None:
    one = await message(call(), SimulatorScript(seed=1))
    other = await message(call(), SimulatorScript(seed=2))
    assert one["id"] != other["id"]


async def test_the_answer_repeats_the_beginning_of_the_question() -> None:
    answer = await message(call(text="Summarize:\n  the contract of 1848 " + "and more " * 50))
    assert "Summarize: the contract of 1848" in answer["content"][0]["text"]


async def test_keys_stand_in_the_order_of_the_wire() -> None:
    answer = await message(call())
    assert list(answer) == [
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "usage",
    ]
    assert list(answer["usage"]) == [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "output_tokens",
        "service_tier",
        "inference_geo",
    ]
    assert answer["usage"]["service_tier"] == "standard"


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        ("claude-sonnet-4-6", None, "global"),
        ("claude-sonnet-4-6", "us", "us"),
        ("claude-haiku-4-5", "us", "not_available"),
    ],
)
async def test_only_recent_models_tell_where_they_ran(
    model: str, asked: str | None, told: str
) -> None:
    answer = await message(call(model=model, inference_geo=asked))
    assert answer["usage"]["inference_geo"] == told


@pytest.mark.parametrize("text", ["Why?", "なぜ夜空は暗いのですか、教えてください。", "🙂" * 40])
@pytest.mark.parametrize("max_tokens", [1, 7, 20])
async def test_max_tokens_cuts_the_text_and_is_counted_in_full(text: str, max_tokens: int) -> None:
    answer = await message(call(text=text, max_tokens=max_tokens))
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["output_tokens"] == max_tokens
    assert max_tokens - 2 <= text_tokens(answer["content"][0]["text"]) <= max_tokens


async def test_max_tokens_of_zero_answers_nothing() -> None:
    answer = await message(call(max_tokens=0))
    assert (answer["content"], answer["usage"]["output_tokens"]) == ([], 0)


async def test_a_stop_sequence_ends_the_text_before_it() -> None:
    script = SimulatorScript(answer=Answer(text="one, two; three"))
    answer = await message(call(stop_sequences=["; ", ", "]), script)
    assert answer["content"][0]["text"] == "one"
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", ", ")


async def test_the_length_of_free_text_follows_the_script() -> None:
    script = SimulatorScript(answer=Answer(min_tokens=300, max_tokens=310))
    answer = await message(call(), script)
    assert 290 <= answer["usage"]["output_tokens"] <= 310


async def test_a_forced_tool_is_called_with_an_input_that_fits() -> None:
    choice = {"type": "tool", "name": "record"}
    answer = await message(call(tools=[TOOL], tool_choice=choice))
    (block,) = answer["content"]
    assert answer["stop_reason"] == "tool_use"
    assert (block["type"], block["name"]) == ("tool_use", "record")
    assert block["id"].startswith("toolu_01")
    assert fits(block["input"], TOOL["input_schema"])
    assert answer["usage"]["output_tokens"] == block_tokens(block)


async def test_any_tool_means_one_of_the_callers_own() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}, TOOL]
    answer = await message(call(tools=tools, tool_choice={"type": "any"}))
    assert answer["content"][0]["name"] == "record"


async def test_a_tool_that_need_not_be_called_is_not_called() -> None:
    answer = await message(call(tools=[TOOL], tool_choice={"type": "auto"}))
    assert answer["stop_reason"] == "end_turn"


async def test_forcing_a_tool_that_is_not_there_is_refused() -> None:
    failure = await refused(call(tools=[TOOL], tool_choice={"type": "tool", "name": "x"}))
    assert failure.kind is FailureKind.INVALID_REQUEST
    assert failure.message == "Tool 'x' not found in provided tools"


async def test_a_fixed_format_is_answered_with_json_that_fits() -> None:
    schema = TOOL["input_schema"]
    answer = await message(
        call(output_config={"format": {"type": "json_schema", "schema": schema}})
    )
    assert fits(msgspec.json.decode(answer["content"][0]["text"]), schema)
    assert answer["stop_reason"] == "end_turn"


async def test_a_scripted_refusal_says_why() -> None:
    rule = Rule(fault=Refusal(category="cyber", explanation="No."))
    answer = await message(call(), SimulatorScript(rules=(rule,)))
    assert (answer["stop_reason"], answer["content"]) == ("refusal", [])
    assert answer["stop_details"]["category"] == "cyber"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": None}, "model: Field required"),
        ({"messages": None}, "messages: Expected `array`, got `null`"),
        ({"messages": []}, "messages: Expected `array` of length >= 1"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": -1}, "max_tokens: Expected `int` >= 0"),
        (
            {"max_tokens": 9_999_999, "model": "claude-haiku-4-5"},
            "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens "
            "for claude-haiku-4-5-20251001",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"$ref": "#/x"}}}},
            "output schema: #/x points to nothing in it",
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_its_place(
    changes: dict[str, Any], expected: str
) -> None:
    failure = await refused(call(**changes))
    assert (failure.kind, failure.status) == (FailureKind.INVALID_REQUEST, 400)
    assert failure.message == expected


async def test_a_prompt_longer_than_the_models_window_is_refused() -> None:
    failure = await refused(call(model="claude-haiku-4-5", text="abcd" * 200_000))
    assert failure.message == "prompt is too long: 200004 tokens > 200000 maximum"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": NaN}'])
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    failure = await refused(Call(params=body, api_version="2026-10-21"))
    assert failure.status == 400


@pytest.mark.parametrize("model", ["gpt-7", "claude-3-haiku-20240307"])
async def test_unknown_and_retired_models_are_not_found(model: str) -> None:
    failure = await refused(call(model=model))
    assert (failure.status, failure.error_type) == (404, "not_found_error")
    assert failure.message == f"model: {model}"


async def test_the_script_may_add_models() -> None:
    script = SimulatorScript(models=("qwen*",))
    assert (await message(call(model="qwen3-8b"), script))["model"] == "qwen3-8b"
    assert Simulator(script).model("llama-4") is None


async def test_the_long_output_beta_raises_the_limit() -> None:
    request = call(max_tokens=200_000)
    assert (await refused(request)).status == 400
    beta = msgspec.structs.replace(request, betas=("output-300k-2026-03-24",))
    assert (await message(beta))["stop_reason"] == "end_turn"


async def test_time_passes_by_first_byte_and_by_output_token() -> None:
    script = SimulatorScript(latency=Latency(base_s=2, per_output_token_s=0.5))
    simulator = Simulator(script)
    attempt = simulator.begin(call(max_tokens=10))
    simulator.end(attempt)
    assert (attempt.first_byte_s, attempt.rest_s) == (2, 5)


async def test_jitter_stays_within_its_share_and_is_the_same_every_time() -> None:
    script = SimulatorScript(latency=Latency(base_s=10, jitter=0.2))
    attempts = [Simulator(script).begin(call(custom_id=str(number))) for number in range(50)]
    waits = [attempt.first_byte_s for attempt in attempts]
    assert 8 <= min(waits) < 9 < 11 < max(waits) <= 12
    assert Simulator(script).begin(call(custom_id="0")).first_byte_s == waits[0]


RECURSIVE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 30},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
            },
            "required": ["name", "kids", "next"],
        }
    },
    "$ref": "#/$defs/tree",
}


@given(st.integers(0, 2**32))
def test_a_recursive_schema_is_filled_to_an_end(seed: int) -> None:
    assert fits(instance(RECURSIVE, Random(seed)), RECURSIVE)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": 7},
        {"enum": ["a", None, 3]},
        {"type": ["string", "null"]},
        {"type": "integer", "minimum": 3, "maximum": 3},
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        {"type": "integer", "minimum": 1, "multipleOf": 5},
        {"type": "integer", "maximum": -7},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "number", "minimum": -1e308, "maximum": 1e308},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 4, "maxItems": 4},
        {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
        {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}], "maxItems": 2},
        {"type": "string", "maxLength": 3},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
        {"type": "object", "required": ["x"]},
        {"allOf": [{"required": ["a"]}, {"properties": {"a": {"const": 1}}}], "type": "object"},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {},
    ],
    ids=str,
)
@given(seed=st.integers(0, 2**32))
def test_each_keyword_of_a_schema_is_kept(schema: dict[str, Any], seed: int) -> None:
    value = instance(schema, Random(seed))
    assert fits(value, schema), value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2},
    ],
    ids=str,
)
def test_a_schema_without_an_end_is_too_complex(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="too complex"):
        instance(schema, Random(1))


@pytest.mark.parametrize(
    "schema",
    [{"properties": [1]}, {"minItems": 10**9}, {"multipleOf": 0}, {"type": 3}, 17],
    ids=str,
)
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="output schema: Expected"):
        instance(schema, Random(1))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("date", r"\d{4}-\d\d-\d\d"),
        ("date-time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("email", r"\w+@example\.com"),
        ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}"),
        ("ipv4", r"192\.0\.2\.\d+"),
        ("uri", r"https://example\.com/\w+"),
    ],
)
def test_a_format_is_kept(name: str, pattern: str) -> None:
    value = instance({"type": "string", "format": name}, Random(3))
    assert msgspec.convert(value, str)
    assert re.fullmatch(pattern, value), value


def fits(value: Any, schema: Any, root: Any = None) -> bool:
    """Check a value against the keywords that these tests use."""
    root = schema if root is None else root
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].split("/")[-1]], root)
    branches = schema.get("anyOf", schema.get("oneOf"))
    checks = [
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
        branches is None or any(fits(value, branch, root) for branch in branches),
        all(fits(value, part, root) for part in schema.get("allOf", ())),
        "type" not in schema or _has_type(value, schema["type"]),
    ]
    if isinstance(value, bool):
        return all(checks)
    if isinstance(value, (int, float)):
        checks += [
            schema.get("minimum", value) <= value <= schema.get("maximum", value),
            "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"],
            "exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"],
            value % schema.get("multipleOf", 1) == 0 or "multipleOf" not in schema,
        ]
    elif isinstance(value, str):
        checks.append(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6))
    elif is_array(value):
        checks.append(_list_fits(value, schema, root))
    elif is_object(value):
        checks.append(_object_fits(value, schema, root))
    return all(checks)


def _list_fits(value: list[Any], schema: dict[str, Any], root: Any) -> bool:
    prefix = schema.get("prefixItems", [])
    parts = prefix + [schema.get("items", {})] * len(value)
    return (
        schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**6)
        and all(fits(item, part, root) for item, part in zip(value, parts, strict=False))
        and not (schema.get("uniqueItems") and len(set(map(str, value))) < len(value))
    )


def _object_fits(value: dict[str, Any], schema: dict[str, Any], root: Any) -> bool:
    known = schema.get("properties", {})
    extra = schema.get("additionalProperties", {})
    return (
        set(schema.get("required", ())) <= set(value)
        and len(value) >= schema.get("minProperties", 0)
        and all(fits(item, known.get(key, extra), root) for key, item in value.items())
    )


def _has_type(value: Any, kind: str | list[str]) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    names = kind if isinstance(kind, list) else [kind]
    return any(
        isinstance(value, kinds[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )
