"""Any server that speaks `POST /v1/messages`: Claude, vLLM, SGLang, llama.cpp, Ollama, LiteLLM.

The caller's bytes go out unchanged and the answer's bytes come back unchanged. Redirects are not
followed, proxies of the environment are not used (`proxy_url` names one), compressed answers are
not asked for, and nothing is retried: a call is one HTTP request.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ClientClosedError,
    DecodeError,
    RequestTimeoutError,
    TransportError,
)
from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from overnight import __version__
from overnight.backends import answers
from overnight.clock import Clock, SystemClock
from overnight.errors import ConfigInvalid
from overnight.model import Caching, Call, Failure, FailureKind, Reply
from overnight.wire.headers import API_VERSIONS
from overnight.wire.models import Model

MAX_ANSWER_BYTES = 64 * 1024 * 1024
# More than any error object; what lies beyond is not read.
_MAX_ERROR_BYTES = 1024 * 1024
# uvicorn, which carries vLLM and SGLang, closes a connection after 5 idle seconds; leaving before
# it does keeps a call from being sent into a closing connection.
_IDLE_CONNECTION_S = 4
_MAX_MODEL_PAGES = 20

_TRANSPORT_ERRORS = (TransportError, DecodeError, ClientClosedError)


class _AnswerTooLarge(Exception):
    """The answer is larger than we hold in memory."""


class MessagesBackend:
    """`Backend` over HTTP. `url` may have a path prefix and may end in `/v1`.

    `concurrency` is how many idle connections are kept; how many calls run at once is the
    caller's decision. `read_timeout_s` bounds the silence between two reads, which for a
    non-streaming call is the whole time of thinking; `request_timeout_s` bounds the whole call.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str | None = None,
        concurrency: int = 64,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 600.0,
        request_timeout_s: float = 600.0,
        proxy_url: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root = _root(url)
        self._messages_url = Url(f"{self._root}/v1/messages")
        self._count_url = Url(f"{self._root}/v1/messages/count_tokens")
        self._request_timeout_s = request_timeout_s
        self._clock = clock or SystemClock()
        self._client: Client | None = None
        self._known: dict[str, Model] = {}
        # One runtime thread: on two cores it answered 19,000 to 21,000 requests/s at concurrency
        # 64, the multi-threaded runtime 14,000 to 16,500.
        self._builder = (
            ClientBuilder()
            .runtime_multithreaded(False)
            .connect_timeout(timedelta(seconds=connect_timeout_s))
            .read_timeout(timedelta(seconds=read_timeout_s))
            .timeout(timedelta(seconds=request_timeout_s))
            .pool_idle_timeout(timedelta(seconds=_IDLE_CONNECTION_S))
            .pool_max_idle_per_host(concurrency)
            .follow_redirects(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .no_proxy()
            .user_agent(f"overnight/{__version__}")
            .default_headers(
                {"content-type": "application/json", **credential_headers(self._root, api_key)}
            )
        )
        if proxy_url:
            self._builder = self._builder.proxy(ProxyBuilder.all(proxy_url))

    @property
    def name(self) -> str:
        return "messages"

    @property
    def describes(self) -> str:
        return f"the Messages API at {self._root}"

    @property
    def knows_all_models(self) -> bool:
        return False

    async def start(self) -> None:
        if self._client is None:
            self._client = self._builder.build()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def caching(self, model: str) -> Caching:
        return Caching(marked=True)

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        """Answer one request.

        Canceling the awaiting task does not stop the server: pyreqwest 0.15 drops a call that
        waits for its answer only at the timeout. Who wants to cut a call sets `call.timeout_s`.
        """
        try:
            async with self._post(self._messages_url, call).build_streamed() as response:
                if response.status != 200:
                    return await self._refusal(response)
                body = await _read(response, max_bytes=MAX_ANSWER_BYTES)
                return answers.reply(body, response.get_header)
        except _TRANSPORT_ERRORS as error:
            return _transport_failure(error)
        except _AnswerTooLarge:
            return _answer_too_large()

    async def stream(self, call: Call) -> AsyncIterator[bytes] | Failure:
        """Pass the events on as they come; the upstream call ends when the iterator is closed.

        A connection that breaks after the beginning shows as a last `error` event.
        """
        async with AsyncExitStack() as connection:
            try:
                # Without a limit of 0 the head waits until 64 KiB of the body have come.
                request = self._post(self._messages_url, call).streamed_read_buffer_limit(0)
                response = await connection.enter_async_context(request.build_streamed())
                if response.status != 200:
                    return await self._refusal(response)
            except _TRANSPORT_ERRORS as error:
                return _transport_failure(error)
            content_type = response.get_header("content-type") or ""
            if not content_type.startswith("text/event-stream"):
                what = "answered 200 without an event stream"
                return answers.malformed(what, response.get_header, status=200)
            events = _events(response, connection.pop_all())
            # Begun, so that dropping it closes the connection even if nobody ever reads.
            await anext(events)
            return events
        raise AssertionError("unreachable: an exit stack of ours swallows nothing")

    async def count_tokens(self, call: Call) -> int | Failure:
        try:
            async with self._post(self._count_url, call).build_streamed() as response:
                body = await _read(response, max_bytes=_MAX_ERROR_BYTES)
        except _TRANSPORT_ERRORS as error:
            return _transport_failure(error)
        except _AnswerTooLarge:
            return _answer_too_large()
        if response.status == 200:
            return answers.token_count(body, response.get_header)
        failure = self._failure(response, body)
        if not answers.cannot_count(response.status, body):
            return failure
        return msgspec.structs.replace(
            failure,
            kind=FailureKind.NOT_FOUND,
            error_type="not_found_error",
            message=f"This server's backend ({self.name}) cannot count tokens",
            status=404,
        )

    async def models(self) -> list[Model] | Failure:
        found: dict[str, Model] = {}
        after_id: str | None = None
        for _ in range(_MAX_MODEL_PAGES):
            page = await self._model_page(after_id)
            if isinstance(page, Failure):
                return page
            found |= {model.id: model for model in page.models}
            after_id = page.next_id
            if after_id is None:
                break
        self._known = found
        return sorted(found.values(), key=lambda model: model.created_at, reverse=True)

    def model(self, name: str) -> Model | None:
        return self._known.get(name)

    def _post(self, url: Url, call: Call) -> RequestBuilder:
        assert self._client is not None, "the backend has not been started"
        request = self._client.post(url).header("anthropic-version", call.api_version)
        if call.betas:
            request = request.header("anthropic-beta", ",".join(call.betas))
        if call.user_profile_id is not None:
            request = request.header("anthropic-user-profile-id", call.user_profile_id)
        if call.timeout_s is not None:
            timeout_s = min(call.timeout_s, self._request_timeout_s)
            request = request.timeout(timedelta(seconds=timeout_s))
        return request.body_bytes(call.params)

    async def _model_page(self, after_id: str | None) -> answers.ModelList | Failure:
        assert self._client is not None, "the backend has not been started"
        query = {"limit": "1000"} | ({"after_id": after_id} if after_id else {})
        request = self._client.get(f"{self._root}/v1/models?{urlencode(query)}")
        request = request.header("anthropic-version", API_VERSIONS[0])
        try:
            async with request.build_streamed() as response:
                if response.status != 200:
                    return await self._refusal(response)
                body = await _read(response, max_bytes=MAX_ANSWER_BYTES)
                return answers.model_list(body, response.get_header)
        except _TRANSPORT_ERRORS as error:
            return _transport_failure(error)
        except _AnswerTooLarge:
            return _answer_too_large()

    async def _refusal(self, response: Response) -> Failure:
        try:
            body = await _read(response, max_bytes=_MAX_ERROR_BYTES)
        except _AnswerTooLarge:
            body = b""
        return self._failure(response, body)

    def _failure(self, response: Response, body: bytes) -> Failure:
        now = self._clock.now()
        return answers.refusal(response.status, body, response.get_header, now=now)


def credential_headers(url: str, api_key: str | None) -> dict[str, str]:
    """Choose the headers that carry the key.

    Claude's API documents `x-api-key` for keys of all kinds and versions. vLLM and SGLang read
    only `Authorization: Bearer`, so does Ollama's cloud; other servers and gateways read only
    `x-api-key`: they get both, with the same key.
    Source: vllm #51572, sglang #35720, sub2api #3627 (read 2026-11-22).
    """
    if not api_key:
        return {}
    host = urlsplit(url).hostname or ""
    if host == "anthropic.com" or host.endswith(".anthropic.com"):
        return {"x-api-key": api_key}
    return {"x-api-key": api_key, "authorization": f"Bearer {api_key}"}


def _root(url: str) -> str:
    """Give the URL before `/v1`, without a slash at the end.

    Raises: ConfigInvalid for anything but a plain http(s) URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigInvalid(
            f"backend: {url!r} is not an http:// or https:// URL",
            hint="for example http://localhost:8000",
        )
    if parts.username or parts.query or parts.fragment:
        raise ConfigInvalid(
            f"backend: the URL of {parts.hostname} has a user name, a query or a fragment",
            hint="give scheme, host, port and path only; the API key comes from the environment",
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


async def _read(response: Response, *, max_bytes: int) -> bytes:
    """Read the whole answer.

    Raises: _AnswerTooLarge as soon as it is known to have more than `max_bytes`.
    """
    announced = response.get_header("content-length")
    if announced is not None:
        if int(announced) > max_bytes:
            raise _AnswerTooLarge
        return (await response.bytes()).to_bytes()
    chunks: list[bytes] = []
    size_bytes = 0
    while (chunk := await response.body_reader.read_chunk()) is not None:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise _AnswerTooLarge
        chunks.append(chunk.to_bytes())
    return b"".join(chunks)


async def _events(response: Response, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    """Give nothing, then chunks at the consumer's pace; leaving early closes the connection."""
    async with connection:
        ending = b""
        try:
            yield b""
            while (chunk := await response.body_reader.read_chunk()) is not None:
                data = chunk.to_bytes()
                ending = (ending + data)[-2:]
                yield data
        except _TRANSPORT_ERRORS as error:
            failure = _transport_failure(error)
            body = {"type": failure.error_type, "message": failure.message}
            data = msgspec.json.encode({"type": "error", "error": body})
            # A blank line ends the event that was cut in the middle.
            gap = b"" if ending in (b"", b"\n\n") else b"\n\n"
            yield gap + b"event: error\ndata: " + data + b"\n\n"


def _answer_too_large() -> Failure:
    return Failure(
        kind=FailureKind.MALFORMED,
        error_type="api_error",
        message=f"The backend's answer is larger than {MAX_ANSWER_BYTES} bytes",
    )


def _transport_failure(error: TransportError | DecodeError | ClientClosedError) -> Failure:
    """Tell apart what may have been sent from what was not.

    The classes alone do not: pyreqwest 0.15 raises ConnectError also for a connection that breaks
    after the request went out, and ConnectTimeoutError for any wait for the head of the answer.
    """
    causes = [cause["message"] for cause in error.details["causes"] or ()]
    reason = causes[-1] if causes else error.message
    kind, message = _transport_kind(error, causes)
    return Failure(
        kind=kind,
        error_type="timeout_error" if kind is FailureKind.TIMEOUT else "api_error",
        message=f"{message}: {reason}",
    )


def _transport_kind(error: Exception, causes: list[str]) -> tuple[FailureKind, str]:
    connecting = "client error (Connect)" in causes
    cut_short = "end of file before message length reached" in causes
    if connecting:
        return FailureKind.UNREACHABLE, "The backend cannot be reached"
    if isinstance(error, RequestTimeoutError):
        return FailureKind.TIMEOUT, "The backend did not answer in time"
    if isinstance(error, DecodeError) and not cut_short:
        return FailureKind.MALFORMED, "The backend's answer is not valid HTTP"
    return FailureKind.RESET, "The connection to the backend broke before its answer was whole"
