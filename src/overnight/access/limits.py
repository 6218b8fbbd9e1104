"""How much a workspace and a key may take: requests a minute, bytes and uploads under way.

Both limits hold, each by itself. They are counted in this process; what is queued is counted in
the database, by `store.batches.queued`.
"""

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from overnight.access.keys import Caller
from overnight.clock import Clock
from overnight.errors import RateLimited, RequestTooLarge
from overnight.tenancy import Allowance, Limit, LimitName, Workspace

_MINUTE_S = 60
# What rounding may take from a token.
_EPSILON = 1e-9
# Nobody knows when an upload ends; it is worth asking again soon.
_UPLOAD_WAIT_S = 1.0
# Above it what has filled up again is forgotten.
_MAX_BUCKETS = 10_000


class Bucket(NamedTuple):
    """How many requests were left at a moment; the rest follows from time."""

    tokens: float
    at_s: float


class Taken(NamedTuple):
    """What came of asking for one request."""

    is_granted: bool
    bucket: Bucket
    per_minute: int
    # Until one request is left; 0 when this one was granted.
    wait_s: float
    # Until all are left.
    full_in_s: float

    @property
    def remaining(self) -> int:
        return int(self.bucket.tokens + _EPSILON)


class Rate(NamedTuple):
    """Where a caller stands after a request: by the limit that leaves least."""

    limit: Limit
    taken: Taken


def take(bucket: Bucket | None, *, per_minute: int, now_s: float) -> Taken:
    """Take one request out of a bucket that holds a minute's worth and fills continuously.

    None is a full one. A changed limit changes size and speed at once.
    """
    per_s = per_minute / _MINUTE_S
    tokens = float(per_minute)
    if bucket is not None:
        tokens = min(tokens, bucket.tokens + (now_s - bucket.at_s) * per_s)
    is_granted = tokens >= 1 - _EPSILON
    left = max(0.0, tokens - 1) if is_granted else tokens
    return Taken(
        is_granted=is_granted,
        bucket=Bucket(left, now_s),
        per_minute=per_minute,
        wait_s=0.0 if is_granted else (1 - left) / per_s,
        full_in_s=(per_minute - left) / per_s,
    )


class Limiter:
    """Counts what is taken in this process, and refuses what is above a limit."""

    def __init__(self, clock: Clock, defaults: Allowance) -> None:
        """`defaults` hold for a workspace that has no limit of its own; 0 is none."""
        self.defaults = defaults
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._forget_at_s = float("-inf")
        self._uploads: dict[str, int] = {}
        self._bytes: dict[str, int] = {}

    def rate(self, caller: Caller, workspace: Workspace) -> Rate | None:
        """Count one request; None where it is not limited.

        When one limit refuses it, it counts for none of them.
        """
        limits = self.limits(caller, workspace, "requests_per_minute")
        if not limits:
            return None
        now_s = self._clock.seconds()
        rates = [
            Rate(limit, take(self._buckets.get(limit.id), per_minute=limit.at_most, now_s=now_s))
            for limit in limits
        ]
        refused = [rate for rate in rates if not rate.taken.is_granted]
        if refused:
            return max(refused, key=lambda rate: rate.taken.wait_s)
        for limit, taken in rates:
            self._buckets[limit.id] = taken.bucket
        if len(self._buckets) > _MAX_BUCKETS and now_s >= self._forget_at_s:
            self._forget_full(now_s)
        return min(rates, key=lambda rate: rate.taken.bucket.tokens)

    def limits(self, caller: Caller, workspace: Workspace, name: LimitName) -> tuple[Limit, ...]:
        """Give the limits of one kind that hold for a call."""
        own: int | None = getattr(workspace.allowance, name)
        at_most = getattr(self.defaults, name) if own is None else own
        limits = [Limit("workspace", workspace.id, at_most)] if at_most else []
        if caller.key is not None and (of_key := getattr(caller.key.allowance, name)):
            limits.append(Limit("key", caller.key.id, of_key))
        return tuple(limits)

    @contextmanager
    def upload(
        self, caller: Caller, workspace: Workspace, *, announced_bytes: int
    ) -> Generator["Upload"]:
        """Count an upload and its bytes until it has been answered.

        Raises: RateLimited when too many are under way; RequestTooLarge when the body by itself
        is above the limit.
        """
        places = self.limits(caller, workspace, "uploads")
        for limit in places:
            if self._uploads.get(limit.id, 0) >= limit.at_most:
                raise RateLimited(
                    f"This request would exceed the rate limit for {limit} of "
                    f"{limit.at_most:,} uploads at a time",
                    retry_after_s=_UPLOAD_WAIT_S,
                )
        upload = Upload(self._bytes, self.limits(caller, workspace, "body_bytes_in_flight"))
        with _held(self._uploads, [limit.id for limit in places]):
            try:
                upload.reserve(announced_bytes)
                yield upload
            finally:
                upload.release()

    def __len__(self) -> int:
        """Give how many workspaces and keys are being counted."""
        return len(self._buckets)

    def _forget_full(self, now_s: float) -> None:
        """Forget the buckets of which nothing was taken for a minute: they are full again."""
        self._forget_at_s = now_s + _MINUTE_S
        self._buckets = {
            of: bucket for of, bucket in self._buckets.items() if now_s - bucket.at_s < _MINUTE_S
        }


class Upload:
    """The bytes of one body under way, within the limits of who sends it."""

    def __init__(self, counted: dict[str, int], limits: Sequence[Limit]) -> None:
        self._counted = counted
        self._limits = limits
        self._reserved = 0

    async def passed(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Give a body on; what it has beyond the announced bytes is reserved as it comes."""
        size_bytes = 0
        async for chunk in body:
            size_bytes += len(chunk)
            if size_bytes > self._reserved:
                self.reserve(size_bytes - self._reserved)
            yield chunk

    def reserve(self, more_bytes: int) -> None:
        """Raises: RateLimited, RequestTooLarge."""
        for limit in self._limits:
            if self._reserved + more_bytes > limit.at_most:
                raise RequestTooLarge(
                    f"Request exceeds the maximum size for {limit}: at most "
                    f"{limit.at_most} bytes under way"
                )
            if self._counted.get(limit.id, 0) + more_bytes > limit.at_most:
                raise RateLimited(
                    f"This request would exceed the rate limit for {limit} of "
                    f"{limit.at_most:,} bytes under way at a time",
                    retry_after_s=_UPLOAD_WAIT_S,
                )
        self._add(more_bytes)

    def release(self) -> None:
        self._add(-self._reserved)

    def _add(self, more_bytes: int) -> None:
        self._reserved += more_bytes
        for limit in self._limits:
            _add(self._counted, limit.id, more_bytes)


@contextmanager
def _held(counted: dict[str, int], names: Sequence[str]) -> Generator[None]:
    for name in names:
        _add(counted, name, 1)
    try:
        yield
    finally:
        for name in names:
            _add(counted, name, -1)


def _add(counted: dict[str, int], name: str, more: int) -> None:
    """Add to a count; one that comes to nothing is forgotten."""
    total = counted.get(name, 0) + more
    if total:
        counted[name] = total
    else:
        counted.pop(name, None)
