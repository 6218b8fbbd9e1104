"""Valid params, the rules to check them by, and what comes of it, for the tests of `params`."""

import json
from typing import Any, Literal

from overnight.catalogue import known_models
from overnight.wire.params import Checked, Refusal, Rules, check_params

# Thinking only adaptive, no prefill, 128,000 tokens of output.
NEW = "claude-opus-4-8"
# Thinking only with a budget, prefill allowed, 64,000 tokens of output.
OLD = "claude-haiku-4-5-20251001"

OLD_VERSION = "2023-06-01"
VALID: dict[str, Any] = {
    "model": NEW,
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello"}],
}
TOOL: dict[str, Any] = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
TOOL_USE: dict[str, Any] = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
DOCUMENT = {"type": "document", "source": {"type": "text", "data": "x"}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGk="}


def rules(
    *,
    version: str = "2026-10-21",
    betas: tuple[str, ...] = (),
    profile: str | None = None,
    in_batch: bool = True,
    counts_tokens: bool = False,
    knows_all: bool = True,
    max_context_tokens: int = 200_000,
    unknown: Literal["refuse", "forward"] = "refuse",
) -> Rules:
    return Rules(
        api_version=version,
        betas=betas,
        user_profile_id=profile,
        in_batch=in_batch,
        counts_tokens=counts_tokens,
        find_model=known_models().find,
        has_model=lambda name: not knows_all or known_models().find(name) is not None,
        max_context_tokens=max_context_tokens,
        unknown_params=unknown,
    )


BATCH = rules()
OLD_BATCH = rules(version=OLD_VERSION)
REAL_TIME = rules(in_batch=False)
COUNTING = rules(in_batch=False, counts_tokens=True)


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in VALID.items() if key not in keys}


def check(params: Any, by: Rules = BATCH) -> Checked | Refusal:
    return check_params(json.dumps(params).encode(), by)


def refusal(params: Any, by: Rules = BATCH) -> str:
    outcome = check(params, by)
    assert isinstance(outcome, Refusal), f"passed: {params}"
    assert outcome.error_type == "invalid_request_error"
    return outcome.message


def passes(params: Any, by: Rules = BATCH) -> Checked:
    outcome = check(params, by)
    assert isinstance(outcome, Checked), outcome
    return outcome


def says(*content: Any, role: str = "user") -> dict[str, Any]:
    """Give valid params whose only message has these blocks."""
    return VALID | {"messages": [{"role": role, "content": list(content)}]}


def text(value: str = "hi", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value} | more


def cached(ttl: str | None = None) -> dict[str, Any]:
    control = {"type": "ephemeral"} | ({"ttl": ttl} if ttl else {})
    return {"cache_control": control}
