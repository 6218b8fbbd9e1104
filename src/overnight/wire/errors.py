"""The HTTP error body, and how a backend's failure looks to a real-time caller.

Source: protocol notes §3.8, §8 (SDK 2.12 types and captures, read 2026-11).
"""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from overnight.errors import OvernightError, RequestTooLarge
from overnight.model import Failure, FailureKind

# What clients know how to read in `error.type`; `request_too_large` is documented for 413.
ERROR_TYPES = frozenset(
    {
        "api_error",
        "authentication_error",
        "billing_error",
        "conflict_error",
        "invalid_request_error",
        "memory_path_conflict_error",
        "memory_precondition_failed_error",
        "not_found_error",
        "overloaded_error",
        "permission_error",
        "rate_limit_error",
        "request_too_large",
        "timeout_error",
    }
)

_TYPE_OF_STATUS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


# What a real-time caller gets when the backend's answer carries no HTTP error status of its own:
# all from 500 on are statuses that SDKs retry.
STATUS_OF_KIND = {
    FailureKind.UNREACHABLE: 503,
    FailureKind.RESET: 502,
    FailureKind.TIMEOUT: 504,
    FailureKind.MALFORMED: 502,
    FailureKind.RATE_LIMITED: 429,
    FailureKind.OVERLOADED: 529,
    FailureKind.SERVER_ERROR: 500,
    FailureKind.CONFLICT: 409,
    FailureKind.INVALID_REQUEST: 400,
    FailureKind.AUTHENTICATION: 401,
    FailureKind.BILLING: 402,
    FailureKind.PERMISSION: 403,
    FailureKind.NOT_FOUND: 404,
    FailureKind.TOO_LARGE: 413,
    FailureKind.INTERNAL: 500,
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong, to programs by `type` and `details.error_code`, to people by `message`."""

    type: str
    message: str
    details: Mapping[str, object] | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error answer."""

    type: Literal["error"] = "error"
    error: Fault
    request_id: str


class TooLargeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer to a body above the limit: as the service's edge refuses it."""

    error: Fault


class BackendFailed(OvernightError):
    """The backend did not answer with a message"""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, retry_after_s=failure.retry_after_s)
        self.failure = failure
        own = failure.status or 0
        self.status = own if own >= 400 else STATUS_OF_KIND[failure.kind]
        self.wire_type = failure.error_type

    @property
    def details(self) -> Mapping[str, object] | None:
        """Give the backend's own `details` object, when it sent one."""
        raw = self.failure.details
        return None if raw is None else msgspec.json.decode(raw, type=dict[str, object])


def error_type(status: int) -> str:
    """Name the `error.type` that goes with an HTTP status."""
    default = "api_error" if status >= 500 else "invalid_request_error"
    return _TYPE_OF_STATUS.get(status, default)


def error_body(error: OvernightError, request_id: str) -> bytes:
    """Write the JSON body of an error answer: `ErrorBody`, or `TooLargeBody`."""
    fault = Fault(type=error.wire_type, message=error.message, details=error.details or None)
    if isinstance(error, RequestTooLarge) and error.error_code is None:
        return msgspec.json.encode(TooLargeBody(error=fault))
    return msgspec.json.encode(ErrorBody(error=fault, request_id=request_id))


def error_headers(error: OvernightError) -> dict[str, str]:
    """Give the headers by which an error answer steers the client's retries."""
    headers: dict[str, str] = {}
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return headers


def failure_error(failure: Failure) -> BackendFailed:
    """Turn a backend's failure into the error that a real-time caller gets.

    Status, type, details and `retry-after` of the backend's answer are kept; without an error
    status of its own `STATUS_OF_KIND` says which.
    """
    return BackendFailed(failure)
