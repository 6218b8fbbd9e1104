"""Connections as real clients use them: kept alive, refused early, asked to continue.

Pins protocol.md §15.4, §15.9, and the ways of curl.
"""

import http.client
import json
import socket

import anthropic
import pytest
from tests.wire.caller import BATCHES, Caller, request, until
from tests.wire.conftest import ServeWith
from tests.wire.served import HELD_S

_BODY = json.dumps({"requests": [request()]}).encode()


def test_one_connection_serves_many_calls(caller: Caller) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", caller.port, timeout=30)
    connection.connect()
    opened = connection.sock
    for method, path, body, status in [
        ("POST", BATCHES, _BODY, 200),
        ("GET", BATCHES, None, 200),
        ("POST", BATCHES, b"not json", 400),
        ("GET", "/v1/nothing", None, 404),
        ("POST", f"{BATCHES}/x/cancel", None, 404),
        ("GET", f"{BATCHES}?limit=1", None, 200),
    ]:
        connection.request(method, path, body, caller.usual_headers)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is opened, f"closed after {method} {path}"
    connection.close()


def test_a_connection_survives_a_body_that_was_refused_unread(caller: Caller) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", caller.port, timeout=30)
    wrong = {**caller.usual_headers, "authorization": "Bearer sk-wrong"}
    connection.request("POST", BATCHES, b" " * 3_000_000, wrong)
    refused = connection.getresponse()
    refused.read()
    assert refused.status == 401
    connection.request("GET", BATCHES, headers=caller.usual_headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_large_body_above_the_limit_gives_its_sender_an_answer(serve_with: ServeWith) -> None:
    served = serve_with(max_batch_bytes=1_000_000)
    content = "x" * 20_000_000
    big = request(messages=[{"role": "user", "content": content}])
    with (
        anthropic.Anthropic(base_url=served.url, api_key="not-needed") as client,
        pytest.raises(anthropic.ContentTooLargeError),
    ):
        client.post("/v1/messages/batches", body={"requests": [big]}, cast_to=object)


def _exchange(port: int, head: list[str]) -> tuple[socket.socket, bytes]:
    opened = socket.create_connection(("127.0.0.1", port), timeout=30)
    opened.sendall("\r\n".join([*head, "", ""]).encode())
    return opened, opened.recv(65_536)


def _head(caller: Caller, length: int) -> list[str]:
    usual = [f"{name}: {value}" for name, value in caller.usual_headers.items()]
    return [
        f"POST {BATCHES} HTTP/1.1",
        "host: x",
        *usual,
        f"content-length: {length}",
        "expect: 100-continue",
    ]


def test_a_client_that_asks_to_continue_may_continue(caller: Caller) -> None:
    opened, first = _exchange(caller.port, _head(caller, len(_BODY)))
    with opened:
        assert first.startswith(b"HTTP/1.1 100 ")
        opened.sendall(_BODY)
        assert opened.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_to_continue_is_told_at_once_that_its_body_is_too_large(
    caller: Caller,
) -> None:
    opened, first = _exchange(caller.port, _head(caller, 268_435_457))
    with opened:
        assert first.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", [f"{BATCHES}/", f"/{BATCHES}", "/", "/v1", "/v1/messages/"])
def test_no_path_is_redirected(caller: Caller, path: str) -> None:
    answer = caller.get(path)
    assert not 300 <= answer.status < 400
    assert answer.header("request-id") is not None


def test_a_create_that_is_sent_again_makes_a_second_batch(caller: Caller) -> None:
    assert caller.create(request())["id"] != caller.create(request())["id"]
    assert len(caller.get(BATCHES).json["data"]) == 2


def test_with_an_idempotency_key_it_does_not(caller: Caller) -> None:
    key = {"idempotency-key": "tonight"}
    first = caller.create(request(), headers=key)
    assert caller.create(request(), headers=key)["id"] == first["id"]
    assert len(caller.get(BATCHES).json["data"]) == 1
    answer = caller.post(BATCHES, {"requests": [request("a"), request("b")]}, headers=key)
    assert answer.error[:2] == (400, "invalid_request_error")


def test_counts_can_be_set_to_be_live(serve_with: ServeWith) -> None:
    served = serve_with(live_counts=True)
    caller = served.caller()
    batch = caller.create(request("held"), request("quick"))
    progress = f"/overnight/v1/batches/{batch['id']}/progress"
    served.sending(1)
    until(lambda: caller.get(progress).json["counts"]["succeeded"] == 1, what="an answer")
    assert list(caller.batch(batch["id"])["request_counts"].values()) == [1, 1, 0, 0, 0]
    served.advance(HELD_S)
    caller.ended(batch["id"])
