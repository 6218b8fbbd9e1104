"""A caller on a raw HTTP/1.1 connection: what it sends is sent as it stands."""

import http.client
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Object = dict[str, Any]

BATCHES = "/v1/messages/batches"
VERSION = "2026-10-21"
_WITHIN_S = 20.0
_POLL_S = 0.01


class Answer(NamedTuple):
    """What came back, bytes and header order kept."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Give a header that must not be there twice; None when it is absent."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name}: sent {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def error(self) -> tuple[int, str, str]:
        """Give status, type and message of an error answer."""
        inner = self.json["error"]
        return self.status, inner["type"], inner["message"]


class Caller:
    """Calls one service with one key, as the SDKs do it: `Authorization: Bearer`, the version."""

    def __init__(self, port: int, key: str, workspace_id: str) -> None:
        self.port = port
        self.key = key
        self.workspace_id = workspace_id

    @property
    def usual_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "anthropic-version": VERSION}

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Headers = (),
        without: Iterable[str] = (),
    ) -> Answer:
        """Send a request: the usual headers but those in `without`, and the ones given."""
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name.lower() for name, _ in given} | set(without)
        usual = [(k, v) for k, v in self.usual_headers.items() if k not in names]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(
                method, path, skip_host="host" in names, skip_accept_encoding=True
            )
            for name, value in [*usual, *given]:
                connection.putheader(name, value)
            if body is not None and not names & {"content-length", "transfer-encoding"}:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def get(self, path: str, *, headers: Headers = (), without: Iterable[str] = ()) -> Answer:
        return self.call("GET", path, headers=headers, without=without)

    def post(self, path: str, content: Any, *, headers: Headers = ()) -> Answer:
        """Send JSON; bytes go as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.call(
            "POST",
            path,
            body,
            headers=[
                ("content-type", "application/json"),
                *(headers.items() if isinstance(headers, Mapping) else headers),
            ],
        )

    def create(self, *requests: Object, headers: Headers = ()) -> Object:
        """Create a batch and give its object."""
        answer = self.post(BATCHES, {"requests": list(requests)}, headers=headers)
        assert answer.status == 200, answer
        batch: Object = answer.json
        return batch

    def batch(self, batch_id: str) -> Object:
        answer = self.get(f"{BATCHES}/{batch_id}")
        assert answer.status == 200, answer
        batch: Object = answer.json
        return batch

    def ended(self, batch_id: str) -> Object:
        """Poll until the batch has ended, and give its object."""
        until(lambda: self.batch(batch_id)["processing_status"] == "ended", what=f"{batch_id} ends")
        return self.batch(batch_id)

    def run(self, *requests: Object, headers: Headers = ()) -> Object:
        """Create a batch and wait for its end."""
        return self.ended(self.create(*requests, headers=headers)["id"])

    def results(self, batch_id: str) -> dict[str, Object]:
        """Download the results: `result` by `custom_id`."""
        answer = self.get(f"{BATCHES}/{batch_id}/results")
        assert answer.status == 200, answer
        lines = [json.loads(line) for line in answer.body.decode().split("\n") if line]
        return {line["custom_id"]: line["result"] for line in lines}


def request(custom_id: str = "a", **params: Any) -> Object:
    """Make one request of a batch that succeeds; None takes a parameter out."""
    usual = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 32,
        "messages": [{"role": "user", "content": "Summarize: the night is long."}],
    }
    merged = {key: value for key, value in {**usual, **params}.items() if value is not None}
    return {"custom_id": custom_id, "params": merged}


def until(holds: Callable[[], bool], *, what: str) -> None:
    """Return once a condition holds. Raises: AssertionError that says what did not come."""
    give_up_at = time.monotonic() + _WITHIN_S
    while not holds():
        assert time.monotonic() < give_up_at, f"not within {_WITHIN_S:g} s: {what}"
        time.sleep(_POLL_S)
