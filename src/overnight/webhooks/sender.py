"""One attempt: look up the host, judge its addresses, connect to one of them, post, read a status.

A connection is used once. Redirects are not followed; of the body only the end is waited for.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import NamedTuple

import certifi

from overnight import __version__
from overnight.backends.http1 import Client, Origin, Timeouts
from overnight.backends.incoming import NoAnswer, Stream
from overnight.errors import InvalidRequest
from overnight.model import FailureKind
from overnight.targets import Network, Target, read_target, refusal
from overnight.webhooks.judgement import Failed, Outcome, Refused, judge
from overnight.wire.headers import retry_after_s

# What is waited for of an answer's body, so that the receiver need not see its connection break.
_MAX_BODY_BYTES = 16 * 1024
_MAX_BODY_S = 1.0
# A host with more addresses than that is tried at the first of them.
_MAX_ADDRESSES = 4
# A name server that does not answer holds a thread; these are nobody else's.
_RESOLVING_THREADS = 8

# Gives the addresses of a host as text. Raises: OSError, UnicodeError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Sender:
    """Posts to targets that may be connected to."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network],
        timeout_s: float,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Names are resolved by the system, and certificates verified by its roots, if not told."""
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._resolve = resolve or self._ask_system
        self._tls = tls
        self._threads = ThreadPoolExecutor(_RESOLVING_THREADS, thread_name_prefix="resolve")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, now: datetime
    ) -> Outcome:
        """Post once, within the timeout, and say what came of it."""
        try:
            target = read_target(url)
        except InvalidRequest as error:
            # It was taken by a version with other rules.
            return Refused(f"the URL is not allowed: {error.message}")
        request = _request(target, headers, body)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._answer(target, request)
        except TimeoutError:
            return Failed(f"no answer within {self._timeout_s:g} s")
        if not isinstance(answer, _Answer):
            return answer
        head = answer.stream.head
        with contextlib.suppress(NoAnswer, TimeoutError):
            async with asyncio.timeout(_MAX_BODY_S):
                await answer.stream.read(_MAX_BODY_BYTES)
        answer.client.close()
        asked = retry_after_s(None, head.header("retry-after"), now=now)
        return judge(head.status, retry_after_s=asked)

    async def _answer(self, target: Target, request: bytes) -> "_Answer | Failed | Refused":
        """Connect to an address that is in order and give what answers there."""
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            return Failed("the host cannot be found")
        refused = refusal(target, addresses, self._allowed)
        if refused is not None:
            return Refused(f"the URL is not allowed: {refused}")
        failure = NoAnswer(FailureKind.UNREACHABLE, "the host has no address")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._exchange(target, address, request)
            except NoAnswer as error:
                failure = error
                if error.kind is not FailureKind.UNREACHABLE:
                    break
                # Nothing was sent: the next address may do.
        return Failed(_reason(failure))

    async def _exchange(self, target: Target, address: str, request: bytes) -> "_Answer":
        tls = self._context() if target.scheme == "https" else None
        whole = self._timeout_s
        client = Client(
            Origin(target.host, target.port, tls, address),
            timeouts=Timeouts(connect_s=whole / 2, first_byte_s=whole, idle_s=whole, total_s=whole),
            max_idle=0,
            max_bytes=_MAX_BODY_BYTES,
        )
        try:
            return _Answer(client, await client.open(request))
        except BaseException:
            client.close()
            raise

    def _context(self) -> ssl.SSLContext:
        """Give what verifies certificates: the system's roots and certifi's, read once."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(certifi.where())
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Answer(NamedTuple):
    client: Client
    # With its head.
    stream: Stream


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    fields = {
        "host": target.netloc,
        "user-agent": f"overnight/{__version__}",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {target.path} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + body


def _reason(failure: NoAnswer) -> str:
    """Say in one line why no answer came."""
    match failure.kind:
        case FailureKind.UNREACHABLE:
            return f"no connection: {failure.reason}"
        case FailureKind.MALFORMED:
            return f"the answer cannot be read: {failure.reason}"
        case _:
            return f"no answer: {failure.reason}"
