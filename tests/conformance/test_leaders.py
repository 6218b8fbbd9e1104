"""Calls whose answer is streamed so that its beginning shows, beside the same calls plain."""

import msgspec
import pytest
from tests.conformance.backend import API_KEY, upstream
from tests.raw_server import RawServer, Step, answer, chunk, chunked_head

from overnight.backends.assembly import Assembly
from overnight.backends.messages import MessagesBackend
from overnight.backends.simulator import Simulator, SimulatorScript
from overnight.backends.simulator.script import Limit, Refusal, Rule
from overnight.model import Call, Failure, FailureKind, Reply
from overnight.settings import PrefixCaching

SSE = "text/event-stream; charset=utf-8"
PARAMS = (
    b'{"model":"claude-haiku-4-5","max_tokens":200,"messages":[{"role":"user","content":"Hi"}]}'
)
TOOL_PARAMS = PARAMS[:-1] + (
    b',"tools":[{"name":"look","input_schema":{"type":"object","properties":'
    b'{"place":{"type":"string"}},"required":["place"]}}],"tool_choice":{"type":"any"}}'
)
START = (
    b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}}'
)
EVENTS = (
    START,
    b'{"type":"ping"}',
    b'{"type":"content_block_start","index":0,"content_block":'
    b'{"type":"thinking","thinking":"","signature":""}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"m."}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}',
    b'{"type":"content_block_stop","index":0}',
    b'{"type":"content_block_start","index":1,"content_block":'
    b'{"type":"text","text":"","citations":[]}}',
    b'{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Gr\xc3\xbc"}}',
    b'{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"a":1}}}',
    b'{"type":"content_block_stop","index":1}',
    b'{"type":"a_new_event","index":1}',
    b'{"type":"content_block_start","index":2,"content_block":'
    b'{"type":"tool_use","id":"t","name":"look","input":{}}}',
    b'{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}',
    b'{"type":"content_block_delta","index":2,"delta":'
    b'{"type":"input_json_delta","partial_json":"{\\"x\\":"}}',
    b'{"type":"content_block_delta","index":2,"delta":'
    b'{"type":"input_json_delta","partial_json":"1.0}"}}',
    b'{"type":"content_block_stop","index":2}',
    b'{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},'
    b'"usage":{"input_tokens":null,"output_tokens":9}}',
    b'{"type":"message_stop"}',
)
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":['
    b'{"type":"thinking","thinking":"Hmm.","signature":"s"},'
    b'{"type":"text","text":"Gr\xc3\xbc","citations":[{"a":1}]},'
    b'{"type":"tool_use","id":"t","name":"look","input":{"x":1.0}}],'
    b'"stop_reason":"tool_use","stop_sequence":null,'
    b'"usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":9}}'
)


def sse(*events: bytes) -> bytes:
    return b"".join(b"event: x\ndata: %b\n\n" % event for event in events)


def no_header(name: str, /) -> str | None:
    return None


async def led(
    *steps: bytes | Step, begun: list[str], params: bytes = PARAMS, stream_leaders: bool = True
) -> tuple[Reply | Failure, bytes]:
    """Send one call to a server with this answer; gives the outcome and what the server got."""
    async with RawServer(steps) as server:
        backend = MessagesBackend(url=server.url, stream_leaders=stream_leaders)
        await backend.start()
        call = Call(params=params, api_version="2023-06-01")
        outcome = await backend.send(call, lambda: begun.append("begun"))
        await backend.close()
    return outcome, server.requests[0].body


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_events_cut_anywhere_make_the_message(size: int, line_end: bytes) -> None:
    stream = sse(*EVENTS).replace(b"\n", line_end)
    assembly = Assembly()
    for at in range(0, len(stream), size):
        assembly.feed(stream[at : at + size])
    reply = assembly.outcome(no_header)
    assert isinstance(reply, Reply), reply
    assert reply.message == MESSAGE
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 9)


@pytest.mark.parametrize("params", [PARAMS, TOOL_PARAMS], ids=["text", "tool use"])
@pytest.mark.parametrize("refuses", [False, True], ids=["answered", "refused by the model"])
async def test_a_streamed_message_equals_the_plain_one(params: bytes, refuses: bool) -> None:
    rules = (Rule(fault=Refusal(category="bio", explanation="No.")),) if refuses else ()
    begun: list[str] = []
    call = Call(params=params, api_version="2026-10-21")
    # The simulator makes its answer of the body: the same one, for both.
    same = msgspec.structs.replace(call, params=b'{"stream":true,' + params[1:])
    plain = await Simulator(SimulatorScript(rules=rules)).send(same)
    async with upstream(SimulatorScript(rules=rules)) as url:
        backend = MessagesBackend(url=url, api_key=API_KEY)
        await backend.start()
        streamed = await backend.send(call, lambda: begun.append("begun"))
        await backend.close()
    assert isinstance(plain, Reply) and isinstance(streamed, Reply), streamed
    expected = msgspec.json.decode(plain.message)
    message = msgspec.json.decode(streamed.message)
    assert message | {"id": ""} == expected | {"id": ""}
    assert streamed.usage == plain.usage and begun == ["begun"]


async def test_the_callers_bytes_are_kept_around_the_wish_to_stream() -> None:
    begun: list[str] = []
    events = (chunk(sse(START)), chunk(sse(*EVENTS[1:])), chunk(b""))
    reply, sent = await led(chunked_head(SSE), *events, begun=begun)
    assert sent == b'{"stream":true,' + PARAMS[1:]
    assert isinstance(reply, Reply) and reply.message == MESSAGE and begun == ["begun"]


async def test_a_server_that_does_not_stream_is_understood() -> None:
    begun: list[str] = []
    reply, _ = await led(answer(MESSAGE), begun=begun)
    assert isinstance(reply, Reply) and reply.message == MESSAGE and not begun


async def test_params_that_speak_of_streaming_go_out_as_they_are() -> None:
    params = PARAMS[:-1] + b',"stream":false}'
    _, sent = await led(answer(MESSAGE), begun=[], params=params)
    assert sent == params


async def test_leaders_are_not_streamed_where_that_is_switched_off() -> None:
    _, sent = await led(answer(MESSAGE), begun=[], stream_leaders=False)
    assert sent == PARAMS


@pytest.mark.parametrize(
    ("kind_of_error", "kind"),
    [
        (b"overloaded_error", FailureKind.OVERLOADED),
        (b"rate_limit_error", FailureKind.RATE_LIMITED),
        (b"api_error", FailureKind.SERVER_ERROR),
        (b"invalid_request_error", FailureKind.INVALID_REQUEST),
        (b"new_error", FailureKind.SERVER_ERROR),
    ],
)
async def test_an_error_event_is_the_failure_it_names(
    kind_of_error: bytes, kind: FailureKind
) -> None:
    error = b'{"type":"error","error":{"type":"%b","message":"No."}}' % kind_of_error
    outcome, _ = await led(
        chunked_head(SSE), chunk(sse(START)), chunk(sse(error)), chunk(b""), begun=[]
    )
    assert isinstance(outcome, Failure) and (outcome.kind, outcome.message) == (kind, "No.")


@pytest.mark.parametrize(
    "events",
    [
        EVENTS[:-1],
        EVENTS[1:],
        (*EVENTS[:3], EVENTS[3].replace(b"thinking_delta", b"new_delta"), *EVENTS[4:]),
        (*EVENTS[:3], EVENTS[3].replace(b'"Hm"', b"7"), *EVENTS[4:]),
        (START, b"no json", EVENTS[-1]),
        (START, b"[]", EVENTS[-1]),
        (*EVENTS[:15], *EVENTS[16:]),
    ],
    ids=["no stop", "no start", "new delta", "no text", "no json", "no object", "half input"],
)
async def test_events_that_make_no_message_are_malformed(events: tuple[bytes, ...]) -> None:
    outcome, _ = await led(chunked_head(SSE), chunk(sse(*events)), chunk(b""), begun=[])
    assert isinstance(outcome, Failure) and outcome.kind is FailureKind.MALFORMED


async def test_a_stream_that_breaks_is_a_reset_unless_the_message_was_whole() -> None:
    half = (chunked_head(SSE), chunk(sse(*EVENTS[:5])), Step.RESET)
    broken, _ = await led(*half, begun=[])
    assert isinstance(broken, Failure) and broken.kind is FailureKind.RESET
    whole, _ = await led(chunked_head(SSE), chunk(sse(*EVENTS)), Step.RESET, begun=[])
    assert isinstance(whole, Reply) and whole.message == MESSAGE


async def test_stated_limits_come_with_replies_and_failures() -> None:
    script = SimulatorScript(limits=(Limit(requests_per_minute=1, input_tokens_per_minute=50_000),))
    call = Call(params=PARAMS, api_version="2026-10-21")
    async with upstream(script) as url:
        backend = MessagesBackend(url=url, api_key=API_KEY)
        await backend.start()
        reply = await backend.send(call)
        failure = await backend.send(call)
        await backend.close()
    assert isinstance(reply, Reply) and isinstance(failure, Failure)
    assert [(limit.of, limit.per_minute, limit.remaining) for limit in reply.limits] == [
        ("requests", 1, 0),
        ("input_tokens", 50_000, 50_000),
    ]
    assert all(limit.full_at is not None for limit in reply.limits)
    assert failure.kind is FailureKind.RATE_LIMITED


@pytest.mark.parametrize(
    ("setting", "url", "said"),
    [
        ("auto", "https://api.anthropic.com", (True, False, False, 2.0)),
        ("auto", "http://localhost:8000", (True, False, False, 0.0)),
        ("marked", "http://localhost:8000", (True, False, False, 0.0)),
        ("automatic", "http://localhost:8000", (True, True, False, 0.0)),
        ("shared", "http://localhost:8000", (True, True, True, 0.0)),
        ("none", "http://localhost:8000", (False, False, False, 0.0)),
    ],
)
def test_the_setting_says_what_is_done_with_equal_beginnings(
    setting: PrefixCaching, url: str, said: tuple[bool, bool, bool, float]
) -> None:
    caching = MessagesBackend(url=url, prefix_caching=setting).caching("m")
    assert (caching.marked, caching.automatic, caching.shares_in_flight, caching.settle_s) == said
