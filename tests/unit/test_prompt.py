"""The beginnings of a prompt."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from overnight.prompt import prefixes, shareable

_MARK = {"type": "ephemeral", "ttl": "1h"}

_marks = st.sampled_from([None, _MARK])
_texts = st.text(max_size=5)
_blocks = st.builds(
    lambda text, mark: {"type": "text", "text": text} | ({"cache_control": mark} if mark else {}),
    _texts,
    _marks,
)
_contents = _texts | st.lists(_blocks, max_size=2)
_messages = st.builds(lambda content: {"role": "user", "content": content}, _contents)
_prompts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"messages": st.lists(_messages, min_size=1, max_size=3)},
    optional={
        "system": _contents,
        "tools": st.lists(st.just({"name": "t", "input_schema": {}}), max_size=2),
        "cache_control": st.just(_MARK),
    },
)


@given(_prompts)
def test_all_beginnings_can_be_shared_but_a_whole_that_is_not_marked(
    params: dict[str, Any],
) -> None:
    every = list(prefixes(params, "m"))
    if every and not every[-1].ttl:
        every.pop()
    assert list(shareable(params, "m")) == every
