"""What an attempt at a delivery came to, and what is done about it. Pure."""

from typing import NamedTuple

from overnight.model import Delivery

# Waits after the first failed attempt, the second and so on: ten attempts in about three days.
WAITS_S = (5, 30, 120, 600, 3_600, 21_600, 43_200, 86_400, 86_400)
# A wait is prolonged by up to this share, so that what failed together does not come together.
JITTER = 0.25
# What a receiver may ask for by `retry-after`.
MAX_RETRY_AFTER_S = 86_400.0


class Acknowledged(NamedTuple):
    """The receiver has the event."""

    status: int


class Failed(NamedTuple):
    """It may work another time."""

    reason: str
    status: int | None = None
    retry_after_s: float | None = None


class Refused(NamedTuple):
    """It will not work until the owner of the endpoint has changed something."""

    reason: str
    status: int | None = None


Outcome = Acknowledged | Failed | Refused


def judge(status: int, *, retry_after_s: float | None = None) -> Outcome:
    """Say what an answer means."""
    match status:
        case _ if 200 <= status < 300:
            return Acknowledged(status)
        case _ if 300 <= status < 400:
            return Refused(f"the receiver answered {status}: redirects are not followed", status)
        case 410:
            return Refused("the receiver answered 410: it wants no more events", status)
        case _:
            return Failed(f"the receiver answered {status}", status, retry_after_s)


def wait_s(delivery: Delivery, outcome: Failed | Refused, *, jitter: float) -> float | None:
    """Say how long to wait after a failed attempt; None: it was the last one.

    `jitter` is from 0 to 1. A test is tried once. A refused delivery is not given up: it waits
    for its endpoint to be mended.
    """
    if delivery.event.type == "webhook_endpoint.test":
        return None
    if isinstance(outcome, Failed) and delivery.tries >= len(WAITS_S):
        return None
    wait = WAITS_S[min(delivery.tries, len(WAITS_S) - 1)] * (1 + JITTER * jitter)
    asked = outcome.retry_after_s if isinstance(outcome, Failed) else None
    return max(wait, min(asked or 0.0, MAX_RETRY_AFTER_S))
