"""What is sent: requests that are all different, in the size that a benchmark asks for."""

from collections.abc import Iterator
from random import Random

MODEL = "claude-sonnet-4-6"
API_VERSION = "2023-06-01"
DEFAULT_PATH = "/v1/messages"
_WORDS = (
    "delivery",
    "price",
    "quality",
    "invoice",
    "parcel",
    "friendly",
    "late",
    "refund",
    "label",
)


def params(count: int, size_bytes: int) -> list[bytes]:
    """Make the params of `count` requests of exactly `size_bytes` each."""
    text = " ".join(Random(0).choices(_WORDS, k=size_bytes)).encode()
    head = b'{"model":"%b","max_tokens":64,"messages":[{"role":"user","content":"' % MODEL.encode()
    tail = b'"}]}'
    made: list[bytes] = []
    for number in range(count):
        mark = b"Review %08d: " % number
        room = size_bytes - len(head) - len(mark) - len(tail)
        start = number % size_bytes
        made.append(b"".join((head, mark, text[start : start + room], tail)))
    return made


def custom_id(number: int) -> str:
    return f"doc-{number}"


def create_body(requests: list[bytes]) -> bytes:
    """Write the body of a create call."""
    return b'{"requests":[' + b",".join(_entries(requests)) + b"]}"


def answers(text_bytes: int) -> dict[str, bytes]:
    """Give what an upstream answers by path: a text of `text_bytes` in each dialect."""
    text = " ".join(Random(1).choices(_WORDS, k=text_bytes))[:text_bytes].encode()
    return {
        DEFAULT_PATH: _message(text),
        "/v1/chat/completions": _chat_completion(text),
        "/v1/models": b'{"object":"list","data":[{"id":"%b","object":"model","created":0,'
        b'"owned_by":"bench"}]}' % MODEL.encode(),
    }


def _message(text: bytes) -> bytes:
    return (
        b'{"id":"msg_01BenchBenchBenchBenchBench","type":"message","role":"assistant",'
        b'"model":"%b","content":[{"type":"text","text":"%b"}],"stop_reason":"end_turn",'
        b'"stop_sequence":null,"usage":{"input_tokens":210,"cache_creation_input_tokens":0,'
        b'"cache_read_input_tokens":0,"output_tokens":40,"service_tier":"standard"}}'
    ) % (MODEL.encode(), text)


def _chat_completion(text: bytes) -> bytes:
    return (
        b'{"id":"chatcmpl-Bench","object":"chat.completion","created":0,"model":"%b",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},'
        b'"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":210,"completion_tokens":40,"total_tokens":250}}'
    ) % (MODEL.encode(), text)


def _entries(requests: list[bytes]) -> Iterator[bytes]:
    for number, request in enumerate(requests):
        yield b'{"custom_id":"%b","params":%b}' % (custom_id(number).encode(), request)
