"""Reading a simulator script: every key, and errors that say where, what and how much."""

from pathlib import Path

import pytest

from overnight.backends.simulator import SimulatorScript, load_script
from overnight.backends.simulator.script import (
    Answer,
    Latency,
    Limit,
    Malformed,
    Refusal,
    Reset,
    Rule,
    Slow,
    Status,
    Unreachable,
)
from overnight.errors import EXIT_USAGE, ConfigInvalid

WHOLE = """
seed = 7
models = ["qwen*"]
latency = { base_s = 0.5, per_output_token_s = 0.01, jitter = 0.2 }
answer = { min_tokens = 5, max_tokens = 9, text = "Yes." }

[[limits]]
model = "claude-haiku-*"
requests_per_minute = 50
input_tokens_per_minute = 40_000
output_tokens_per_minute = 8_000
max_in_flight = 4

[[rules]]
model = "claude-opus-*"
custom_id = "row-1?"
contains = "poison"
probability = 0.25
first_attempts = 2
from_call = 10
until_call = 20
every = 3
times = 4
fault = { type = "status", status = 529, error_type = "x", message = "No.", retry_after_s = 3 }

[[rules]]
fault = { type = "unreachable" }
[[rules]]
fault = { type = "reset" }
[[rules]]
fault = { type = "slow", seconds = 30 }
[[rules]]
fault = { type = "malformed" }
[[rules]]
fault = { type = "refusal", category = "cyber", explanation = "No." }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "script.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load_script(path)
    assert caught.value.exit_code == EXIT_USAGE
    return caught.value.message


def test_every_key_is_read(tmp_path: Path) -> None:
    assert load_script(write(tmp_path, WHOLE)) == SimulatorScript(
        seed=7,
        models=("qwen*",),
        latency=Latency(base_s=0.5, per_output_token_s=0.01, jitter=0.2),
        answer=Answer(min_tokens=5, max_tokens=9, text="Yes."),
        limits=(
            Limit(
                model="claude-haiku-*",
                requests_per_minute=50,
                input_tokens_per_minute=40_000,
                output_tokens_per_minute=8_000,
                max_in_flight=4,
            ),
        ),
        rules=(
            Rule(
                model="claude-opus-*",
                custom_id="row-1?",
                contains="poison",
                probability=0.25,
                first_attempts=2,
                from_call=10,
                until_call=20,
                every=3,
                times=4,
                fault=Status(status=529, error_type="x", message="No.", retry_after_s=3),
            ),
            Rule(fault=Unreachable()),
            Rule(fault=Reset()),
            Rule(fault=Slow(seconds=30)),
            Rule(fault=Malformed()),
            Rule(fault=Refusal(category="cyber", explanation="No.")),
        ),
    )


def test_a_script_may_be_a_table_of_a_larger_file(tmp_path: Path) -> None:
    text = "other = 1\n[simulator]\nseed = 3\n[simulator.latency]\nbase_s = 1\n"
    script = load_script(write(tmp_path, text))
    assert script == SimulatorScript(seed=3, latency=Latency(base_s=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sed = 1", "simulator: Object contains unknown field `sed`"),
        ("seed = -1", "simulator.seed: -1: expected `int` >= 0"),
        ("latency = { jitter = 2 }", "simulator.latency.jitter: 2: expected `float` <= 1.0"),
        (
            "[[rules]]\nfault = { type = 'status', status = 200 }",
            "simulator.rules.0.fault.status: 200: expected `int` >= 400",
        ),
        (
            "[[rules]]\nfault = { type = 'reset' }\n[[rules]]\nfault = { type = 'explode' }",
            "simulator.rules.1.fault.type: 'explode': invalid value 'explode'",
        ),
        ("[[rules]]\nmodel = '*'", "simulator.rules.0: object missing required field `fault`"),
        (
            "[[limits]]\nrequests_per_minute = 0",
            "simulator.limits.0.requests_per_minute: 0: expected `int` >= 1",
        ),
        ("rules = 3", "simulator.rules: 3: expected `array`, got `int`"),
        (
            "answer = { min_tokens = 9, max_tokens = 1 }",
            "simulator: answer.min_tokens: 9, at most answer.max_tokens, which is 1",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_limit(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = write(tmp_path, text)
    assert complaint(path) == f"{path}: {expected}"


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "seed = 1\nlatency = {,}"))
    assert "not valid TOML" in message and "line 2" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    assert complaint(path) == f"simulator script {path}: No such file or directory"
