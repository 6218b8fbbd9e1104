"""What the simulator is told to do: seed, latency, length of answers, limits and faults.

Written as TOML, either a file of its own or the table `[simulator]` of overnight.toml.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from overnight.errors import ConfigInvalid
from overnight.parsing import read_toml
from overnight.shape import is_array

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="status"):
    """Answer with an HTTP error."""

    status: Annotated[int, Meta(ge=400, le=599)]
    # The wire's inner error type and text; those of the status when not given.
    error_type: str | None = None
    message: str | None = None
    retry_after_s: Seconds | None = None


class Unreachable(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="unreachable"
):
    """Take no connection: nothing was received."""


class Reset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="reset"):
    """Break the connection after the request was received, before the answer is whole."""


class Slow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slow"):
    """Begin the answer, stall for so long, then end it as usual."""

    seconds: Seconds


class Malformed(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="malformed"
):
    """Answer 200 with a body that is not a Messages object."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="refusal"):
    """Succeed with `stop_reason: "refusal"`."""

    category: str | None = None
    explanation: str | None = None


Fault = Status | Unreachable | Reset | Slow | Malformed | Refusal


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault and when it strikes. All conditions must hold; the first rule that holds wins."""

    fault: Fault
    # Globs; a request without custom_id matches only "*".
    model: str = "*"
    custom_id: str = "*"
    # The body of the request holds this text, as it is written there.
    contains: str | None = None
    # Drawn from the seed, the request and its attempt: the same in every run.
    probability: Share = 1.0
    # Strikes only the first so many attempts of each request.
    first_attempts: Positive | None = None
    # Strikes only calls with these numbers; the simulator's first call has number 1.
    from_call: Positive = 1
    until_call: Positive | None = None
    # Strikes every so-manieth of the calls that hold otherwise, and at most so many of them.
    every: Positive = 1
    times: Positive | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rate limits of one group of models, as token buckets refilled without pause."""

    # The group: all models of this glob share the buckets.
    model: str = "*"
    requests_per_minute: Positive | None = None
    # Uncached and cache-written input; reads are free.
    input_tokens_per_minute: Positive | None = None
    output_tokens_per_minute: Positive | None = None
    # More calls at once are answered with 529.
    max_in_flight: Positive | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long an answer takes: its first byte, then each output token."""

    base_s: Seconds = 0.0
    per_output_token_s: Seconds = 0.0
    # Both are drawn from ± this share around their value.
    jitter: Share = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What free text looks like."""

    # The length is drawn between these, and bounded by the request's `max_tokens`.
    min_tokens: Count = 24
    max_tokens: Count = 64
    # Answer with exactly this text instead.
    text: str | None = None


class SimulatorScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the simulator can be told. The default answers at once and never fails."""

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    # Globs of further model names that answer, beside the known Claude models.
    models: tuple[str, ...] = ()
    latency: Latency = Latency()
    answer: Answer = Answer()
    limits: tuple[Limit, ...] = ()
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if self.answer.min_tokens > self.answer.max_tokens:
            raise ValueError(
                f"answer.min_tokens: {self.answer.min_tokens}, at most answer.max_tokens, "
                f"which is {self.answer.max_tokens}"
            )


def load_script(path: Path) -> SimulatorScript:
    """Read a script from a TOML file, from its table `[simulator]` where it has one.

    Raises ConfigInvalid with file, place, value and limit.
    """
    try:
        document = read_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(
            f"simulator script {path}: {error.strerror}",
            hint="give the path of a TOML file that this process may read",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"simulator script {path}: not valid TOML: {error}") from error
    table = document.get("simulator", document)
    return parse_script(table, source=str(path))


def parse_script(table: Mapping[str, Any], *, source: str) -> SimulatorScript:
    """Read a script from a decoded table; `source` names it in errors.

    Raises ConfigInvalid with source, place, value and limit.
    """
    try:
        return msgspec.convert(table, SimulatorScript)
    except msgspec.ValidationError as error:
        raise ConfigInvalid(
            f"{source}: {_explain(str(error), table)}",
            hint="correct the value or leave the key out, then start again",
        ) from error


def _explain(message: str, table: Mapping[str, Any]) -> str:
    """Turn "Expected `float` <= 1 - at `$.rules[0].probability`" into place, value and limit."""
    text, _, path = message.partition(" - at `$")
    steps = re.findall(r"\.?([^.\[\]`]+)", path)
    if not steps:
        return f"simulator: {text}"
    value: Any = table
    for step in steps:
        value = value[int(step)] if is_array(value) else value.get(step)
    place = ".".join(["simulator", *steps])
    shown = "" if isinstance(value, (dict, list)) else f"{value!r}: "
    return f"{place}: {shown}{text[0].lower()}{text[1:]}"
