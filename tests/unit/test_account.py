"""What a stream that is passed on tells of its cost, however it comes and ends."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.backends.account import Account
from overnight.backends.simulator.events import events
from overnight.model import Usage

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Grüße aus der Nacht, und noch ein Satz dazu."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 7,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 400,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 50,
    },
}
USAGE = Usage(
    input_tokens=7,
    cache_write_5m_tokens=10,
    cache_write_1h_tokens=20,
    cache_read_tokens=400,
    output_tokens=50,
)
STREAM = [event.data for event in events(MESSAGE)]


def sse(*events: object) -> bytes:
    return b"".join(b"event: x\ndata: %b\n\n" % msgspec.json.encode(event) for event in events)


def start(**message: object) -> dict[str, object]:
    return {"type": "message_start", "message": {"type": "message", **message}}


def delta(**usage: object) -> dict[str, object]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


STOP = {"type": "message_stop"}


def account_of(*chunks: bytes) -> Account:
    account = Account()
    for chunk in chunks:
        account.feed(chunk)
    return account


@given(st.lists(st.integers(min_value=0, max_value=sum(map(len, STREAM))), max_size=40))
def test_a_stream_cut_anywhere_tells_the_usage_of_its_message(cuts: list[int]) -> None:
    stream = b"".join(STREAM)
    edges = [0, *sorted(cuts), len(stream)]
    account = account_of(*(stream[a:b] for a, b in pairwise(edges)))
    assert (account.model, account.usage, account.ended) == ("claude-haiku-4-5", USAGE, True)


def test_of_a_stream_that_breaks_off_its_beginning_is_known() -> None:
    account = account_of(*STREAM[:4])
    assert account.model == "claude-haiku-4-5"
    assert account.usage == msgspec.structs.replace(USAGE, output_tokens=1)
    assert not account.ended


def test_output_is_what_the_latest_sum_says() -> None:
    usage = {"input_tokens": 7, "output_tokens": 1}
    stream = sse(start(model="m", usage=usage), delta(output_tokens=20), delta(output_tokens=30))
    assert account_of(stream).usage == Usage(input_tokens=7, output_tokens=30)


def test_what_a_delta_leaves_empty_stays_as_it_was() -> None:
    stream = sse(start(model="m", usage={"input_tokens": 7}), delta(input_tokens=None))
    assert account_of(stream).usage == Usage(input_tokens=7)


def test_content_that_nobody_knows_yet_is_charged_like_any_other() -> None:
    unknown = {"type": "content_block_delta", "index": 9, "delta": {"type": "a_new_delta"}}
    stream = sse(start(model="m", usage={"input_tokens": 7}), unknown, delta(output_tokens=9), STOP)
    account = account_of(stream)
    assert (account.usage, account.ended) == (Usage(input_tokens=7, output_tokens=9), True)


def test_an_event_that_is_no_json_hides_none_behind_it() -> None:
    begin = sse(start(model="m", usage={"input_tokens": 7}))
    account = account_of(begin, b"data: {\n\n", b"data: [1]\n\n", sse(delta(output_tokens=9), STOP))
    assert (account.usage, account.ended) == (Usage(input_tokens=7, output_tokens=9), True)


def test_a_piece_of_usage_that_cannot_be_read_hides_no_other() -> None:
    usage = {"input_tokens": 7, "cache_read_input_tokens": "many", "cache_creation": 3}
    assert account_of(sse(start(model="m", usage=usage))).usage == Usage(input_tokens=7)


@pytest.mark.parametrize("message", [{}, {"model": None}, {"usage": None}])
def test_a_message_that_names_nothing_is_no_fault(message: dict[str, object]) -> None:
    account = account_of(sse(start(**message), STOP))
    assert (account.model, account.usage, account.ended) == (None, Usage(), True)


def test_an_error_ends_a_stream_and_nothing_counts_behind_it() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
    stream = sse(start(model="m", usage={"input_tokens": 7}), error, delta(output_tokens=9), STOP)
    account = account_of(stream)
    assert account.error is not None and b"overloaded_error" in account.error
    assert (account.usage, account.ended) == (Usage(input_tokens=7), False)
