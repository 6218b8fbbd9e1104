"""`results_url`: absolute, with the origin that the client used.

Pins protocol.md §1 (path prefixes), §15.2.
"""

from collections.abc import Callable

import pytest
from tests.wire.caller import BATCHES, Caller, Headers, Object, request
from tests.wire.conftest import NewCaller, ServeWith


@pytest.fixture(scope="module")
def shown(new_caller: NewCaller) -> Callable[[Headers], str]:
    """Gives the path-less start of `results_url` for a client that sends these headers."""
    caller = new_caller()
    batch = caller.run(request())
    path = f"{BATCHES}/{batch['id']}"

    def url(headers: Headers) -> str:
        answer = caller.get(path, headers=headers)
        assert answer.status == 200, answer
        results_url: str = answer.json["results_url"]
        assert results_url.endswith(f"{path}/results")
        return results_url.removesuffix(f"{path}/results")

    return url


def test_it_has_the_host_that_the_client_used(shown: Callable[[Headers], str]) -> None:
    assert shown({"host": "localhost:8484"}) == "http://localhost:8484"
    assert shown({"host": "batches.example"}) == "http://batches.example"
    assert shown({"host": "[::1]:8484"}) == "http://[::1]:8484"


def test_behind_a_proxy_it_has_what_the_proxy_was_asked_for(
    shown: Callable[[Headers], str],
) -> None:
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-host": "api.example"}
    assert shown(forwarded) == "https://api.example"
    assert shown({"host": "inner:1", **forwarded}) == "https://api.example"
    assert shown({"host": "api.example", "x-forwarded-proto": "https"}) == "https://api.example"


def test_behind_two_proxies_the_first_one_counts(shown: Callable[[Headers], str]) -> None:
    forwarded = {"x-forwarded-proto": "https, http", "x-forwarded-host": "api.example, inner"}
    assert shown(forwarded) == "https://api.example"


def test_in_a_list_it_has_the_same_origin(new_caller: NewCaller) -> None:
    caller = new_caller()
    caller.run(request())
    page = caller.get(BATCHES, headers={"host": "batches.example"}).json
    assert page["data"][0]["results_url"].startswith("http://batches.example/v1/")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_public_url_counts_more_than_any_header(serve_with: ServeWith, slash: str) -> None:
    url = f"https://api.example/overnight{slash}"
    caller = serve_with(public_url=url, allowed_hosts=("evil.example",)).caller()
    batch = caller.run(request())
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    path = f"{BATCHES}/{batch['id']}"
    url = caller.get(path, headers=headers).json["results_url"]
    assert url == f"https://api.example/overnight{path}/results"


def test_a_path_prefix_is_served_whether_or_not_the_proxy_has_cut_it_off(
    serve_with: ServeWith,
) -> None:
    caller = serve_with(public_url="https://api.example/deep/prefix").caller()
    answer = caller.post(f"/deep/prefix{BATCHES}", {"requests": [request()]})
    assert answer.status == 200
    batch: Object = caller.ended(answer.json["id"])
    for prefix in ("", "/deep/prefix"):
        assert caller.get(f"{prefix}{BATCHES}/{batch['id']}").json == batch
        assert caller.get(f"{prefix}{BATCHES}/{batch['id']}/results").status == 200
    assert caller.get(f"/deep/prefixes{BATCHES}").status == 404
    assert caller.get("/deep/prefix/v1/nothing").header("request-id") is not None


def test_the_url_leads_to_the_results(caller: Caller) -> None:
    batch = caller.run(request())
    url: str = batch["results_url"]
    origin = f"http://127.0.0.1:{caller.port}"
    assert url.startswith(origin)
    assert caller.get(url.removeprefix(origin)).status == 200
