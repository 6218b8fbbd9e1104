"""The wire as a test speaks it: calls by name, answers as status, headers and JSON."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from pyreqwest.client import Client, ClientBuilder
from tests.support.waiting import until

MODEL = "claude-haiku-4-5"
_HEADERS = {"anthropic-version": "2023-06-01", "content-type": "application/json"}
_TIMEOUT = timedelta(seconds=30)


class Answer(NamedTuple):
    status: int
    # Names in lower case.
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Give the inner error of an error answer."""
        assert self.status >= 400, self
        error: dict[str, Any] = self.json["error"]
        return error


def params(text: str = "Say something.", **more: Any) -> dict[str, Any]:
    """Make the params of one request."""
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 64, "messages": messages, **more}


def requests(count: int, *, prefix: str = "r", **more: Any) -> list[dict[str, Any]]:
    """Make the requests of a batch, each with its own id and text."""
    return [
        {"custom_id": f"{prefix}-{i}", "params": params(f"Document {prefix}-{i}", **more)}
        for i in range(count)
    ]


class Api:
    """A client without retries; each call gives the answer, whatever it is."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self._base_url = base_url
        self._headers = {**_HEADERS, **(headers or {})}
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        self._client = ClientBuilder().timeout(_TIMEOUT).build()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._client is not None
        await self._client.close()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        assert self._client is not None
        request = self._client.request(method, self._base_url + path).headers(
            {**self._headers, **(headers or {})}
        )
        if body is not None:
            request = request.body_bytes(body)
        response = await request.build().send()
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, found, bytes(await response.bytes()))

    async def create(
        self, requests: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = msgspec.json.encode({"requests": requests})
        return await self.call("POST", "/v1/messages/batches", body, headers)

    async def created(self, requests: Sequence[Mapping[str, Any]]) -> str:
        """Create a batch that must be accepted; give its id."""
        answer = await self.create(requests)
        assert answer.status == 200, answer
        batch_id: str = answer.json["id"]
        return batch_id

    async def get(self, batch_id: str) -> Answer:
        return await self.call("GET", f"/v1/messages/batches/{batch_id}")

    async def list(self, query: str = "") -> Answer:
        return await self.call("GET", f"/v1/messages/batches{query}")

    async def cancel(self, batch_id: str) -> Answer:
        return await self.call("POST", f"/v1/messages/batches/{batch_id}/cancel")

    async def delete(self, batch_id: str) -> Answer:
        return await self.call("DELETE", f"/v1/messages/batches/{batch_id}")

    async def results(self, batch_id: str) -> Answer:
        return await self.call("GET", f"/v1/messages/batches/{batch_id}/results")

    async def progress(self, batch_id: str) -> Any:
        """Give live progress."""
        return (await self.call("GET", f"/overnight/v1/batches/{batch_id}/progress")).json

    async def ended(self, batch_id: str, *, timeout_s: float = 15) -> dict[str, Any]:
        """Wait for the end; give the batch object."""
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            answer = await self.get(batch_id)
            assert answer.status == 200, answer
            found.update(answer.json)
            return bool(found["processing_status"] == "ended")

        await until(has_ended, what=f"the end of {batch_id}", timeout_s=timeout_s)
        return found

    async def lines(self, batch_id: str) -> dict[str, dict[str, Any]]:
        """Give the results by custom_id. Raises: AssertionError when an id comes twice."""
        answer = await self.results(batch_id)
        assert answer.status == 200, answer
        return read_lines(answer.body)


def read_lines(body: bytes) -> dict[str, dict[str, Any]]:
    """Read a results stream; refuses empty lines and repeated ids."""
    found: dict[str, dict[str, Any]] = {}
    for line in body.removesuffix(b"\n").split(b"\n"):
        row = msgspec.json.decode(line)
        assert row["custom_id"] not in found, f"twice: {row['custom_id']}"
        found[row["custom_id"]] = row["result"]
    return found
