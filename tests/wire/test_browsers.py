"""What is told to browsers, and what is refused to the pages of other sites."""

import pytest
from tests.wire.caller import BATCHES, Caller, request
from tests.wire.conftest import ServeWith

from overnight.http.browsers import safety_headers

_OTHER_SITES = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://["},
]


@pytest.mark.parametrize("headers", _OTHER_SITES)
def test_a_page_of_another_site_changes_nothing(caller: Caller, headers: dict[str, str]) -> None:
    batch = caller.create(request("held"))["id"]
    for method, path in (
        ("POST", BATCHES),
        ("POST", f"{BATCHES}/{batch}/cancel"),
        ("DELETE", f"{BATCHES}/{batch}"),
        ("POST", "/overnight/v1/price"),
    ):
        answer = caller.call(method, path, b"{}", headers=headers)
        assert answer.error[:2] == (403, "permission_error")
    # It cannot read what it is given here.
    answer = caller.get(f"{BATCHES}/{batch}", headers=headers)
    assert answer.json["processing_status"] == "in_progress"
    assert answer.header("cross-origin-resource-policy") == "same-origin"
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-mode": "cors"},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "none"},
        {"host": "a.example:8", "origin": "http://a.example:8"},
        {"host": "inner", "x-forwarded-host": "a.example", "x-forwarded-proto": "https",
         "origin": "https://a.example"},
    ],
)  # fmt: skip
def test_our_own_pages_and_whatever_is_no_browser_may(
    caller: Caller, headers: dict[str, str]
) -> None:
    answer = caller.post(BATCHES, {"requests": [request()]}, headers=headers)
    assert answer.status == 200


_STRANGE = ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "localhost.evil.example"]
_OWN = ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:8484", "[::1]", "192.168.0.7"]


def test_a_name_that_was_made_to_point_here_opens_nothing(serve_with: ServeWith) -> None:
    caller = serve_with(public_url="https://batches.example").caller()
    for host in _STRANGE:
        for path in (BATCHES, "/", "/metrics", "/healthz"):
            answer = caller.get(path, headers={"host": host})
            assert answer.error[:2] == (403, "permission_error"), host
            assert "is not a name of this service; --allowed-hosts can add it" in answer.error[2]
    for host in [*_OWN, "batches.example"]:
        assert caller.get(BATCHES, headers={"host": host}).status == 200, host


def test_where_keys_are_needed_names_matter_only_if_they_are_listed(
    caller: Caller, serve_with: ServeWith
) -> None:
    assert caller.get(BATCHES, headers={"host": "evil.example"}).status == 200
    listing = serve_with(api_keys=("sk-a",), allowed_hosts=("batches.example",)).caller("sk-a")
    assert listing.get(BATCHES, headers={"host": "Batches.Example:443"}).status == 200
    assert listing.get(BATCHES, headers={"host": "evil.example"}).status == 403
    assert listing.get(BATCHES, headers={"host": "10.0.0.1"}).status == 200


@pytest.mark.parametrize("path", ["/", "/price"])
def test_a_page_allows_nothing_but_its_own_files(caller: Caller, path: str) -> None:
    answer = caller.get(path)
    policy = (answer.header("content-security-policy") or "").split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'"} <= set(policy)
    assert {"script-src 'self'", "style-src 'self'"} <= set(policy)
    for name, value in {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }.items():
        assert answer.header(name) == value
    assert "camera=()" in (answer.header("permissions-policy") or "")


@pytest.mark.parametrize("path", [BATCHES, f"{BATCHES}/x", "/v1/models", "/nowhere", "/healthz"])
def test_an_answer_is_neither_kept_nor_guessed_at(caller: Caller, path: str) -> None:
    answer = caller.get(path)
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("strict-transport-security") is None


@pytest.mark.parametrize(
    ("host", "is_told"),
    [("a.example", True), ("a.example:8443", True), ("localhost:1", False), ("127.0.0.1", False)],
)
def test_browsers_are_told_to_stay_with_tls_except_at_this_machine(
    host: str, is_told: bool
) -> None:
    told = dict(safety_headers([], is_tls=True, host=host.encode()))
    assert (b"strict-transport-security" in told) is is_told


def test_a_page_without_a_policy_of_its_own_gets_one_that_allows_nothing() -> None:
    told = dict(safety_headers([(b"content-type", b"text/html")], is_tls=False, host=b""))
    assert told[b"content-security-policy"].startswith(b"default-src 'none';")
