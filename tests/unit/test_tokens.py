"""The offline token rule: what it counts, and that counts of parts add up."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight import tokens
from overnight.tokens import block_tokens, prompt_tokens, text_tokens

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("a" * 4000, 1000),
        ("Я" * 8, 5),
        ("漢" * 8, 8),
        ("🙂" * 8, 11),
        ("aaaa漢字", 3),
        ("\ud800", 1),
    ],
)
def test_a_text_is_counted_by_the_stated_rule(text: str, expected: int) -> None:
    assert text_tokens(text) == expected


@given(st.text(), st.text())
def test_joining_two_texts_saves_at_most_the_rounding(left: str, right: str) -> None:
    joined = text_tokens(left + right)
    assert text_tokens(left) + text_tokens(right) - 1 <= joined
    assert joined <= text_tokens(left) + text_tokens(right)


@given(st.text(), st.text())
def test_a_longer_text_never_counts_less(text: str, more: str) -> None:
    assert text_tokens(text + more) >= text_tokens(text)


def test_a_prompt_is_the_sum_of_its_parts() -> None:
    tool = {"name": "find", "description": "Finds it", "input_schema": {"type": "object"}}
    params = {
        "model": "claude-haiku-4-5",
        "system": [{"type": "text", "text": "Be brief."}],
        "tools": [tool],
        "messages": [
            {"role": "user", "content": "Where is it?"},
            {"role": "assistant", "content": [{"type": "text", "text": "There."}]},
        ],
    }
    assert prompt_tokens(params) == (
        3 * tokens.MESSAGE_TOKENS
        + tokens.TOOL_USE_TOKENS
        + tokens.tool_tokens(tool)
        + text_tokens("Be brief.")
        + text_tokens("Where is it?")
        + text_tokens("There.")
    )


def test_a_text_block_counts_as_its_text() -> None:
    block = {"type": "text", "text": "Where is it?", "cache_control": {"type": "ephemeral"}}
    assert block_tokens(block) == block_tokens("Where is it?") == 3


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://x/y"}}, tokens.IMAGE_TOKENS),
        ({"type": "document", "source": {"type": "url", "url": "u"}}, tokens.PAGE_TOKENS),
        ({"type": "document", "source": {"type": "text", "data": "abcdefgh"}}, 2),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "image"}]}},
            tokens.IMAGE_TOKENS,
        ),
        (
            {"type": "document", "source": {"type": "base64", "data": "A" * 100_001}},
            2 * tokens.PAGE_TOKENS,
        ),
        (
            {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"q": 1}},
            tokens.TOOL_CALL_TOKENS + 1 + 2,
        ),
        (
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "abcd"},
            tokens.TOOL_CALL_TOKENS + 1,
        ),
        ({"type": "thinking", "thinking": "abcdefgh", "signature": "x" * 500}, 2),
    ],
)
def test_each_kind_of_block_has_its_stated_count(block: dict[str, Any], expected: int) -> None:
    assert block_tokens(block) == expected


@given(json_values)
def test_a_cache_mark_adds_no_tokens(value: Any) -> None:
    block = {"type": "of a later day", "value": value}
    marked = block | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert block_tokens(marked) == block_tokens(block)


@given(st.dictionaries(st.sampled_from(["system", "tools", "messages", "x"]), json_values))
def test_malformed_params_are_counted_and_never_raise(params: dict[str, Any]) -> None:
    assert prompt_tokens(params) >= 0


def test_a_block_whose_kind_is_no_text_counts_as_json() -> None:
    assert block_tokens({"type": ["text"]}) == text_tokens('{"type":["text"]}')


@given(json_values)
def test_a_schema_for_the_answer_counts_as_part_of_the_prompt(schema: Any) -> None:
    answer_format = {"type": "json_schema", "schema": schema}
    params: dict[str, Any] = {"messages": [], "output_config": {"format": answer_format}}
    assert prompt_tokens(params) == text_tokens(msgspec.json.encode(answer_format).decode())
