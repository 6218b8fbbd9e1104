"""Clients that are too slow, too many, or never read: each is let go, and nobody else notices."""

import contextlib
import http.client
import re
import select
import socket
import struct

import pytest
from tests.wire.caller import BATCHES, request, until
from tests.wire.conftest import ServeWith
from tests.wire.raw import chunked, closes, connect, exchange, read_answer, written
from tests.wire.served import Served

from overnight.http.connection import MAX_PIPELINED

_HEALTH = written("GET", "/healthz")
_CHUNKED = "transfer-encoding: chunked"


@pytest.fixture
def hasty(serve_with: ServeWith) -> Served:
    """A service with hardly any patience."""
    return serve_with(client_timeout_s=0.2, client_min_bytes_per_s=1_000_000)


# Slow clients


def test_a_head_that_does_not_end_is_given_up(hasty: Served) -> None:
    with connect(hasty.port) as opened:
        opened.sendall(b"GET / HTTP/1.1\r\nhost: loc")
        answer = read_answer(opened)
        assert answer.status == 408
        assert answer.error == "The head of the request was not complete within 0.2 s"
        assert opened.recv(1) == b""


@pytest.mark.parametrize("nothing", [b"", b"\r\n\r\n"])
def test_whoever_asks_nothing_is_let_go_without_a_word(hasty: Served, nothing: bytes) -> None:
    opened = connect(hasty.port)
    opened.sendall(nothing)
    assert closes(opened) == b""


def test_the_next_request_on_a_connection_has_the_same_time(hasty: Served) -> None:
    with connect(hasty.port) as opened:
        opened.sendall(_HEALTH)
        assert read_answer(opened).status == 200
        opened.sendall(b"GET")
        assert read_answer(opened).status == 408


@pytest.mark.parametrize(
    "begun",
    [
        written("POST", BATCHES, b"{", "content-length: 99999", length=False),
        written("POST", BATCHES, chunked(b"{"), _CHUNKED, length=False),
        written("POST", "/v1/messages", b"1;a=b", _CHUNKED, length=False),
    ],
    ids=["length", "chunks", "extension"],
)
def test_a_body_that_trickles_is_given_up(hasty: Served, begun: bytes) -> None:
    with connect(hasty.port) as opened:
        opened.sendall(begun)
        answer = read_answer(opened)
        assert answer.status == 400
        assert "The request body arrived too slowly: " in answer.error
        assert b"request_body_timeout" in answer.body
        assert opened.recv(1) == b""
    until(lambda: not list(hasty.service.settings.data.glob("objects/*/*")), what="nothing is left")


def test_whoever_does_not_read_the_answers_is_cut_off(hasty: Served) -> None:
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        opened.connect(("127.0.0.1", hasty.port))
        opened.setblocking(False)
        ready = select.poll()
        ready.register(opened, select.POLLOUT)
        # Large, so that few of them are read at once.
        asking = written("GET", "/", b"", *[f"a: {'x' * 2_000}"] * 30)
        rest = asking
        while not ready.poll(10_000)[0][1] & (select.POLLHUP | select.POLLERR):
            with contextlib.suppress(OSError):
                rest = rest[opened.send(rest) :] or asking


def test_a_body_that_was_refused_need_not_be_sent(hasty: Served) -> None:
    with connect(hasty.port) as opened:
        opened.sendall(written("POST", "/nowhere", b"{", "content-length: 99999", length=False))
        assert read_answer(opened).status == 404
        assert closes(opened) == b""


# Many


def test_the_connection_that_waited_longest_gives_way_to_a_new_one(serve_with: ServeWith) -> None:
    served = serve_with(max_connections=3)
    idle = []
    for _ in range(3):
        opened = connect(served.port)
        opened.sendall(_HEALTH)
        assert read_answer(opened).status == 200
        idle.append(opened)
    # It asks again, so it is not the first to go.
    idle[0].sendall(_HEALTH)
    assert read_answer(idle[0]).status == 200
    assert exchange(served.port, _HEALTH).status == 200
    with pytest.raises((http.client.HTTPException, OSError)):
        idle[1].sendall(_HEALTH)
        read_answer(idle[1])
    for opened in idle:
        opened.close()


def test_when_all_are_busy_a_new_one_is_told_to_come_back(serve_with: ServeWith) -> None:
    served = serve_with(max_connections=2)
    caller = served.caller()
    batch = caller.create(request("stuck"))["id"]
    watch = written(
        "GET", f"/overnight/v1/batches/{batch}/progress", b"", "accept: text/event-stream"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            watching = stack.enter_context(connect(served.port))
            watching.sendall(watch)
            assert watching.recv(4_096).startswith(b"HTTP/1.1 200 ")
        refused = exchange(served.port)
        assert refused.status == 503
        assert refused.error == "The service has 2 connections, its limit"
        assert refused.headers["retry-after"] == "1"
    until(lambda: exchange(served.port, _HEALTH).status == 200, what="there is room again")


def test_requests_that_follow_at_once_are_answered_in_order(serve_with: ServeWith) -> None:
    served = serve_with()
    opened = connect(served.port)
    last = written("GET", "/", b"", "connection: close")
    opened.sendall(_HEALTH + written("GET", "/nowhere") + last)
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", closes(opened))
    assert statuses == [b"200", b"404", b"200"]


def test_nobody_may_pile_up_requests(serve_with: ServeWith) -> None:
    opened = connect(serve_with().port)
    opened.sendall(_HEALTH * (MAX_PIPELINED + 2))
    # At once, so that nothing of it can look like an answer to something else.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        assert closes(opened).count(b"HTTP/1.1 ") <= MAX_PIPELINED
