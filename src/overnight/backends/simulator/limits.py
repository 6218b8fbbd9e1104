"""Rate limits as the service has them: token buckets that fill without pause."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from overnight.backends.simulator.faults import failure_of_status, glob
from overnight.backends.simulator.script import Limit
from overnight.model import Failure, Need


class Group:
    """The buckets that all models of one glob share."""

    def __init__(self, limit: Limit) -> None:
        self._matches = glob(limit.model)
        self._max_in_flight = limit.max_in_flight
        self._in_flight = 0
        self._buckets = {
            name: _Bucket(per_minute)
            for name, per_minute in (
                ("requests", limit.requests_per_minute),
                ("input-tokens", limit.input_tokens_per_minute),
                ("output-tokens", limit.output_tokens_per_minute),
            )
            if per_minute is not None
        }

    def covers(self, model: str) -> bool:
        return self._matches(model)

    def refuse(self, need: Need, now: datetime) -> Failure | None:
        """Say why a call cannot be taken now; None when it can. Takes nothing."""
        if self._max_in_flight is not None and self._in_flight >= self._max_in_flight:
            return failure_of_status(529, message="Overloaded")
        for name, amount in _amounts(need).items():
            bucket = self._buckets.get(name)
            wait_s = 0.0 if bucket is None else bucket.wait_s(amount, now)
            if bucket is not None and wait_s > 0:
                return failure_of_status(
                    429,
                    message="This request would exceed the rate limit of "
                    f"{bucket.per_minute:,} {name.replace('-', ' ')} per minute.",
                    retry_after_s=float(math.ceil(wait_s)),
                )
        return None

    def enter(self, need: Need, now: datetime) -> None:
        """Take what a call needs."""
        self._in_flight += 1
        for name, amount in _amounts(need).items():
            if name in self._buckets:
                self._buckets[name].take(amount, now)

    def leave(self) -> None:
        self._in_flight -= 1

    def headers(self, now: datetime) -> dict[str, str]:
        """Give `anthropic-ratelimit-*`: limit, remaining, and when each bucket is full again."""
        headers: dict[str, str] = {}
        for name, bucket in self._buckets.items():
            level = bucket.level(now)
            full_at = now + timedelta(seconds=(bucket.per_minute - level) * 60 / bucket.per_minute)
            # Tokens are told in thousands, as the service does.
            remaining = int(level) if name == "requests" else round(level, -3)
            prefix = f"anthropic-ratelimit-{name}"
            headers[f"{prefix}-limit"] = str(bucket.per_minute)
            headers[f"{prefix}-remaining"] = str(int(max(0, min(remaining, bucket.per_minute))))
            headers[f"{prefix}-reset"] = full_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers


class _Bucket:
    """Holds one minute's worth and begins full."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._updated_at: datetime | None = None

    def level(self, now: datetime) -> float:
        if self._updated_at is None:
            return self._level
        passed_s = max(0.0, (now - self._updated_at).total_seconds())
        return min(float(self.per_minute), self._level + passed_s * self.per_minute / 60)

    def wait_s(self, amount: int, now: datetime) -> float:
        """Give the seconds until `amount` is there; more than a minute's worth needs a full one."""
        missing = min(amount, self.per_minute) - self.level(now)
        # A rounding error of the refill must not refuse a call that waited as it was told.
        return 0.0 if missing <= 1e-6 else missing * 60 / self.per_minute

    def take(self, amount: int, now: datetime) -> None:
        self._level = self.level(now) - amount
        self._updated_at = now


def _amounts(need: Need) -> Mapping[str, int]:
    return {
        "requests": 1,
        "input-tokens": need.input_tokens,
        "output-tokens": need.output_tokens,
    }
