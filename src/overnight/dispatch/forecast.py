"""When a batch will end, as a range, from how fast it went so far. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import sqrt
from typing import Literal, NamedTuple

Verdict = Literal["measuring", "on_track", "at_risk", "will_expire", "ended"]

# Too little to promise anything before either is reached.
MIN_OUTCOMES = 30
MIN_TIME = timedelta(minutes=2)
# Widens the range by what chance alone explains, and by a speed that changes.
_DEVIATIONS = 2.0
_MARGIN = 0.15


class Sample(NamedTuple):
    """How many requests of a batch had their outcome at a moment."""

    at: datetime
    recorded: int


class Forecast(NamedTuple):
    """When the batch will end. Range and rate are None while there is nothing to go by."""

    rate_per_s: float | None
    earliest: datetime | None
    latest: datetime | None
    verdict: Verdict


def forecast(
    samples: Sequence[Sample], *, total: int, now: datetime, expires_at: datetime
) -> Forecast:
    """Project the end of a running batch from samples in the order of time.

    The slowest and the fastest of three views (all samples, their last half, their last
    quarter) bound the range, so that a rate that moves gives a wider range and not a new promise.
    """
    if len(samples) < 2:
        return Forecast(None, None, None, "measuring")
    first, last = samples[0], samples[-1]
    outcomes, passed = last.recorded - first.recorded, last.at - first.at
    if outcomes < MIN_OUTCOMES and passed < MIN_TIME:
        return Forecast(None, None, None, "measuring")
    rates = [rate for rate in (_rate(samples, share) for share in (1.0, 0.5, 0.25)) if rate]
    if not rates:
        return Forecast(0.0, None, None, "at_risk")
    spread = _MARGIN + _DEVIATIONS / sqrt(max(outcomes, 1))
    left = total - last.recorded
    earliest = _moment(now, left / (max(rates) * (1 + spread)))
    latest = _moment(now, left / (min(rates) * max(1 - spread, 0.1)))
    return Forecast(rates[-1], earliest, latest, _verdict(earliest, latest, expires_at))


def _rate(samples: Sequence[Sample], share: float) -> float | None:
    """Give outcomes per second over the last `share` of the time; None when nothing came."""
    last = samples[-1]
    begin = last.at - (last.at - samples[0].at) * share
    first = next(sample for sample in samples if sample.at >= begin)
    seconds = (last.at - first.at).total_seconds()
    outcomes = last.recorded - first.recorded
    return outcomes / seconds if seconds > 0 and outcomes > 0 else None


def _moment(now: datetime, seconds: float) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


def _verdict(earliest: datetime, latest: datetime, expires_at: datetime) -> Verdict:
    if latest <= expires_at:
        return "on_track"
    return "will_expire" if earliest > expires_at else "at_risk"
