"""A backend in simulated time: prompt cache, rate limits, faults, outages, slow hours."""

import heapq
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, NamedTuple

from overnight.model import (
    BatchId,
    Failure,
    FailureKind,
    Limit,
    Need,
    Prefix,
    Reply,
    Usage,
    WorkspaceId,
)

FIRST_BYTE_S = 1.0
HANG_S = 600.0
# A server that refuses does so at once.
_REFUSAL_S = 0.05
_OF: tuple[Literal["requests", "input_tokens", "output_tokens"], ...] = (
    "requests",
    "input_tokens",
    "output_tokens",
)
_FAULTS = (FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.RESET)


class Request(NamedTuple):
    number: int
    prefixes: tuple[Prefix, ...] = ()
    batch_id: BatchId = BatchId("batch")
    workspace_id: WorkspaceId = WorkspaceId("workspace")
    route: int = 0
    cost: float = 1.0
    input_tokens: int = 1_000
    output_tokens: int = 200
    max_tokens: int = 1_024


class Span(NamedTuple):
    """A time in which something is different."""

    from_s: float
    until_s: float

    def covers(self, now_s: float) -> bool:
        return self.from_s <= now_s < self.until_s


class Limits(NamedTuple):
    """What may be taken per minute."""

    requests: int
    input_tokens: int
    output_tokens: int


class Call(NamedTuple):
    """One call as the backend took it."""

    request: Request
    at_s: float
    # None: no answer ever begins.
    begins_s: float | None
    ends_s: float
    failure: Failure | None
    read_tokens: int = 0
    written_tokens: int = 0
    # As they stood when the call was taken.
    limits: tuple[Limit, ...] = ()


class Server:
    """Answers begin after `FIRST_BYTE_S`, and go on for a time drawn from `rest_s`, or for
    `token_s` per output token.

    `fails` says whether an attempt of a request brings nothing. `others` is the share of each limit
    that somebody else takes all the time. Of more calls than `slots` the rest
    waits in line, and of more than `most_at_once` it is refused.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        rest_s: tuple[float, float] = (1.0, 4.0),
        token_s: float | None = None,
        fails: Callable[[Request, int], bool] = lambda request, attempt: False,
        limits: Sequence[tuple[float, Limits]] = (),
        states: Literal["nothing", "at start", "at end"] = "at end",
        charges: Literal["at start", "at end"] = "at start",
        others: float = 0.0,
        faults: float = 0.0,
        hangs: float = 0.0,
        dead: Span | None = None,
        dead_kind: FailureKind = FailureKind.UNREACHABLE,
        slow: Span | None = None,
        slow_factor: float = 10.0,
        slots: int | None = None,
        most_at_once: int | None = None,
    ) -> None:
        self._random = Random(seed)
        self._rest_s, self._token_s = rest_s, token_s
        self._fails = fails
        self._attempts: dict[int, int] = {}
        self._cache = _Cache()
        # From when on which limits hold.
        self._schedule = list(limits)
        self._buckets: _Buckets | None = None
        self._states, self._charges, self._others = states, charges, others
        self._faults, self._hangs = faults, hangs
        self._dead, self._dead_kind = dead, dead_kind
        self._slow, self._slow_factor = slow, slow_factor
        # When each slot is free.
        self._free_at_s = None if slots is None else [0.0] * slots
        self._most_at_once = most_at_once
        self.in_flight = 0
        self.calls = 0
        # When calls came that a rate limit refused.
        self.refused: list[float] = []
        # When calls came that found nobody.
        self.unheard: list[float] = []

    def take(self, request: Request, now_s: float) -> Call:
        """Take a call and decide what comes of it; to be told to `end` or to `drop` it."""
        self.calls += 1
        self.in_flight += 1
        attempt = self._attempts[request.number] = self._attempts.get(request.number, 0) + 1
        if self._dead is not None and self._dead.covers(now_s):
            self.unheard.append(now_s)
            return self._failing(request, now_s, 0.01, _failure(self._dead_kind))
        if self._fails(request, attempt):
            return self._failing(request, now_s, FIRST_BYTE_S, _failure(FailureKind.RESET))
        if self._random.random() < self._faults:
            kind = self._random.choice(_FAULTS)
            return self._failing(request, now_s, FIRST_BYTE_S, _failure(kind))
        if self._random.random() < self._hangs:
            return self._failing(request, now_s, HANG_S, _failure(FailureKind.TIMEOUT))
        if self._most_at_once is not None and self.in_flight > self._most_at_once:
            return self._failing(request, now_s, _REFUSAL_S, _failure(FailureKind.OVERLOADED))
        return self._admit(request, now_s)

    def end(self, call: Call, now_s: float) -> Reply | Failure:
        """Give what came of a call."""
        self.in_flight -= 1
        failure = call.failure
        if failure is None and self._dead is not None and self._dead.covers(now_s):
            failure = _failure(FailureKind.RESET)
        if failure is not None:
            return failure
        request = call.request
        if self._buckets is not None and self._charges == "at end":
            self._buckets.take(Need(0, request.output_tokens), 0, now_s)
        usage = Usage(
            input_tokens=max(0, request.input_tokens - call.read_tokens),
            cache_read_tokens=call.read_tokens,
            output_tokens=request.output_tokens,
        )
        limits = self._stated(now_s) if self._states == "at end" else call.limits
        return Reply(message=b"{}", usage=usage, model="model", limits=limits)

    def drop(self, call: Call) -> None:
        """Forget a call that its caller broke off."""
        self.in_flight -= 1

    def _admit(self, request: Request, now_s: float) -> Call:
        self._set_limits(now_s)
        read, written = self._cache.use(request.prefixes, now_s, now_s + FIRST_BYTE_S)
        if self._buckets is not None:
            need = Need(max(0, request.input_tokens - read), request.output_tokens)
            wait_s = self._buckets.wait_s(need, now_s)
            if wait_s > 0:
                self.refused.append(now_s)
                limited = _failure(
                    FailureKind.RATE_LIMITED,
                    retry_after_s=float(math.ceil(wait_s)),
                    limits=self._stated(now_s) if self._states != "nothing" else (),
                )
                return self._failing(request, now_s, _REFUSAL_S, limited)
            at_end = self._charges == "at end"
            self._buckets.take(need._replace(output_tokens=0) if at_end else need, 1, now_s)
        factor = self._slow_factor if self._slow is not None and self._slow.covers(now_s) else 1.0
        if self._token_s is None:
            rest_s = self._random.uniform(*self._rest_s)
        else:
            rest_s = self._token_s * request.output_tokens * self._random.uniform(0.8, 1.2)
        free_s = now_s if self._free_at_s is None else max(now_s, self._free_at_s[0])
        begins_s = free_s + FIRST_BYTE_S * factor
        ends_s = begins_s + rest_s * factor
        if self._free_at_s is not None:
            heapq.heapreplace(self._free_at_s, ends_s)
        limits = self._stated(now_s) if self._states == "at start" else ()
        return Call(request, now_s, begins_s, ends_s, None, read, written, limits)

    def _failing(self, request: Request, now_s: float, after_s: float, failure: Failure) -> Call:
        return Call(request, now_s, None, now_s + after_s, failure)

    def _set_limits(self, now_s: float) -> None:
        while self._schedule and self._schedule[0][0] <= now_s:
            from_s, limits = self._schedule.pop(0)
            if self._buckets is None:
                self._buckets = _Buckets(limits, others=self._others)
            self._buckets.change(limits, from_s)

    def _stated(self, now_s: float) -> tuple[Limit, ...]:
        self._set_limits(now_s)
        return () if self._buckets is None else self._buckets.stated(now_s)


class _Cache:
    """Entries that can be read once the answer that wrote them has begun."""

    def __init__(self) -> None:
        self._readable: dict[int, tuple[float, float]] = {}

    def use(self, prefixes: Sequence[Prefix], now_s: float, begins_s: float) -> tuple[int, int]:
        """Read the longest live prefix and write the rest; give the tokens of both."""
        read = 0
        for prefix in prefixes:
            from_s, until_s = self._readable.get(prefix.key, (0.0, now_s))
            if from_s <= now_s < until_s:
                read = prefix.tokens
                self._readable[prefix.key] = (from_s, now_s + prefix.ttl_s)
            elif now_s >= until_s:
                self._readable[prefix.key] = (begins_s, now_s + prefix.ttl_s)
        longest = prefixes[-1].tokens if prefixes else 0
        return read, longest - read


class _Buckets:
    """Token buckets that begin full and fill without pause."""

    def __init__(self, limits: Limits, *, others: float) -> None:
        self._limits, self._left = limits, 1 - others
        self._levels = [float(limit) for limit in limits]
        self._at_s = 0.0

    def change(self, limits: Limits, now_s: float) -> None:
        self._fill(now_s)
        self._limits = limits
        self._fill(now_s)

    def wait_s(self, need: Need, now_s: float) -> float:
        """Give the seconds until all is there; more than a minute's worth needs a full bucket."""
        self._fill(now_s)
        waits = [
            (min(amount, limit) - level) * 60 / limit
            for amount, limit, level in zip(
                (1, *need), self._limits, self._levels, strict=True
            )
        ]  # fmt: skip
        return max(0.0, *(wait_s if wait_s > 1e-9 else 0.0 for wait_s in waits))

    def take(self, need: Need, requests: int, now_s: float) -> None:
        self._fill(now_s)
        for number, amount in enumerate((requests, *need)):
            self._levels[number] -= amount

    def stated(self, now_s: float) -> tuple[Limit, ...]:
        self._fill(now_s)
        return tuple(
            Limit(
                of=of,
                per_minute=limit,
                # Tokens are told in thousands.
                remaining=max(0, int(level) if of == "requests" else round(int(level), -3)),
            )
            for of, limit, level in zip(_OF, self._limits, self._levels, strict=True)
        )

    def _fill(self, now_s: float) -> None:
        passed_s = now_s - self._at_s
        self._levels = [
            min(float(limit), level + passed_s * self._left * limit / 60)
            for limit, level in zip(self._limits, self._levels, strict=True)
        ]
        self._at_s = now_s


def _failure(
    kind: FailureKind, *, retry_after_s: float | None = None, limits: tuple[Limit, ...] = ()
) -> Failure:
    return Failure(
        kind=kind,
        error_type="api_error",
        message="",
        retry_after_s=retry_after_s,
        limits=limits,
    )
