import json

import msgspec
import pytest

from overnight.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    OvernightError,
    RateLimited,
    RequestTooLarge,
    Unavailable,
)
from overnight.model import Failure, FailureKind
from overnight.wire.errors import (
    ERROR_TYPES,
    STATUS_OF_KIND,
    error_body,
    error_headers,
    error_type,
    failure_error,
)

REQUEST_ID = "req_011CVqq7B2dBhFcPiYfGhbGt"


def failed(kind: FailureKind, *, status: int | None = None) -> Failure:
    return Failure(kind=kind, error_type="api_error", message="no", status=status)


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (
            NotFound("Message Batch x not found."),
            b'{"type":"error","error":{"type":"not_found_error",'
            b'"message":"Message Batch x not found."},"request_id":"' + REQUEST_ID.encode() + b'"}',
        ),
        (
            InvalidRequest("no", error_code="unsupported_charset"),
            b'{"type":"error","error":{"type":"invalid_request_error","message":"no",'
            b'"details":{"error_code":"unsupported_charset"}},"request_id":"'
            + REQUEST_ID.encode()
            + b'"}',
        ),
        (
            RequestTooLarge(),
            b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}',
        ),
        (
            RequestTooLarge(error_code="request_body_too_large_after_decoding"),
            b'{"type":"error","error":{"type":"request_too_large",'
            b'"message":"Request exceeds the maximum size",'
            b'"details":{"error_code":"request_body_too_large_after_decoding"}},"request_id":"'
            + REQUEST_ID.encode()
            + b'"}',
        ),
    ],
)
def test_an_error_body_has_the_shape_of_the_wire(error: OvernightError, body: bytes) -> None:
    assert error_body(error, REQUEST_ID) == body


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (AuthenticationFailed(), {"x-should-retry": "false"}),
        (Unavailable(), {}),
        (RateLimited(retry_after_s=0.2), {"retry-after": "1"}),
        (RateLimited(retry_after_s=7.0), {"retry-after": "7"}),
    ],
)
def test_error_headers_steer_the_clients_retries(
    error: OvernightError, headers: dict[str, str]
) -> None:
    assert error_headers(error) == headers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529])
def test_each_status_has_a_type_that_clients_know(status: int) -> None:
    assert error_type(status) in ERROR_TYPES


def test_each_kind_of_failure_has_an_error_status() -> None:
    assert set(STATUS_OF_KIND) == set(FailureKind)
    assert all(400 <= status < 600 for status in STATUS_OF_KIND.values())


def test_a_failure_keeps_the_backends_status_type_details_and_pause() -> None:
    error = failure_error(
        Failure(
            kind=FailureKind.OVERLOADED,
            error_type="overloaded_error",
            message="Overloaded",
            status=529,
            retry_after_s=3.0,
            details=msgspec.Raw(b'{"error_code": "compaction_unavailable"}'),
        )
    )
    assert (error.status, error.wire_type, error.should_retry) == (529, "overloaded_error", None)
    assert error_headers(error) == {"retry-after": "3"}
    assert json.loads(error_body(error, REQUEST_ID)) == {
        "type": "error",
        "error": {
            "type": "overloaded_error",
            "message": "Overloaded",
            "details": {"error_code": "compaction_unavailable"},
        },
        "request_id": REQUEST_ID,
    }


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (failed(FailureKind.UNREACHABLE), 503),
        (failed(FailureKind.RESET), 502),
        (failed(FailureKind.TIMEOUT), 504),
        (failed(FailureKind.INTERNAL), 500),
        (failed(FailureKind.MALFORMED, status=200), 502),
        (failed(FailureKind.MALFORMED, status=307), 502),
        (failed(FailureKind.INVALID_REQUEST, status=422), 422),
    ],
)
def test_a_failure_always_becomes_an_error_status(failure: Failure, status: int) -> None:
    assert failure_error(failure).status == status


def test_an_error_of_one_answer_does_not_change_the_class() -> None:
    failure_error(failed(FailureKind.RATE_LIMITED, status=429))
    assert OvernightError.status == 500
