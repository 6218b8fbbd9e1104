"""Any server that speaks `POST /v1/messages`: Claude, vLLM, SGLang, llama.cpp, Ollama, LiteLLM.

The caller's bytes go out unchanged and the answer's bytes come back unchanged. Redirects are not
followed, proxies are not used, compressed answers are not asked for, and nothing is retried: a
call is one HTTP request.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import certifi
import msgspec

from overnight import __version__
from overnight.backends import answers
from overnight.backends.assembly import Assembly
from overnight.backends.http1 import Client, Origin, Timeouts
from overnight.backends.incoming import Answer, NoAnswer, Stream, too_large
from overnight.backends.sse import error_event
from overnight.catalogue import known_models
from overnight.clock import Clock, SystemClock
from overnight.errors import ConfigInvalid
from overnight.model import Caching, Call, Failure, FailureKind, Reply
from overnight.settings import PrefixCaching, is_anthropic
from overnight.wire.headers import API_VERSIONS
from overnight.wire.models import Model

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_MODEL_PAGES = 20
# From the answer's begin until Claude's API finds the entry it wrote.
# Source: anthropic-sdk-python #1451 (the second of two calls misses, 2 s later it hits), 2026-09.
_ANTHROPIC_SETTLE_S = 2.0
# Servers that keep everything keep it in blocks of 16 to 64 tokens.
_AUTOMATIC_MIN_TOKENS = 64

# What stands for our key where a server has written it.
_HIDDEN = "***"

_MESSAGES = "/v1/messages"
_COUNT_TOKENS = "/v1/messages/count_tokens"
_MODELS = "/v1/models"

_WHAT_HAPPENED = {
    FailureKind.UNREACHABLE: "The backend cannot be reached",
    FailureKind.TIMEOUT: "The backend did not answer in time",
    FailureKind.MALFORMED: "The backend's answer cannot be read",
    FailureKind.RESET: "The connection to the backend broke before its answer was whole",
}


class MessagesBackend:
    """`Backend` over HTTP. `url` may have a path prefix and may end in `/v1`.

    `concurrency` is how many idle connections are kept; how many calls run at once is the
    caller's decision. `first_byte_timeout_s` bounds the silence before an answer, which for a
    non-streaming call is the whole time of thinking, and is `request_timeout_s` when not given;
    `idle_timeout_s` bounds the silence within it, `request_timeout_s` the whole call.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str | None = None,
        concurrency: int = 64,
        connect_timeout_s: float = 5.0,
        first_byte_timeout_s: float | None = None,
        idle_timeout_s: float = 120.0,
        request_timeout_s: float = 600.0,
        prefix_caching: PrefixCaching = "auto",
        stream_leaders: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._root = _root(url)
        self._api_key = api_key
        self._origin_head = _origin_head(self._root, api_key)
        self._path = quote(urlsplit(self._root).path, safe="/%:@!$&'()*+,;=~")
        self._post_heads = {
            path: f"POST {self._path}{path} HTTP/1.1\r\n".encode() + self._origin_head
            for path in (_MESSAGES, _COUNT_TOKENS)
        }
        self._max_idle = concurrency
        self._timeouts = Timeouts(
            connect_s=connect_timeout_s,
            first_byte_s=first_byte_timeout_s or request_timeout_s,
            idle_s=idle_timeout_s,
            total_s=request_timeout_s,
        )
        self._prefix_caching = prefix_caching
        self._stream_leaders = stream_leaders
        self._clock = clock or SystemClock()
        self._client: Client | None = None
        self._known: dict[str, Model] = {}

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
            self._client = Client(
                _origin(self._root),
                timeouts=self._timeouts,
                max_idle=self._max_idle,
                max_bytes=MAX_ANSWER_BYTES,
            )

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def caching(self, model: str) -> Caching:
        match self._prefix_caching:
            case "none":
                return Caching()
            case "automatic" | "shared":
                return Caching(
                    marked=True,
                    automatic=True,
                    shares_in_flight=self._prefix_caching == "shared",
                    min_tokens=_AUTOMATIC_MIN_TOKENS,
                )
            case _:
                known = known_models().find(model)
                least = known.min_cacheable_tokens if known is not None else None
                settle_s = _ANTHROPIC_SETTLE_S if is_anthropic(self._root) else 0.0
                return Caching(marked=True, min_tokens=least or 1024, settle_s=settle_s)

    async def send(self, call: Call, begun: Callable[[], None] | None = None) -> Reply | Failure:
        """Answer one request. Canceling closes the connection, so that the server may stop.

        With `begun` the server is asked to stream, for that is how it shows that it has begun.
        """
        try:
            # Params that speak of streaming themselves, even to say no, go out as they are.
            if begun is not None and self._stream_leaders and b'"stream"' not in call.params:
                return await self._send_streamed(call, begun)
            answer = await self._exchange(self._post(_MESSAGES, call), call.timeout_s)
        except NoAnswer as error:
            return _no_answer(error)
        if answer.head.status != 200:
            return self._refusal(answer)
        return answers.reply(answer.body, answer.head.header)

    async def stream(self, call: Call) -> AsyncIterator[bytes] | Failure:
        """Pass the events on as they come; the upstream call ends when the iterator is closed.

        A connection that breaks after the beginning shows as a last `error` event.
        """
        try:
            stream = await self._open(self._post(_MESSAGES, call), call.timeout_s)
            if stream.head.status != 200:
                return self._refusal(Answer(stream.head, await stream.read(MAX_ANSWER_BYTES)))
        except NoAnswer as error:
            return _no_answer(error)
        if not _has_events(stream):
            stream.close()
            what = "answered 200 without an event stream"
            return answers.malformed(what, stream.head.header, status=200)
        events = _events(stream)
        # Begun, so that dropping it closes the connection even if nobody ever reads.
        await anext(events)
        return events

    async def count_tokens(self, call: Call) -> int | Failure:
        try:
            answer = await self._exchange(self._post(_COUNT_TOKENS, call), call.timeout_s)
        except NoAnswer as error:
            return _no_answer(error)
        if answer.head.status == 200:
            return answers.token_count(answer.body, answer.head.header)
        failure = self._refusal(answer)
        if not answers.cannot_count(answer.head.status, answer.body):
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

    async def _send_streamed(self, call: Call, begun: Callable[[], None]) -> Reply | Failure:
        params = call.params.replace(b"{", b'{"stream":true,', 1)
        call = msgspec.structs.replace(call, params=params)
        stream = await self._open(self._post(_MESSAGES, call), call.timeout_s)
        head = stream.head
        if head.status != 200:
            return self._refusal(Answer(head, await stream.read(MAX_ANSWER_BYTES)))
        if not _has_events(stream):
            return answers.reply(await stream.read(MAX_ANSWER_BYTES), head.header)
        assembly, told = Assembly(), False
        size_bytes = 0
        try:
            while data := await stream.chunk():
                size_bytes += len(data)
                if size_bytes > MAX_ANSWER_BYTES:
                    what = f"sent more than {MAX_ANSWER_BYTES} bytes"
                    return answers.malformed(what, head.header, status=200)
                assembly.feed(data)
                if assembly.begun and not told:
                    told = True
                    begun()
        except NoAnswer:
            if not assembly.ended:
                raise
        finally:
            stream.close()
        outcome = assembly.outcome(head.header)
        return self._keyless(outcome) if isinstance(outcome, Failure) else outcome

    def _post(self, path: str, call: Call) -> bytes:
        lines = _call_head(call.api_version, call.betas, call.user_profile_id)
        params = call.params
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (
            self._post_heads[path], lines, len(params), params,
        )  # fmt: skip

    def _exchange(
        self, request: bytes, timeout_s: float | None = None
    ) -> Coroutine[Any, Any, Answer]:
        assert self._client is not None, "the backend has not been started"
        return self._client.exchange(request, timeout_s)

    def _open(self, request: bytes, timeout_s: float | None) -> Coroutine[Any, Any, Stream]:
        assert self._client is not None, "the backend has not been started"
        return self._client.open(request, timeout_s)

    async def _model_page(self, after_id: str | None) -> answers.ModelList | Failure:
        query = {"limit": "1000"} | ({"after_id": after_id} if after_id else {})
        target = f"{self._path}{_MODELS}?{urlencode(query)}".encode()
        lines = _call_head(API_VERSIONS[0], (), None)
        request = b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, self._origin_head, lines)
        try:
            answer = await self._exchange(request)
        except NoAnswer as error:
            return _no_answer(error)
        if answer.head.status != 200:
            return self._refusal(answer)
        return answers.model_list(answer.body, answer.head.header)

    def _refusal(self, answer: Answer) -> Failure:
        head, body = answer
        return self._keyless(answers.refusal(head.status, body, head.header, now=self._clock.now()))

    def _keyless(self, failure: Failure) -> Failure:
        """Take our key out of what the server says: callers are shown it."""
        if not self._api_key:
            return failure
        key, details = self._api_key, failure.details
        return msgspec.structs.replace(
            failure,
            message=failure.message.replace(key, _HIDDEN),
            details=details and msgspec.Raw(bytes(details).replace(key.encode(), _HIDDEN.encode())),
        )


def credential_headers(url: str, api_key: str | None) -> dict[str, str]:
    """Choose the headers that carry the key.

    Claude's API documents `x-api-key` for keys of all kinds and versions. vLLM and SGLang read
    only `Authorization: Bearer`, so does Ollama's cloud; other servers and gateways read only
    `x-api-key`: they get both, with the same key.
    Source: vllm #51572, sglang #35720, sub2api #3627 (read 2026-11-22).
    """
    if not api_key:
        return {}
    if is_anthropic(url):
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


def _origin(root: str) -> Origin:
    """Say where to connect. Certificates are verified: by the system's roots, and certifi's."""
    parts = urlsplit(root)
    assert parts.hostname is not None
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        tls.load_verify_locations(certifi.where())
        tls.set_alpn_protocols(["http/1.1"])
    return Origin(parts.hostname, parts.port or (443 if tls else 80), tls)


def _origin_head(root: str, api_key: str | None) -> bytes:
    """Write the header lines that all calls share. Raises: ConfigInvalid."""
    host = urlsplit(root).netloc
    try:
        host = host if host.isascii() else host.encode("idna").decode()
        return _header_lines(
            {
                "host": host,
                "user-agent": f"overnight/{__version__}",
                "accept": "*/*",
                "content-type": "application/json",
                **credential_headers(root, api_key),
            }
        )
    except ValueError:
        raise ConfigInvalid(
            "backend: the URL's host or the API key has characters that HTTP cannot carry",
            hint="check both for line breaks and for letters that do not belong there",
        ) from None


@lru_cache(maxsize=64)
def _call_head(api_version: str, betas: tuple[str, ...], user_profile_id: str | None) -> bytes:
    """Write the header lines of a call. Raises: NoAnswer, for nothing can be sent."""
    headers = {"anthropic-version": api_version}
    if betas:
        headers["anthropic-beta"] = ",".join(betas)
    if user_profile_id is not None:
        headers["anthropic-user-profile-id"] = user_profile_id
    try:
        return _header_lines(headers)
    except ValueError:
        what = "a header of this call has characters that HTTP cannot carry"
        raise NoAnswer(FailureKind.INVALID_REQUEST, what) from None


def _header_lines(headers: dict[str, str]) -> bytes:
    """Write headers. Raises: ValueError for a value that could end its line."""
    for value in headers.values():
        if not value.isprintable():
            raise ValueError
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def _has_events(stream: Stream) -> bool:
    return (stream.head.header("content-type") or "").startswith("text/event-stream")


async def _events(stream: Stream) -> AsyncIterator[bytes]:
    """Give nothing, then chunks at the consumer's pace; leaving early closes the connection."""
    ending, size_bytes = b"", 0
    try:
        yield b""
        while data := await stream.chunk():
            size_bytes += len(data)
            if size_bytes > MAX_ANSWER_BYTES:
                raise NoAnswer(FailureKind.MALFORMED, too_large(MAX_ANSWER_BYTES))
            ending = (ending + data)[-2:]
            yield data
    except NoAnswer as error:
        failure = _no_answer(error)
        yield error_event(failure.error_type, failure.message, after=ending)
    finally:
        stream.close()


def _no_answer(error: NoAnswer) -> Failure:
    if error.kind is FailureKind.INVALID_REQUEST:
        error_type, message = "invalid_request_error", "The request cannot be sent"
    else:
        message = _WHAT_HAPPENED[error.kind]
        error_type = "timeout_error" if error.kind is FailureKind.TIMEOUT else "api_error"
    return Failure(kind=error.kind, error_type=error_type, message=f"{message}: {error.reason}")
