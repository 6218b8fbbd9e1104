"""Every situation a caller can act on, as one class each.

HTTP answers, the command line and pages all render from these attributes; nothing else maps
errors. A class's docstring is its default message.
"""

from collections.abc import Mapping
from typing import ClassVar

# In characters. A message repeats names that a caller wrote, and those may be of any length.
MAX_MESSAGE = 8_000

EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_NOT_ALL_SUCCEEDED = 3
EXIT_AUTH = 4
EXIT_SERVER = 5
EXIT_BUDGET = 6
EXIT_TIMEOUT = 8
# The `error_code` of a refusal by a budget.
SPEND_LIMIT_REACHED = "spend_limit_reached"


class OvernightError(Exception):
    """Something went wrong in Overnight"""

    # Set per class; `wire.errors.BackendFailed` sets its own from the backend's answer.
    wire_type: str = "api_error"
    status: int = 500
    exit_code: ClassVar[int] = EXIT_UNEXPECTED
    # Sent as `x-should-retry` when not None; SDKs obey it over their own table.
    should_retry: ClassVar[bool | None] = None

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        error_code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        text = message or (type(self).__doc__ or "").strip()
        super().__init__(text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…")
        self.hint = hint
        self.error_code = error_code
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def details(self) -> Mapping[str, object] | None:
        """Give the wire's `details` object: the stable machine value, when there is one."""
        return {"error_code": self.error_code} if self.error_code else None


class InvalidRequest(OvernightError):
    """The request is not valid"""

    wire_type = "invalid_request_error"
    status = 400
    exit_code = EXIT_USAGE
    should_retry = False


class BudgetExceeded(InvalidRequest):
    """You have reached your specified API usage limits."""

    exit_code = EXIT_BUDGET

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        amounts: Mapping[str, str] | None = None,
    ) -> None:
        """`amounts` tells in figures what the message says."""
        super().__init__(message, hint=hint, error_code=SPEND_LIMIT_REACHED)
        self._amounts = amounts or {}

    @property
    def details(self) -> Mapping[str, object] | None:
        return {"error_code": self.error_code, **self._amounts}


class AuthenticationFailed(OvernightError):
    """API key is invalid."""

    wire_type = "authentication_error"
    status = 401
    exit_code = EXIT_AUTH
    should_retry = False


class PermissionDenied(OvernightError):
    """This key may not do that"""

    wire_type = "permission_error"
    status = 403
    exit_code = EXIT_AUTH
    should_retry = False


class NotFound(OvernightError):
    """Not found"""

    wire_type = "not_found_error"
    status = 404
    exit_code = EXIT_USAGE
    should_retry = False


class MethodNotAllowed(OvernightError):
    """Method Not Allowed"""

    wire_type = "invalid_request_error"
    status = 405
    exit_code = EXIT_USAGE
    should_retry = False


class RequestTimedOut(OvernightError):
    """The request did not arrive in time"""

    wire_type = "timeout_error"
    status = 408
    exit_code = EXIT_SERVER


class RequestTooLarge(OvernightError):
    """Request exceeds the maximum size"""

    wire_type = "request_too_large"
    status = 413
    exit_code = EXIT_USAGE
    should_retry = False


class UrlTooLong(OvernightError):
    """The URL is too long"""

    wire_type = "invalid_request_error"
    status = 414
    exit_code = EXIT_USAGE
    should_retry = False


class HeadTooLarge(OvernightError):
    """The headers are too large"""

    wire_type = "invalid_request_error"
    status = 431
    exit_code = EXIT_USAGE
    should_retry = False


class RateLimited(OvernightError):
    """Too many requests"""

    wire_type = "rate_limit_error"
    status = 429
    exit_code = EXIT_SERVER


class QueueFull(RateLimited):
    """Too many requests are queued"""

    # Nobody knows when there will be room; to send a large body again blindly helps nobody.
    should_retry = False


class Unavailable(OvernightError):
    """The service cannot take this now"""

    wire_type = "api_error"
    status = 503
    exit_code = EXIT_SERVER


class ConfigInvalid(OvernightError):
    """The configuration is not valid"""

    exit_code = EXIT_USAGE


class DataDirBusy(OvernightError):
    """Another server uses this data directory"""

    exit_code = EXIT_USAGE


class ServerUnreachable(OvernightError):
    """The server cannot be reached"""

    exit_code = EXIT_SERVER
