"""What is counted of one backend: its calls, and what was decided about them. Pure.

Plain numbers, because thousands of calls a second are counted; `overnight.telemetry` reads them.
"""

from bisect import bisect_left
from collections.abc import Sequence

from overnight.model import FailureKind, Usage

CALL_SECONDS = (0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)
FIRST_BYTE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LIMITS = ("requests", "input_tokens", "output_tokens")


class Histogram:
    """How many values fell between the bounds, and what they sum up to."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        # Those up to each bound and above the one before; the last ones lie above all bounds.
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Calls:
    """What calls of one group came to."""

    __slots__ = (
        "abandoned", "failed", "first_byte_s", "output_tokens", "read_tokens", "seconds",
        "succeeded", "uncached_tokens", "written_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = dict.fromkeys(FailureKind, 0)
        self.abandoned = 0
        # Of prompts, as the answers tell; the three do not overlap.
        self.read_tokens = 0
        self.written_tokens = 0
        self.uncached_tokens = 0
        self.output_tokens = 0
        # Of calls that were answered.
        self.seconds = Histogram(CALL_SECONDS)
        # Of calls whose answer is seen to begin.
        self.first_byte_s = Histogram(FIRST_BYTE_SECONDS)

    def answered(self, usage: Usage, seconds: float) -> None:
        self.succeeded += 1
        self.read_tokens += usage.cache_read_tokens
        self.written_tokens += usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        self.uncached_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.seconds.note(seconds)


class Tally:
    """What is counted of one backend since the start."""

    __slots__ = (
        "batch", "fallbacks", "given_up", "leaders_failed", "leaders_sent", "realtime", "retries",
        "stragglers_cut", "waited_s", "waits",
    )  # fmt: skip

    def __init__(self) -> None:
        # By group: calls that share what answers state of limits.
        self.batch: dict[int, Calls] = {}
        self.realtime: dict[int, Calls] = {}
        # Calls of batches that this backend got because others were away or a batch is late.
        self.fallbacks = 0
        self.stragglers_cut = 0
        # By why the attempt failed, and whether it counts against the request's attempts.
        self.retries = {
            (kind, charged): 0 for kind in FailureKind for charged in (False, True)
        }  # fmt: skip
        self.given_up = dict.fromkeys(FailureKind, 0)
        self.leaders_sent = 0
        self.leaders_failed = 0
        # For rate limits, by the one that took longest.
        self.waits: dict[str, int] = dict.fromkeys(LIMITS, 0)
        self.waited_s: dict[str, float] = dict.fromkeys(LIMITS, 0.0)

    def calls(self, group: int, *, realtime: bool) -> Calls:
        """Give what is counted of the calls of a group."""
        groups = self.realtime if realtime else self.batch
        found = groups.get(group)
        if found is None:
            found = groups[group] = Calls()
        return found

    def wait(self, limit: str, seconds: float) -> None:
        """Count a wait for a rate limit."""
        self.waits[limit] += 1
        self.waited_s[limit] += seconds
