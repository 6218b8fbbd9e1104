"""A workload: so many requests of such a size, and the usage that they come to."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec

from overnight.errors import InvalidRequest
from overnight.model import Usage
from overnight.pricing.quantity import MAX_REQUESTS, MAX_TOKENS_PER_REQUEST, plain

Ttl = Literal["5m", "1h"]
TTLS: tuple[Ttl, ...] = ("5m", "1h")


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Requests alike but for what they ask about. Token counts are means of one request."""

    requests: int = 1
    # The whole prompt, the shared part included.
    input_tokens: Decimal = Decimal(0)
    output_tokens: Decimal = Decimal(0)
    # The part of the prompt that all requests begin with, and that is cached.
    shared_tokens: Decimal = Decimal(0)
    ttl: Ttl = "5m"
    # Of the requests after the first: how many find the shared part in the cache, 0 to 1.
    hit_rate: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        if not 1 <= self.requests <= MAX_REQUESTS:
            raise InvalidRequest(
                f"requests: {self.requests:,}: at least 1, at most {MAX_REQUESTS:,}"
            )
        for name in ("input_tokens", "output_tokens", "shared_tokens"):
            value: Decimal = getattr(self, name)
            if not (value.is_finite() and 0 <= value <= MAX_TOKENS_PER_REQUEST):
                raise InvalidRequest(
                    f"{name}: {value}: at least 0, at most {MAX_TOKENS_PER_REQUEST:,}"
                )
        if self.shared_tokens > self.input_tokens:
            raise InvalidRequest(
                f"shared_tokens: {plain(self.shared_tokens)} is more than the whole prompt "
                f"of {plain(self.input_tokens)} tokens",
                hint="input_tokens counts the whole prompt, the shared part included",
            )
        if not 0 <= self.hit_rate <= 1:
            raise InvalidRequest(f"hit_rate: {self.hit_rate}: at least 0, at most 1")

    @property
    def reading_requests(self) -> int:
        """How many requests read the shared part; the first one and every miss write it."""
        return int(_rounded((self.requests - 1) * self.hit_rate))

    def usage(self) -> Usage:
        """Count the tokens of all requests, each class rounded to a whole token."""
        writes, reads = 0, 0
        if self.shared_tokens:
            reads = int(_rounded(self.shared_tokens * self.reading_requests))
            writes = int(_rounded(self.shared_tokens * self.requests)) - reads
        return Usage(
            input_tokens=int(_rounded(self.input_tokens * self.requests)) - writes - reads,
            cache_write_5m_tokens=writes if self.ttl == "5m" else 0,
            cache_write_1h_tokens=writes if self.ttl == "1h" else 0,
            cache_read_tokens=reads,
            output_tokens=int(_rounded(self.output_tokens * self.requests)),
        )

    def uncached(self) -> "Workload":
        """Give the same requests without any caching."""
        return msgspec.structs.replace(self, shared_tokens=Decimal(0))


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1), rounding=ROUND_HALF_UP)
