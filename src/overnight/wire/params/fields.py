"""The keys of `params`, each with the check of its value.

Source: protocol notes §3.9, §4.2, §4.3, §11; SDK 2.12 types (message_create_params.py).
"""

from collections.abc import Callable, Mapping
from typing import Any

from overnight.wire.params import shapes
from overnight.wire.params.caching import cache_control_fault
from overnight.wire.params.messages import messages_fault, system_fault
from overnight.wire.params.rules import STRICT_VERSION, Rules
from overnight.wire.params.tools import tool_choice_fault, tools_fault

# Gives the fault of a key's value, which is not null unless the key is required.
FieldCheck = Callable[[Any, Rules], str | None]

MIN_THINKING_TOKENS = 1024

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_DISPLAYS = ("summarized", "omitted")
_THINKING: dict[str, tuple[str, ...]] = {
    "adaptive": ("type", "display"),
    "between_tools": ("type",),
    "disabled": ("type",),
    "enabled": ("type", "budget_tokens", "display"),
}


def _model(value: Any, rules: Rules) -> str | None:
    if fault := shapes.string(value, "model"):
        return fault
    return None if value else "model: String should have at least 1 character"


def _max_tokens(value: Any, rules: Rules) -> str | None:
    if type(value) is not int and (fault := shapes.integer(value, "max_tokens")):
        return fault
    # Elsewhere 0 asks to warm the cache without an answer.
    least = 1 if rules.in_batch else 0
    return None if value >= least else f"max_tokens: must be greater than or equal to {least}"


def _stream(value: Any, rules: Rules) -> str | None:
    if fault := shapes.boolean(value, "stream"):
        return fault
    if value and rules.in_batch:
        return "`stream=True` is not supported in the Message Batches API"
    return None


def _thinking(value: Any, rules: Rules) -> str | None:
    path = "thinking"
    if fault := shapes.dictionary(value, path) or shapes.member(value, "type", path):
        return fault
    kind = value["type"]
    if fault := shapes.one_of(kind, f"{path}.type", tuple(_THINKING)):
        return fault
    path = f"{path}.{kind}"
    if kind == "enabled":
        budget_path = f"{path}.budget_tokens"
        if fault := shapes.member(value, "budget_tokens", path) or shapes.integer(
            value["budget_tokens"], budget_path
        ):
            return fault
        if value["budget_tokens"] < MIN_THINKING_TOKENS:
            limit = f"greater than or equal to {MIN_THINKING_TOKENS}"
            return f"{budget_path}: Input should be {limit}"
    display = value.get("display")
    if display is not None and (fault := shapes.one_of(display, f"{path}.display", _DISPLAYS)):
        return fault
    return shapes.only_keys(value, _THINKING[kind], path) if rules.refuses_unknown_nested else None


def _output_config(value: Any, rules: Rules) -> str | None:
    path = "output_config"
    if fault := shapes.dictionary(value, path):
        return fault
    effort = value.get("effort")
    if effort is not None and (fault := shapes.one_of(effort, f"{path}.effort", _EFFORTS)):
        return fault
    output_format = value.get("format")
    if output_format is not None and (fault := _format(output_format, rules, f"{path}.format")):
        return fault
    if rules.refuses_unknown_nested:
        return shapes.only_keys(value, ("effort", "format"), path)
    return None


def _format(value: Any, rules: Rules, path: str) -> str | None:
    return (
        shapes.dictionary(value, path)
        or shapes.member(value, "type", path)
        or shapes.one_of(value["type"], f"{path}.type", ("json_schema",))
        or shapes.member(value, "schema", path)
        or shapes.dictionary(value["schema"], f"{path}.schema")
    )


def _stop_sequences(value: Any, rules: Rules) -> str | None:
    if fault := shapes.array(value, "stop_sequences"):
        return fault
    for index, sequence in enumerate(value):
        if fault := shapes.string(sequence, f"stop_sequences.{index}"):
            return fault
        if not sequence.strip():
            return "stop_sequences: each stop sequence must contain non-whitespace"
    return None


def _metadata(value: Any, rules: Rules) -> str | None:
    if fault := shapes.dictionary(value, "metadata"):
        return fault
    user_id = value.get("user_id")
    if user_id is not None and (fault := shapes.string(user_id, "metadata.user_id")):
        return fault
    if rules.refuses_unknown_nested:
        return shapes.only_keys(value, ("user_id",), "metadata")
    return None


def _speed(value: Any, rules: Rules) -> str | None:
    if rules.in_batch:
        return "`speed` is not supported in the Message Batches API"
    return shapes.one_of(value, "speed", ("standard", "fast"))


def _user_profile_id(value: Any, rules: Rules) -> str | None:
    if fault := shapes.string(value, "user_profile_id"):
        return fault
    if rules.user_profile_id is None or value == rules.user_profile_id:
        return None
    return (
        f"user_profile_id: '{value}' disagrees with the anthropic-user-profile-id header "
        f"'{rules.user_profile_id}'"
    )


def _billing_policy(value: Any, rules: Rules) -> str | None:
    if fault := shapes.dictionary(value, "billing_policy"):
        return fault
    if rules.in_batch and value.get("bill_to") == "user_profile":
        return "billing_policy.bill_to: 'user_profile' is not supported in the Message Batches API"
    return None


def _preview(value: Any, rules: Rules) -> str | None:
    if rules.in_batch and value == "active":
        return "`research_preview_2026_02` is not supported in the Message Batches API"
    return None


def _sampling(key: str, maximum: float | None) -> FieldCheck:
    def check(value: Any, rules: Rules) -> str | None:
        if rules.strict_version:
            return f"{key}: not supported since anthropic-version {STRICT_VERSION}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{key}: Input should be a valid number"
        if value < 0:
            return f"{key}: Input should be greater than or equal to 0"
        if maximum is not None and value > maximum:
            return f"{key}: Input should be less than or equal to {maximum:g}"
        return None

    return check


def _text(key: str) -> FieldCheck:
    return lambda value, rules: shapes.string(value, key)


def _not_in_batches(key: str) -> FieldCheck:
    text = f"`{key}` is not supported in the Message Batches API"
    return lambda value, rules: text if rules.in_batch else None


def _anything(value: Any, rules: Rules) -> str | None:
    return None


# What `count_tokens` takes.
COUNTED: Mapping[str, FieldCheck] = {
    "model": _model,
    "messages": messages_fault,
    "cache_control": lambda value, rules: cache_control_fault(value, rules, "cache_control"),
    "output_config": _output_config,
    "speed": _speed,
    "system": system_fault,
    "thinking": _thinking,
    "tool_choice": tool_choice_fault,
    "tools": tools_fault,
    "user_profile_id": _user_profile_id,
}
# What `messages` and a batch's request take besides.
FIELDS: Mapping[str, FieldCheck] = {
    **COUNTED,
    "max_tokens": _max_tokens,
    "stream": _stream,
    "container": _anything,
    "diagnostics": _anything,
    "inference_geo": _text("inference_geo"),
    "metadata": _metadata,
    "service_tier": lambda value, rules: shapes.one_of(
        value, "service_tier", ("auto", "standard_only")
    ),
    "stop_sequences": _stop_sequences,
    "temperature": _sampling("temperature", 1),
    "top_k": _sampling("top_k", None),
    "top_p": _sampling("top_p", 1),
    "billing_policy": _billing_policy,
    "cache_hint": _not_in_batches("cache_hint"),
    "context_hint": _not_in_batches("context_hint"),
    "fallback_credit_token": _anything,
    "fallbacks": _not_in_batches("fallbacks"),
    "previous_thread_event_id": _not_in_batches("previous_thread_event_id"),
    "research_preview_2026_02": _preview,
    "store": _not_in_batches("store"),
    "thread": _not_in_batches("thread"),
}
# Keys that a beta brings; which one brings which is left to the backend.
BETA_FIELDS = frozenset(("compaction", "context_management", "mcp_servers", "output_format"))
