"""The model that a request names, read and replaced."""

import msgspec
import pytest

from overnight.wire.named import model_of, renamed

PARAMS = b'{"max_tokens": 1.0e2, "model":"a", "messages":[{"role":"user","content":"\\u00fc"}]}'


def test_the_model_is_read() -> None:
    assert model_of(PARAMS) == "a"


@pytest.mark.parametrize("model", ["b", 'quo"te', "qwen/qwen3-8b", "ü"])
def test_another_model_is_written_and_nothing_else_changes(model: str) -> None:
    written = renamed(PARAMS, model)
    assert model_of(written) == model
    assert b'"max_tokens":1.0e2' in written
    assert b'[{"role":"user","content":"\\u00fc"}]' in written
    assert list(msgspec.json.decode(written)) == ["max_tokens", "model", "messages"]


def test_of_a_model_that_is_named_twice_none_is_left() -> None:
    assert msgspec.json.decode(renamed(b'{"model":"a","model":"b"}', "c")) == {"model": "c"}
