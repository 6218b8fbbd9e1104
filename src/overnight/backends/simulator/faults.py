"""Which fault strikes which call: decided from the script, the seed and the request alone."""

import fnmatch
import hashlib
import re
from collections.abc import Callable

from overnight.backends.simulator.script import Fault, Rule, Status
from overnight.model import Call, Failure, FailureKind
from overnight.wire.errors import error_type

_KIND_OF_STATUS = {
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.BILLING,
    403: FailureKind.PERMISSION,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.CONFLICT,
    409: FailureKind.CONFLICT,
    413: FailureKind.TOO_LARGE,
    429: FailureKind.RATE_LIMITED,
    529: FailureKind.OVERLOADED,
}


class Faults:
    """The rules of a script, and how often each request and each rule had its turn."""

    def __init__(self, rules: tuple[Rule, ...], *, seed: int) -> None:
        self._seed = seed.to_bytes(16, "big", signed=True)
        self._rules = [_Armed(rule) for rule in rules]
        self._attempts: dict[bytes, int] = {}

    def next(self, call: Call, *, model: str, identity: bytes, number: int) -> Fault | None:
        """Give the fault for this attempt; counts it.

        `identity` is the same for all attempts of a request, `number` counts all calls from 1.
        """
        if not self._rules:
            return None
        attempt = self._attempts.get(identity, 0) + 1
        self._attempts[identity] = attempt
        for index, armed in enumerate(self._rules):
            if not armed.holds(call, model=model, attempt=attempt, number=number):
                continue
            if armed.rule.probability < 1:
                draw = b"%b%d/%d" % (identity, index, attempt)
                if self._share(draw) >= armed.rule.probability:
                    continue
            if armed.fires():
                return armed.rule.fault
        return None

    def _share(self, draw: bytes) -> float:
        digest = hashlib.blake2b(draw, digest_size=8, key=self._seed).digest()
        return int.from_bytes(digest, "big") / 2**64


def failure_of_status(
    status: int,
    *,
    message: str | None = None,
    error_name: str | None = None,
    retry_after_s: float | None = None,
) -> Failure:
    """Give the failure that an HTTP status means."""
    other = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.INVALID_REQUEST
    name = error_name or error_type(status)
    return Failure(
        kind=_KIND_OF_STATUS.get(status, other),
        error_type=name,
        message=message or _message(status, name),
        status=status,
        retry_after_s=retry_after_s,
    )


def scripted_failure(fault: Status) -> Failure:
    return failure_of_status(
        fault.status,
        message=fault.message,
        error_name=fault.error_type,
        retry_after_s=fault.retry_after_s,
    )


def glob(pattern: str) -> Callable[[str], bool]:
    """Make a test for a glob; upper and lower case differ."""
    if pattern == "*":
        return lambda name: True
    matches = re.compile(fnmatch.translate(pattern)).match
    return lambda name: matches(name) is not None


class _Armed:
    """A rule, its conditions made ready, and how often it held."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._model = glob(rule.model)
        self._custom_id = glob(rule.custom_id)
        self._contains = None if rule.contains is None else rule.contains.encode()
        self._held = 0
        self._fired = 0

    def holds(self, call: Call, *, model: str, attempt: int, number: int) -> bool:
        rule = self.rule
        return (
            rule.from_call <= number
            and (rule.until_call is None or number <= rule.until_call)
            and (rule.first_attempts is None or attempt <= rule.first_attempts)
            and self._model(model)
            and (rule.custom_id == "*" or self._custom_id(call.custom_id or ""))
            and (self._contains is None or self._contains in call.params)
        )

    def fires(self) -> bool:
        """Count a call for which all else holds; tell whether it is one that the fault strikes."""
        self._held += 1
        if self._held % self.rule.every:
            return False
        if self.rule.times is not None and self._fired >= self.rule.times:
            return False
        self._fired += 1
        return True


def _message(status: int, name: str) -> str:
    if status == 529:
        return "Overloaded"
    return f"The simulator's script answers this call with {status} {name}."
