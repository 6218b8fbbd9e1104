"""A thin client of the Message Batches API, for the command line."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import click
import msgspec
from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import ConnectError, RequestError
from pyreqwest.request import SyncRequestBuilder
from pyreqwest.response import SyncResponse

from overnight import __version__
from overnight.errors import (
    SPEND_LIMIT_REACHED,
    AuthenticationFailed,
    BudgetExceeded,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    OvernightError,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    ServerUnreachable,
    Unavailable,
)
from overnight.parsing import UNREADABLE, why
from overnight.wire.batches import MessageBatch

DEFAULT_BASE_URL = "http://127.0.0.1:8484"
API_VERSION = "2023-06-01"
BATCHES = "/v1/messages/batches"
PAGE_ROWS = 1_000
CHUNK_BYTES = 1 << 18
# Waits before the second and third try of a call that may be repeated.
RETRY_WAITS_S = (0.3, 1.0)
MAX_RETRY_AFTER_S = 10.0
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 529})

_BY_STATUS: dict[int, type[OvernightError]] = {
    kind.status: kind
    for kind in (
        InvalidRequest, AuthenticationFailed, PermissionDenied, NotFound, MethodNotAllowed,
        RequestTooLarge, RateLimited, Unavailable,
    )
}  # fmt: skip

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])


def server_flag(command: F) -> F:
    """Add `--base-url`."""
    return click.option(
        "--base-url",
        metavar="URL",
        help="Server to call.  [OVERNIGHT_BASE_URL, ANTHROPIC_BASE_URL, "
        f"default: {DEFAULT_BASE_URL}]",
    )(command)


class Created(NamedTuple):
    """A new batch, and what the server says of budgets that are nearly used up."""

    batch: MessageBatch
    warning: str | None


class Client:
    """Calls one server. Every method raises an OvernightError for whatever goes wrong."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        workspace_id: str | None = None,
        as_admin: bool = False,
    ) -> None:
        """`as_admin` prefers the key of OVERNIGHT_ADMIN_KEY."""
        self.base_url = _base_url(base_url)
        self._http = _http_client(workspace_id, as_admin=as_admin)

    def create(
        self,
        body: Iterable[bytes],
        *,
        estimate_id: str | None = None,
        max_cost_usd: Decimal | None = None,
        auto_cache: bool | None = None,
    ) -> Created:
        """Create a batch from a JSON body. Not repeated once the server may have read it."""

        def send() -> SyncResponse:
            request = self._http.post(self.base_url + BATCHES)
            if estimate_id:
                request = request.header("overnight-estimate-id", estimate_id)
            if max_cost_usd is not None:
                request = request.header("overnight-max-cost-usd", f"{max_cost_usd:f}")
            if auto_cache is not None:
                request = request.header("overnight-auto-cache", str(auto_cache).lower())
            return (
                request.header("content-type", "application/json").body_stream(body).build().send()
            )

        with self._reaching():
            answer = _checked(send())
            warning = answer.get_header("overnight-budget-warning")
            return Created(_decoded(answer, MessageBatch), warning)

    def retrieve(self, batch_id: str) -> MessageBatch:
        return _decoded(self._repeated("GET", _path(batch_id)), MessageBatch)

    def cancel(self, batch_id: str) -> MessageBatch:
        return _decoded(self._repeated("POST", _path(batch_id) + "/cancel"), MessageBatch)

    def delete(self, batch_id: str) -> None:
        self._repeated("DELETE", _path(batch_id))

    def batches(self) -> Iterator[MessageBatch]:
        """Give all batches, the newest first, a page at a time."""
        after = ""
        while True:
            page = self._repeated("GET", f"{BATCHES}?limit={PAGE_ROWS}{after}")
            rows = _decoded(page, _Page)
            yield from rows.data
            if not rows.has_more or not rows.data:
                return
            after = f"&after_id={quote(rows.data[-1].id)}"

    def results(self, batch_id: str) -> Iterator[bytes]:
        """Give the JSON lines of an ended batch in pieces as they come."""
        with self._reaching():
            request = self._http.get(self.base_url + _path(batch_id) + "/results")
            with request.build_streamed() as response:
                _checked(response)
                while chunk := response.body_reader.read(CHUNK_BYTES):
                    yield bytes(chunk)

    def progress(self, batch_id: str) -> SyncResponse:
        """Ask for the live progress, an extension that only Overnight serves."""
        return self._repeated("GET", f"/overnight/v1/batches/{quote(batch_id)}/progress")

    def cost(self, batch_id: str) -> dict[str, Any]:
        """Give what a batch has cost, an extension that only Overnight serves."""
        response = self._repeated("GET", f"/overnight/v1/batches/{quote(batch_id)}/cost")
        return _decoded(response, dict[str, Any])

    def keep_estimate(self, low_usd: str, high_usd: str) -> str:
        """Keep a range on the server, an extension of Overnight; give its id."""
        body = {"low_usd": low_usd, "high_usd": high_usd}
        return str(self._posted("/overnight/v1/estimates", body)["id"])

    def count_tokens(self, params: Mapping[str, Any]) -> int:
        """Count the prompt of one request as the server's backend does."""
        return int(self._posted("/v1/messages/count_tokens", params)["input_tokens"])

    def get(self, path: str, kind: type[R], *, beta: str | None = None) -> R:
        """Ask for one object."""
        return _decoded(self._repeated("GET", path, beta), kind)

    def post(
        self, path: str, body: Mapping[str, Any], kind: type[R], *, beta: str | None = None
    ) -> R:
        """Bring about a change, which is not asked for twice."""
        content = msgspec.json.encode(body)
        with self._reaching():
            request = self._request("POST", path, beta)
            request = request.header("content-type", "application/json").body_bytes(content)
            return _decoded(_checked(request.build().send()), kind)

    def remove(self, path: str, kind: type[R], *, beta: str | None = None) -> R:
        """Delete one object; gives what the server says of it."""
        return _decoded(self._repeated("DELETE", path, beta), kind)

    def resolve(self, text: str) -> str:
        """Give the id that `text` is, or the only one that it begins."""
        if len(text) == len("msgbatch_01") + 22 and text.startswith("msgbatch_"):
            return text
        starts = (text, f"msgbatch_{text}", f"msgbatch_01{text}")
        found = [batch.id for batch in self.batches() if batch.id.startswith(starts)]
        if text in found:
            return text
        if not found:
            raise NotFound(f"{text}: no batch has this id", hint="overnight batches list")
        if len(found) > 1:
            listed = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
            raise InvalidRequest(
                f"{text}: {len(found)} batches begin so: {listed}", hint="give more of the id"
            )
        return found[0]

    def _request(self, method: str, path: str, beta: str | None) -> SyncRequestBuilder:
        request = self._http.request(method, self.base_url + path)
        return request.header("anthropic-beta", beta) if beta else request

    def _repeated(self, method: str, path: str, beta: str | None = None) -> SyncResponse:
        """Make a call that may be repeated; up to three tries."""
        with self._reaching():
            for wait_s in RETRY_WAITS_S:
                try:
                    response = self._request(method, path, beta).build().send()
                except RequestError:
                    time.sleep(wait_s)
                    continue
                if not _worth_repeating(response):
                    return _checked(response)
                time.sleep(max(wait_s, _retry_after_s(response)))
            return _checked(self._request(method, path, beta).build().send())

    def _posted(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post what may be posted again; gives the answer's object."""
        content = msgspec.json.encode(body)

        def send() -> SyncResponse:
            request = self._http.post(self.base_url + path)
            return (
                request.header("content-type", "application/json")
                .body_bytes(content)
                .build()
                .send()
            )

        with self._reaching():
            for wait_s in RETRY_WAITS_S:
                response = send()
                if not _worth_repeating(response):
                    return _decoded(_checked(response), dict[str, Any])
                time.sleep(max(wait_s, _retry_after_s(response)))
            return _decoded(_checked(send()), dict[str, Any])

    @contextmanager
    def _reaching(self) -> Generator[None]:
        try:
            yield
        except ConnectError as error:
            hint = "overnight serve, or name another server with --base-url"
            if "certificate" in (reason := _reason(error)):
                hint = "SSL_CERT_FILE=ca.pem trusts those who issued the server's certificate"
            raise ServerUnreachable(f"{self.base_url}: {reason}", hint=hint) from None
        except RequestError as error:
            raise ServerUnreachable(
                f"{self.base_url}: {_reason(error)}", hint="try the same command again"
            ) from None


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    data: list[MessageBatch]
    has_more: bool = False


def _base_url(given: str | None) -> str:
    environ = os.environ
    url = (
        given
        or environ.get("OVERNIGHT_BASE_URL")
        or environ.get("ANTHROPIC_BASE_URL")
        or DEFAULT_BASE_URL
    )
    if not url.startswith(("http://", "https://")):
        raise InvalidRequest(
            f"base URL {url}: must begin with http:// or https://",
            hint=f"the default is {DEFAULT_BASE_URL}",
        )
    return url.rstrip("/").removesuffix("/v1")


def _http_client(workspace_id: str | None, *, as_admin: bool) -> SyncClient:
    headers = {"anthropic-version": API_VERSION, "accept": "application/json"}
    if workspace_id is not None:
        headers["anthropic-workspace-id"] = workspace_id
    admin_key = os.environ.get("OVERNIGHT_ADMIN_KEY") if as_admin else None
    if key := admin_key or os.environ.get("ANTHROPIC_API_KEY"):
        headers["x-api-key"] = key
    elif token := os.environ.get("ANTHROPIC_AUTH_TOKEN"):
        headers["authorization"] = f"Bearer {token}"
    return (
        SyncClientBuilder()
        .default_headers(headers)
        .user_agent(f"overnight/{__version__}")
        .connect_timeout(timedelta(seconds=5))
        .read_timeout(timedelta(seconds=600))
        # A redirect would carry the key to another host.
        .follow_redirects(False)
        .build()
    )


def _path(batch_id: str) -> str:
    return f"{BATCHES}/{quote(batch_id, safe='')}"


def _decoded(response: SyncResponse, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(bytes(response.bytes()), type=kind)
    except UNREADABLE as error:
        raise ServerUnreachable(
            f"the answer is not a Message Batches object: {why(error)}", hint="check --base-url"
        ) from None


def _checked(response: SyncResponse) -> SyncResponse:
    """Give a good answer back; raise a bad one as the class of its status."""
    if response.status < 300:
        return response
    request_id = response.get_header("request-id")
    error = _error(bytes(response.bytes()))
    message = error.message or f"the server answered {response.status}"
    default = ServerUnreachable if response.status >= 500 else InvalidRequest
    kind = _BY_STATUS.get(response.status, default)
    hint = None
    if error.code == SPEND_LIMIT_REACHED:
        kind, hint = BudgetExceeded, "overnight estimate FILE says what a batch will cost"
    if response.status == 401:
        hint = "set ANTHROPIC_API_KEY to a key of this server, OVERNIGHT_ADMIN_KEY to administer it"
    if message.startswith("anthropic-workspace-id:"):
        hint = "name it: --workspace NAME, or OVERNIGHT_WORKSPACE; overnight workspaces list"
    raise kind(message + (f" ({request_id})" if request_id else ""), hint=hint)


class _Error(NamedTuple):
    message: str | None = None
    code: str | None = None


def _error(body: bytes) -> _Error:
    try:
        error: Any = msgspec.json.decode(body)["error"]
        return _Error(str(error["message"]), error.get("details", {}).get("error_code"))
    except (*UNREADABLE, KeyError, TypeError, AttributeError):
        return _Error()


def _worth_repeating(response: SyncResponse) -> bool:
    if verdict := response.get_header("x-should-retry"):
        return verdict == "true"
    return response.status in RETRIED_STATUSES


def _retry_after_s(response: SyncResponse) -> float:
    try:
        return min(float(response.get_header("retry-after") or 0), MAX_RETRY_AFTER_S)
    except ValueError:
        return 0.0


def _reason(error: RequestError) -> str:
    """Give the innermost cause: `Connection refused (os error 111)`."""
    causes = error.details["causes"] or []
    return causes[-1]["message"] if causes else error.message
