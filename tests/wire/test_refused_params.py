"""Faults of `params`: the create succeeds, the request ends as `errored`, in these words.

Pins protocol.md §3.5, §3.9, §4.2, §4.3, §10.
"""

from typing import Any

import pytest
from tests.wire.caller import Caller, Object, request
from tests.wire.conftest import NewCaller

_INVALID = "invalid_request_error"
_USER = {"role": "user", "content": "hello"}
_ASSISTANT = {"role": "assistant", "content": "The answer is"}
_TOOL = {"name": "get", "input_schema": {"type": "object"}}
_OLD = "claude-haiku-4-5"
_NEW = "claude-sonnet-4-6"


def _blocks(*ttls: str) -> list[Object]:
    return [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}}
        for ttl in ttls
    ]


# What is given, and the inner type and text of the result: the whole text,
# or with … at its end what the text contains.
_FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "messages missing": ({"messages": None}, _INVALID, "messages: Field required"),
    "messages empty": (
        {"messages": []},
        _INVALID,
        "messages: at least one message is required",
    ),
    "max_tokens missing": ({"max_tokens": None}, _INVALID, "max_tokens: Field required"),
    "model missing": ({"model": None}, _INVALID, "model: Field required"),
    "max_tokens 0": (
        {"max_tokens": 0},
        _INVALID,
        "max_tokens: must be greater than or equal to 1",
    ),
    "max_tokens above the model's": (
        {"model": _OLD, "max_tokens": 9_999_999},
        _INVALID,
        "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens for "
        "claude-haiku-4-5-20251001",
    ),
    "stream": (
        {"stream": True},
        _INVALID,
        "`stream=True` is not supported in the Message Batches API",
    ),
    "unknown parameter": ({"foo": 1}, _INVALID, "foo: Extra inputs are not permitted"),
    "unknown parameter inside a message": (
        {"messages": [{**_USER, "mood": "good"}]},
        _INVALID,
        "messages.0.mood: Extra inputs are not permitted",
    ),
    "unknown model": ({"model": "gpt-9"}, "not_found_error", "model: gpt-9"),
    "tool_choice names no tool": (
        {"tools": [_TOOL], "tool_choice": {"type": "tool", "name": "put"}},
        _INVALID,
        "Tool 'put' not found in provided tools",
    ),
    "adaptive thinking on an old model": (
        {"model": _OLD, "thinking": {"type": "adaptive"}},
        _INVALID,
        "adaptive thinking is not supported on this model",
    ),
    "enabled thinking on a new model": (
        {
            "model": "claude-opus-5-5",
            "max_tokens": 4096,
            "thinking": {"type": "enabled", "budget_tokens": 2048},
        },
        _INVALID,
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" '
        'and "output_config.effort"…',
    ),
    "a trailing assistant message": (
        {"model": _NEW, "messages": [_USER, _ASSISTANT]},
        _INVALID,
        "This model does not support assistant message prefill. "
        "The conversation must end with a user message.",
    ),
    "temperature": ({"temperature": 1.0}, _INVALID, "temperature…"),
    "top_p": ({"top_p": 0.9}, _INVALID, "top_p…"),
    "top_k": ({"top_k": 5}, _INVALID, "top_k…"),
    "citations on a user's text": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "x", "citations": [{"type": "y"}]}],
                }
            ]
        },
        _INVALID,
        "citations…",
    ),
    "a document of the assistant": (
        {
            "messages": [
                _USER,
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                        }
                    ],
                },
                _USER,
            ]
        },
        _INVALID,
        "document…",
    ),
    "five cache breakpoints": (
        {"messages": [{"role": "user", "content": _blocks("5m", "5m", "5m", "5m", "5m")}]},
        _INVALID,
        "cache_control…",
    ),
    "an hour's cache after five minutes'": (
        {"messages": [{"role": "user", "content": _blocks("5m", "1h")}]},
        _INVALID,
        "cache_control…",
    ),
    "fast mode": ({"speed": "fast"}, _INVALID, "speed…"),
    "store": ({"store": True}, _INVALID, "store…"),
    "previous_thread_event_id": (
        {"previous_thread_event_id": "x"},
        _INVALID,
        "previous_thread_event_id…",
    ),
    "cache_hint": ({"cache_hint": "x"}, _INVALID, "cache_hint…"),
    "context_hint": ({"context_hint": "x"}, _INVALID, "context_hint…"),
    "fallbacks": ({"fallbacks": [_OLD]}, _INVALID, "fallbacks…"),
    "the preview": (
        {"research_preview_2026_02": "active"},
        _INVALID,
        "research_preview_2026_02…",
    ),
    "billing to a user profile": (
        {"billing_policy": {"bill_to": "user_profile"}},
        _INVALID,
        "billing_policy…",
    ),
    "a prompt longer than the limit": (
        {"messages": [{"role": "user", "content": "word " * 250_000}]},
        _INVALID,
        "prompt is too long: …",
    ),
}


def _key(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


@pytest.fixture(scope="module")
def refused(new_caller: NewCaller) -> dict[str, Object]:
    """One batch of everything that is refused, between two good requests: its results."""
    caller = new_caller()
    rows = [request(_key(name), **params) for name, (params, _, _) in _FAULTS.items()]
    batch = caller.run(request("first"), *rows, request("last"))
    assert batch["request_counts"]["errored"] == len(_FAULTS)
    return caller.results(batch["id"])


@pytest.mark.parametrize("name", _FAULTS)
def test_a_fault_of_params_is_an_errored_result(refused: dict[str, Object], name: str) -> None:
    _, error_type, message = _FAULTS[name]
    result = refused[_key(name)]
    assert list(result) == ["type", "error"] and result["type"] == "errored"
    outer = result["error"]
    assert list(outer) == ["type", "error", "request_id"]
    assert outer["type"] == "error" and outer["request_id"] is None
    inner = outer["error"]
    assert list(inner) == ["details", "type", "message"]
    assert inner["type"] == error_type
    if message.endswith("…"):
        assert message[:-1] in inner["message"]
    else:
        assert inner["message"] == message


def test_a_refused_request_does_not_touch_its_neighbors(refused: dict[str, Object]) -> None:
    assert refused["first"]["type"] == refused["last"]["type"] == "succeeded"
    assert len(refused) == len(_FAULTS) + 2


def test_a_user_profile_that_disagrees_with_the_header_is_an_errored_result(
    caller: Caller,
) -> None:
    rows = [request("same", user_profile_id="uprof_1"), request("other", user_profile_id="uprof_2")]
    batch = caller.run(*rows, headers={"anthropic-user-profile-id": "uprof_1"})
    results = caller.results(batch["id"])
    assert results["same"]["type"] == "succeeded"
    assert results["other"]["type"] == "errored"


@pytest.mark.parametrize("key", ["temperature", "top_p", "top_k"])
def test_sampling_parameters_pass_under_the_older_version(caller: Caller, key: str) -> None:
    value = 5 if key == "top_k" else 0.5
    batch = caller.run(request("a", **{key: value}), headers={"anthropic-version": "2023-06-01"})
    assert batch["request_counts"]["succeeded"] == 1


@pytest.mark.parametrize(
    "params",
    [
        {"stream": False},
        {"system": "Be brief."},
        {"system": [{"type": "text", "text": "Be brief."}]},
        {"stop_sequences": ["END"]},
        {"metadata": {"user_id": "u"}},
        {"service_tier": "auto"},
        {"tools": [_TOOL], "tool_choice": {"type": "any"}},
        {"messages": [_USER, _ASSISTANT, _USER]},
        {"model": _OLD, "messages": [_USER, _ASSISTANT]},
        {"inference_geo": "us"},
        {"cache_control": {"type": "ephemeral"}},
        {"messages": [{"role": "user", "content": _blocks("1h", "5m")}]},
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "low"}},
        {"fallback_credit_token": "token"},
    ],
    ids=str,
)
def test_what_the_batches_api_allows_succeeds(caller: Caller, params: dict[str, Any]) -> None:
    batch = caller.run(request("a", **params))
    result = caller.results(batch["id"])["a"]
    assert result["type"] == "succeeded", result


def test_an_error_of_the_backend_is_an_errored_result_of_that_request_alone(
    caller: Caller,
) -> None:
    results = caller.results(caller.run(request("failing"), request("fine"))["id"])
    assert results["fine"]["type"] == "succeeded"
    inner = results["failing"]["error"]["error"]
    assert (inner["type"], inner["message"]) == (_INVALID, "the model said no")
