"""One attempt at a delivery, against receivers that answer with scripted bytes."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest
import trustme
from tests.raw_server import Answer, RawServer, Step, answer, chunk, chunked_head
from tests.support.service import START

from overnight.targets import read_networks
from overnight.webhooks.judgement import Acknowledged, Failed, Outcome, Refused
from overnight.webhooks.sender import Sender

LOOPBACK = "127.0.0.0/8"
BODY = b'{"type":"event"}'
OK = answer(b"thanks")


def a_sender(
    *, allow: Sequence[str] = (LOOPBACK,), timeout_s: float = 5, **parts: object
) -> Sender:
    return Sender(allowed=read_networks(allow), timeout_s=timeout_s, **parts)  # type: ignore[arg-type]  # parts of its own


async def post(sender: Sender, url: str) -> Outcome:
    try:
        return await sender.post(url, {"webhook-id": "whe_1"}, BODY, now=START)
    finally:
        sender.close()


async def posted(*steps: bytes | Step, timeout_s: float = 5) -> Outcome:
    async with RawServer(steps) as server:
        return await post(a_sender(timeout_s=timeout_s), f"{server.url}/hook")


class Names:
    """A resolver that gives its answers one after the other, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


async def test_the_request_is_what_a_receiver_expects() -> None:
    async with RawServer([OK]) as server:
        outcome = await post(a_sender(), f"{server.url}/a/b?c=d")
        (request,) = server.requests
    assert outcome == Acknowledged(200)
    assert (request.method, request.target, request.body) == ("POST", "/a/b?c=d", BODY)
    assert request.headers["host"] == urlsplit(server.url).netloc
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "whe_1"
    assert request.headers["connection"] == "close"
    assert request.headers["user-agent"].startswith("overnight/")
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "body",
    [
        (answer(b"x" * 100_000),),
        (chunked_head(), chunk(b"begun"), Step.RESET),
        (chunked_head(), chunk(b"begun"), Step.HANG),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Step.CLOSE),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", OK),
        (b"HTTP/1.1 204 No Content\r\n\r\n",),
    ],
    ids=["large", "broken", "endless", "until close", "interim", "none"],
)
async def test_the_status_counts_and_the_body_does_not(body: Answer) -> None:
    outcome = await posted(*[step for step in body if not isinstance(step, asyncio.Event)])
    assert isinstance(outcome, Acknowledged)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with RawServer([OK]) as elsewhere:
        moved = answer(b"", status=status, location=f"{elsewhere.url}/hook")
        outcome = await posted(moved)
        assert elsewhere.requests == []
    assert isinstance(outcome, Refused) and outcome.status == status


async def test_a_receiver_may_say_when_to_come_back() -> None:
    assert await posted(answer(b"", status=429, retry_after="17")) == Failed(
        "the receiver answered 429", 429, 17.0
    )


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((Step.HANG,), "no answer within 0.2 s"),
        ((Step.RESET,), "no answer: "),
        ((Step.CLOSE,), "no answer: "),
        ((b"SSH-2.0-OpenSSH_9.9\r\n",), "the answer cannot be read: it is not valid HTTP"),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000,), "the answer cannot be read"),
    ],
)
async def test_no_answer_is_told_with_its_reason(
    steps: Sequence[bytes | Step], reason: str
) -> None:
    timeout_s = 0.2 if steps == (Step.HANG,) else 5
    outcome = await posted(*steps, timeout_s=timeout_s)
    assert isinstance(outcome, Failed) and outcome.status is None
    assert outcome.reason.startswith(reason)


async def test_nobody_listening_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = await post(a_sender(), f"http://127.0.0.1:{port}/")
    assert outcome == Failed("no connection: Connection refused")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]"])
async def test_nothing_is_sent_to_what_is_not_open(host: str) -> None:
    async with RawServer([OK]) as server:
        port = urlsplit(server.url).port
        outcome = await post(a_sender(allow=()), f"https://{host}:{port}/")
        assert server.requests == [] and server.connections == set()
    assert outcome == Refused("the URL is not allowed: its host has an address that is not public")


async def test_a_url_that_would_not_be_taken_today_is_refused() -> None:
    outcome = await post(a_sender(), "ftp://127.0.0.1/")
    assert outcome == Refused("the URL is not allowed: url: must be an absolute https URL")


async def test_the_judged_address_is_the_one_connected_to() -> None:
    # A name that is public when asked first, and within when asked again, as for an attack.
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with RawServer([OK]) as server:
        port = urlsplit(server.url).port
        url = f"http://rebinding.example:{port}/"
        assert await post(a_sender(resolve=names), url) == Acknowledged(200)
        assert server.requests[0].headers["host"] == f"rebinding.example:{port}"
        assert names.asked == ["rebinding.example"]
        outcome = await post(a_sender(resolve=names), url)
        assert len(server.requests) == 1
    assert isinstance(outcome, Refused)


async def test_one_address_within_is_enough_to_send_nothing() -> None:
    async with RawServer([OK]) as server:
        port = urlsplit(server.url).port
        names = Names(["127.0.0.1", "10.0.0.1"])
        outcome = await post(a_sender(resolve=names), f"http://two-faced.example:{port}/")
        assert server.connections == set()
    assert isinstance(outcome, Refused)


async def test_another_address_is_tried_when_one_cannot_be_reached() -> None:
    async with RawServer([OK]) as server:
        port = urlsplit(server.url).port
        # Nothing listens there.
        names = Names(["127.0.0.77", "127.0.0.1"])
        outcome = await post(a_sender(resolve=names), f"http://many.example:{port}/")
    assert outcome == Acknowledged(200)


async def test_a_name_that_cannot_be_found_may_be_found_another_time() -> None:
    outcome = await post(a_sender(), "https://no-such-host.invalid/")
    assert outcome == Failed("the host cannot be found")


@pytest.mark.parametrize("host", ["receiver.example", "other.example"])
async def test_the_certificate_must_be_that_of_the_host(host: str) -> None:
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("receiver.example").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with RawServer([OK], tls=serving) as server:
        sender = a_sender(resolve=Names(["127.0.0.1"]), tls=trusting)
        outcome = await post(sender, f"https://{host}:{urlsplit(server.url).port}/")
    if host == "receiver.example":
        assert outcome == Acknowledged(200)
    else:
        assert isinstance(outcome, Failed) and "Hostname mismatch" in outcome.reason


async def test_a_certificate_that_nobody_signed_is_not_trusted() -> None:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("receiver.example").configure_cert(serving)
    async with RawServer([OK], tls=serving) as server:
        sender = a_sender(resolve=Names(["127.0.0.1"]))
        outcome = await post(sender, f"https://receiver.example:{urlsplit(server.url).port}/")
        assert server.requests == []
    assert isinstance(outcome, Failed) and "certificate" in outcome.reason
