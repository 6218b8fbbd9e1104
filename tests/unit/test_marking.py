"""Breakpoints are written into params, and nothing else of them changes."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.params_cases import DOCUMENT, NEW, TOOL, passes

from overnight import prompt
from overnight.prompt import Prefix
from overnight.wire.params.marking import marked

FIVE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
# Every way to write what stands before a question.
PARAMS: dict[str, Any] = {
    "model": NEW,
    "max_tokens": 16,
    "tools": [TOOL, TOOL | {"name": "other"}],
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": [DOCUMENT, {"type": "text", "text": "Begin."}]},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "What?"},
    ],
}


def written(params: Mapping[str, Any], *marks: tuple[int, str]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(marked(msgspec.json.encode(params), marks))
    return found


def beginnings(params: Mapping[str, Any]) -> list[Prefix]:
    return list(prompt.prefixes(params, "m"))


def test_a_tool_carries_its_breakpoint() -> None:
    found = written(PARAMS, (1, "5m"))
    assert found == PARAMS | {"tools": [TOOL, TOOL | {"name": "other", "cache_control": FIVE}]}


def test_a_system_prompt_that_is_a_text_becomes_a_block() -> None:
    found = written(PARAMS, (2, "1h"))
    block = {"type": "text", "text": "Be brief.", "cache_control": HOUR}
    assert found == PARAMS | {"system": [block]}


def test_a_content_that_is_a_text_becomes_a_block_and_other_messages_stay() -> None:
    found = written(PARAMS, (5, "5m"))
    block = {"type": "text", "text": "Yes?", "cache_control": FIVE}
    assert found["messages"][1] == {"role": "assistant", "content": [block]}
    assert [*found["messages"][:1], *found["messages"][2:]] == [
        *PARAMS["messages"][:1],
        *PARAMS["messages"][2:],
    ]


def test_a_block_of_a_content_carries_its_breakpoint() -> None:
    found = written(PARAMS, (3, "5m"))
    assert found["messages"][0]["content"][0] == DOCUMENT | {"cache_control": FIVE}


def test_a_null_in_the_place_of_a_breakpoint_is_replaced() -> None:
    system = [{"type": "text", "text": "a", "cache_control": None}]
    found = written({"system": system, "messages": []}, (0, "5m"))
    assert found["system"] == [{"type": "text", "text": "a", "cache_control": FIVE}]


@pytest.mark.parametrize("empty", [{"system": ""}, {"system": []}, {"system": None}, {"tools": []}])
def test_an_empty_part_has_no_block(empty: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    found = written({**empty, "messages": messages}, (0, "5m"))
    assert found["messages"][0]["content"][0]["cache_control"] == FIVE
    assert {key: found[key] for key in empty} == empty


def test_all_values_without_a_breakpoint_keep_their_bytes() -> None:
    body = (
        b'{ "model":"m","max_tokens":1.60e1, "metadata": { "user_id":"\\u00e9" },'
        b'"system":"caf\\u00e9","messages":[ {"role":"user", "content":[ {"type":"text",'
        b'"text":"\\ud83d\\ude00"}, {"type":"x","n":1.0} ] } ] }'
    )
    assert bytes(marked(body, [(0, "5m")])) == (
        b'{"model":"m","max_tokens":1.60e1,"metadata":{ "user_id":"\\u00e9" },'
        b'"system":[{"type":"text","text":"caf\\u00e9","cache_control":{"type":"ephemeral"}}],'
        b'"messages":[ {"role":"user", "content":[ {"type":"text",'
        b'"text":"\\ud83d\\ude00"}, {"type":"x","n":1.0} ] } ]}'
    )


def test_a_block_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LookupError, match="no block 7: the prompt has 7"):
        written(PARAMS, (7, "5m"))


texts = st.text(min_size=1, max_size=5)
blocks = st.lists(st.builds(lambda text: {"type": "text", "text": text}, texts), min_size=1)
contents = texts | blocks
conversations = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": contents}), min_size=1
        )
    },
    optional={
        "tools": st.lists(st.builds(lambda name: TOOL | {"name": name}, texts), max_size=3),
        "system": contents | st.just(""),
    },
)


@given(conversations, st.data())
def test_a_marked_prompt_is_the_same_prompt_with_breakpoints(
    params: dict[str, Any], data: st.DataObject
) -> None:
    before = beginnings(params)
    places = st.integers(0, len(before) - 1)
    marks = data.draw(st.dictionaries(places, st.sampled_from(["5m", "1h"]), max_size=4))
    after = beginnings(written(params, *marks.items()))
    assert [p._replace(ttl="", block=None) for p in after] == [
        p._replace(ttl="", block=None) for p in before
    ]
    assert {place: p.ttl for place, p in enumerate(after) if p.ttl} == marks


def test_marked_params_pass_the_check_of_params() -> None:
    passes(written(PARAMS, (1, "1h"), (2, "1h"), (4, "5m"), (6, "5m")))


@pytest.mark.parametrize(
    ("part", "markable"),
    [
        ({"tools": [TOOL]}, True),
        ({"tools": [TOOL | {"defer_loading": True}]}, False),
        ({"system": "a"}, True),
        ({"system": " \n"}, False),
        ({"messages": [{"role": "user", "content": [DOCUMENT]}]}, True),
        ({"messages": [{"role": "assistant", "content": ""}]}, False),
        ({"messages": [{"role": "assistant", "content": [{"type": "thinking"}]}]}, False),
        ({"messages": [{"role": "user", "content": [{"type": "new_kind"}]}]}, False),
    ],
)
def test_some_blocks_take_no_breakpoint(part: dict[str, Any], markable: bool) -> None:
    assert [prefix.markable for prefix in beginnings(part)] == [markable]
