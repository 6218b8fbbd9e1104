"""What a caller above its limit sees, through whichever anthropic SDK runs this file.

Usage: sdk_limits.py, with ANTHROPIC_BASE_URL and the ANTHROPIC_API_KEY of a key that may make 60
calls a minute. Ends with a traceback at the first thing that is not so.
"""

import anthropic


def main() -> None:
    impatient = anthropic.Anthropic(max_retries=0).messages.batches
    granted = 0
    while True:
        try:
            response = impatient.with_raw_response.list()
        except anthropic.RateLimitError as error:
            refused = error
            break
        granted += 1
        assert int(response.headers["anthropic-ratelimit-requests-limit"]) == 60
    assert 60 <= granted <= 120, granted
    headers = refused.response.headers
    assert refused.status_code == 429 and "requests per minute" in str(refused), refused
    assert headers["retry-after"] == "1", headers
    assert headers["anthropic-ratelimit-requests-remaining"] == "0", headers
    assert "x-should-retry" not in headers, headers
    # Told to wait a second, a client with retries does, and gets through.
    anthropic.Anthropic(max_retries=2).messages.batches.list()
    print(f"anthropic {anthropic.__version__}: came back in time")


if __name__ == "__main__":
    main()
