"""What is done about a failed call: one closed table and one decision. Pure."""

from random import Random
from typing import NamedTuple

from overnight.model import Failure, FailureKind

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0
# A backend that asks for more is asked again after this: it may have meant something else.
RETRY_AFTER_CAP_S = 3_600.0


class Policy(NamedTuple):
    """How one kind of failure is treated."""

    # Another attempt may bring an answer.
    retriable: bool
    # The attempt counts against the request's `max_attempts`.
    charged: bool


# Nothing was sent when the backend is unreachable, and a stated time to stay away is no fault of
# the request: neither uses up its attempts (see `policy_of`).
POLICIES: dict[FailureKind, Policy] = {
    FailureKind.UNREACHABLE: Policy(retriable=True, charged=False),
    FailureKind.RATE_LIMITED: Policy(retriable=True, charged=True),
    FailureKind.OVERLOADED: Policy(retriable=True, charged=True),
    FailureKind.SERVER_ERROR: Policy(retriable=True, charged=True),
    FailureKind.RESET: Policy(retriable=True, charged=True),
    FailureKind.TIMEOUT: Policy(retriable=True, charged=True),
    FailureKind.MALFORMED: Policy(retriable=True, charged=True),
    FailureKind.CONFLICT: Policy(retriable=True, charged=True),
    FailureKind.INVALID_REQUEST: Policy(retriable=False, charged=True),
    FailureKind.AUTHENTICATION: Policy(retriable=False, charged=True),
    FailureKind.BILLING: Policy(retriable=False, charged=True),
    FailureKind.PERMISSION: Policy(retriable=False, charged=True),
    FailureKind.NOT_FOUND: Policy(retriable=False, charged=True),
    FailureKind.TOO_LARGE: Policy(retriable=False, charged=True),
    FailureKind.INTERNAL: Policy(retriable=False, charged=True),
}


class Retry(NamedTuple):
    """Try again, not before `after_s` seconds from now."""

    after_s: float
    charged: bool


class GiveUp(NamedTuple):
    """The failure is the request's outcome."""


def states_a_time(failure: Failure) -> bool:
    """Tell whether the backend asks everyone to stay away for a while, and says how long.

    Source: RFC 9110 §10.2.3 for 503; 429 and 529 by the wire.
    """
    return failure.retry_after_s is not None and (
        failure.kind in (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED) or failure.status == 503
    )


def policy_of(failure: Failure) -> Policy:
    """Give the policy of a failure; a cooldown that states when it ends is not charged."""
    if states_a_time(failure):
        return Policy(retriable=True, charged=False)
    return POLICIES[failure.kind]


def decide(
    failure: Failure,
    *,
    attempts: int,
    max_attempts: int,
    random: Random,
    charged: bool | None = None,
) -> Retry | GiveUp:
    """Decide about a request whose latest attempt failed; `attempts` counts the charged ones.

    `charged` says whether this one is among them, as the gate judged it (`Gate.failed`); None: by
    the kind of failure alone. Waits grow exponentially with full jitter, and never undercut the
    backend's `retry-after`.
    """
    policy = policy_of(failure)
    if charged is None:
        charged = policy.charged
    if not policy.retriable or (charged and attempts >= max_attempts):
        return GiveUp()
    ceiling = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** max(0, min(attempts, 16) - 1))
    wait = random.uniform(0, ceiling)
    if failure.retry_after_s is not None:
        wait += min(failure.retry_after_s, RETRY_AFTER_CAP_S)
    return Retry(after_s=wait, charged=charged)
