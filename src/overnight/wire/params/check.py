"""The check of `params` as a whole: each key in document order, then what keys mean together."""

from collections.abc import Mapping
from typing import Any

import msgspec

from overnight.catalogue import KnownModel
from overnight.tokens import prompt_tokens
from overnight.wire.params import shapes
from overnight.wire.params.caching import breakpoints_fault
from overnight.wire.params.fields import BETA_FIELDS, COUNTED, FIELDS
from overnight.wire.params.rules import LONG_OUTPUT_BETA, Checked, Refusal, Rules
from overnight.wire.params.tools import forces_tool_use, missing_tool_fault, schemas_fault
from overnight.wire.syntax import TOO_DEEP, syntax_fault

# A message repeats what the caller wrote; a key or a model's name may be of any length.
_MAX_MESSAGE_CHARACTERS = 1000

_REQUIRED = ("model", "max_tokens", "messages")
_REQUIRED_TO_COUNT = ("model", "messages")
_INTERLEAVED_BETA_PREFIX = "interleaved-thinking-"

_decode = msgspec.json.Decoder().decode


def check_params(params: bytes | msgspec.Raw, rules: Rules) -> Checked | Refusal:
    """Check one request's params; the first fault counts. Raises nothing.

    `params` are JSON; what is not is refused too.
    """
    try:
        decoded = _decode(params)
        if not shapes.is_object(decoded):
            return Refusal(message=shapes.NOT_AN_OBJECT)
        outcome = _check(decoded, rules)
    except RecursionError:
        return Refusal(message=TOO_DEEP)
    except msgspec.ValidationError:
        return Refusal(message="The request body has a number that is out of range")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refusal(message=syntax_fault(params, error))
    if isinstance(outcome, str):
        return _refusal(outcome)
    return outcome


def _check(params: dict[str, Any], rules: Rules) -> Checked | Refusal | str:
    if fault := _fields_fault(params, rules):
        return fault
    name: str = params["model"]
    known = rules.find_model(name)
    if not rules.has_model(name) or _is_retired(known):
        return _refusal(f"model: {name}", not_found=True)
    if fault := _together_fault(params, known, rules):
        return fault
    input_tokens = prompt_tokens(params)
    longest = rules.max_context_tokens
    if known is not None and known.model.max_input_tokens is not None:
        longest = min(longest, known.model.max_input_tokens)
    if input_tokens > longest:
        return f"prompt is too long: {input_tokens} tokens > {longest} maximum"
    return Checked(
        model=name,
        known=known,
        max_tokens=int(params.get("max_tokens", 0)),
        stream=params.get("stream") is True,
        input_tokens=input_tokens,
        params=params,
    )


def _refusal(message: str, *, not_found: bool = False) -> Refusal:
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = message[: _MAX_MESSAGE_CHARACTERS - 1] + "…"
    return Refusal(
        error_type="not_found_error" if not_found else "invalid_request_error", message=message
    )


def _fields_fault(params: dict[str, Any], rules: Rules) -> str | None:
    fields, required = (COUNTED, _REQUIRED_TO_COUNT) if rules.counts_tokens else (FIELDS, _REQUIRED)
    for key, value in params.items():
        check = fields.get(key)
        if check is None:
            if rules.refuses_unknown and not (rules.betas and key in BETA_FIELDS):
                return f"{key}: {shapes.EXTRA}"
        elif (value is not None or key in required) and (fault := check(value, rules)):
            return fault
    for key in required:
        if key not in params:
            return f"{key}: {shapes.FIELD_REQUIRED}"
    return None


def _is_retired(known: KnownModel | None) -> bool:
    return known is not None and known.model.lifecycle == "retired"


def _together_fault(
    params: Mapping[str, Any], known: KnownModel | None, rules: Rules
) -> str | None:
    """Check what keys mean together, and for this model. All keys are right by themselves."""
    if known is not None and (fault := _model_fault(params, known, rules)):
        return fault
    if params.get("thinking") is not None and (fault := _thinking_fault(params, rules)):
        return fault
    if params.get("tools") or params.get("tool_choice") or params.get("output_config"):
        fault = missing_tool_fault(params) or schemas_fault(params)
        if fault:
            return fault
    return breakpoints_fault(params)


def _model_fault(params: Mapping[str, Any], known: KnownModel, rules: Rules) -> str | None:
    most = _max_output_tokens(known, rules)
    max_tokens = int(params.get("max_tokens", 0))
    if most is not None and max_tokens > most:
        return (
            f"max_tokens: {max_tokens} > {most}, which is the maximum allowed number of output "
            f"tokens for {known.id}"
        )
    if known.prefill is False and _is_prefilled(params["messages"][-1]):
        return (
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )
    if known.forced_tool_use is False and forces_tool_use(params):
        kind = params["tool_choice"]["type"]
        return f'"tool_choice.type.{kind}" is not supported for this model.'
    thinking = params.get("thinking")
    return None if thinking is None else _thinking_kind_fault(thinking["type"], known)


def _max_output_tokens(known: KnownModel, rules: Rules) -> int | None:
    if rules.in_batch and LONG_OUTPUT_BETA in rules.betas and known.max_batch_tokens is not None:
        return known.max_batch_tokens
    return known.model.max_tokens


def _is_prefilled(message: Mapping[str, Any]) -> bool:
    """Tell whether the model is asked to go on with a text that the caller began.

    An answer that stopped with `pause_turn` is sent back as it was: that is no prefill.
    """
    if message["role"] != "assistant":
        return False
    content = message["content"]
    return isinstance(content, str) or not any(
        block["type"] == "server_tool_use" for block in content
    )


def _thinking_kind_fault(kind: str, known: KnownModel) -> str | None:
    if kind == "enabled" and known.thinking_enabled is False:
        return (
            '"thinking.type.enabled" is not supported for this model. Use '
            '"thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        )
    if kind == "adaptive" and known.thinking_adaptive is False:
        return "adaptive thinking is not supported on this model"
    if kind == "disabled" and known.thinking_disabled is False:
        return '"thinking.type.disabled" is not supported for this model.'
    return None


def _thinking_fault(params: Mapping[str, Any], rules: Rules) -> str | None:
    thinking = params["thinking"]
    if thinking["type"] != "enabled":
        return None
    interleaved = any(beta.startswith(_INTERLEAVED_BETA_PREFIX) for beta in rules.betas)
    if not (rules.counts_tokens or interleaved) and (
        int(params["max_tokens"]) <= thinking["budget_tokens"]
    ):
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    if forces_tool_use(params):
        return "Thinking may not be enabled when tool_choice forces tool use."
    return None
