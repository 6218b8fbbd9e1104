"""Who may call, which version, which betas.

Pins protocol.md §2, §4.4, §15.1.
"""

import pytest
from tests.wire.caller import BATCHES, Caller, Headers, request
from tests.wire.conftest import NewCaller, ServeWith


def test_the_key_is_found_as_a_bearer_token(caller: Caller) -> None:
    assert caller.get(BATCHES).status == 200


def test_the_key_is_found_in_x_api_key(caller: Caller) -> None:
    batch = caller.create(request())
    answer = caller.get(
        f"{BATCHES}/{batch['id']}", headers={"x-api-key": caller.key}, without=["authorization"]
    )
    assert answer.status == 200


def test_both_headers_with_one_key_are_accepted(caller: Caller) -> None:
    assert caller.get(BATCHES, headers={"x-api-key": caller.key}).status == 200


def test_two_different_keys_are_refused(caller: Caller, new_caller: NewCaller) -> None:
    answer = caller.get(BATCHES, headers={"x-api-key": new_caller().key})
    assert answer.error[:2] == (401, "authentication_error")


@pytest.mark.parametrize("path", [BATCHES, f"{BATCHES}/x", f"{BATCHES}/x/results", "/v1/models"])
def test_a_call_without_a_key_is_refused(caller: Caller, path: str) -> None:
    answer = caller.get(path, without=["authorization"])
    assert answer.error == (401, "authentication_error", "x-api-key header is required")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-wrong"},
        {"x-api-key": "sk-wrong"},
        {"authorization": "bearer sk-wrong"},
    ],
)
def test_a_wrong_key_is_refused(caller: Caller, headers: Headers) -> None:
    answer = caller.get(BATCHES, headers=headers, without=["authorization"])
    assert answer.error == (401, "authentication_error", "API key is invalid.")


def test_a_wrong_key_is_refused_before_the_body_is_read(caller: Caller) -> None:
    answer = caller.post(BATCHES, b"not json", headers={"authorization": "Bearer sk-wrong"})
    assert answer.status == 401


def test_a_matching_workspace_header_is_accepted(caller: Caller) -> None:
    headers = {"anthropic-workspace-id": caller.workspace_id}
    assert caller.get(BATCHES, headers=headers).status == 200


def test_another_workspace_than_the_keys_is_refused(caller: Caller) -> None:
    answer = caller.get(BATCHES, headers={"anthropic-workspace-id": "wrkspc_01other"})
    assert answer.error[:2] == (403, "permission_error")


@pytest.mark.parametrize("version", ["2026-10-21", "2023-06-01"])
def test_both_versions_are_served(caller: Caller, version: str) -> None:
    headers = {"anthropic-version": version}
    batch = caller.create(request(), headers=headers)
    assert caller.get(f"{BATCHES}/{batch['id']}", headers=headers).status == 200
    assert caller.ended(batch["id"])["request_counts"]["succeeded"] == 1


def test_a_batch_remembers_the_version_of_its_creation(caller: Caller) -> None:
    sampled = request("sampled", temperature=0.5)
    old = caller.run(sampled, headers={"anthropic-version": "2023-06-01"})
    new = caller.run(sampled, headers={"anthropic-version": "2026-10-21"})
    assert caller.results(old["id"])["sampled"]["type"] == "succeeded"
    assert caller.results(new["id"])["sampled"]["type"] == "errored"


def test_a_missing_version_is_refused_everywhere(caller: Caller) -> None:
    batch_id = caller.run(request())["id"]
    expected = (400, "invalid_request_error", "anthropic-version: header is required")
    for method, path in [
        ("POST", BATCHES),
        ("GET", BATCHES),
        ("GET", f"{BATCHES}/{batch_id}"),
        ("GET", f"{BATCHES}/{batch_id}/results"),
        ("POST", f"{BATCHES}/{batch_id}/cancel"),
        ("DELETE", f"{BATCHES}/{batch_id}"),
    ]:
        assert caller.call(method, path, without=["anthropic-version"]).error == expected


def test_an_unknown_version_is_refused_with_its_value(caller: Caller) -> None:
    answer = caller.get(BATCHES, headers={"anthropic-version": "2024-01-01"})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith('anthropic-version: "2024-01-01" is not a valid version')


@pytest.mark.parametrize(
    "headers",
    [
        [("anthropic-beta", "message-batches-2024-09-24")],
        [("anthropic-beta", "prompt-caching-2024-07-31,message-batches-2024-09-24")],
        [("anthropic-beta", "a-2026-01-01, b-2026-01-01"), ("anthropic-beta", "c-2026-01-01")],
        [("anthropic-beta", "output-300k-2026-03-24")],
        [("anthropic-beta", "")],
    ],
)
def test_any_beta_list_is_accepted(caller: Caller, headers: list[tuple[str, str]]) -> None:
    assert caller.run(request(), headers=headers)["request_counts"]["succeeded"] == 1


@pytest.mark.parametrize("beta", [None, "output-300k-2026-03-24"])
def test_long_outputs_need_their_beta(caller: Caller, beta: str | None) -> None:
    headers = {"anthropic-beta": beta} if beta else {}
    long = request("long", model="claude-sonnet-4-6", max_tokens=300_000)
    results = caller.results(caller.run(long, headers=headers)["id"])
    assert results["long"]["type"] == ("succeeded" if beta else "errored")


def test_the_query_of_early_clients_is_ignored_everywhere(caller: Caller) -> None:
    created = caller.post(f"{BATCHES}?beta=true", {"requests": [request("held")]})
    assert created.status == 200
    path = f"{BATCHES}/{created.json['id']}"
    assert caller.get(f"{path}?beta=true").json == created.json
    assert len(caller.get(f"{BATCHES}?beta=true&limit=5").json["data"]) == 1
    assert caller.call("POST", f"{path}/cancel?beta=true").status == 200
    assert caller.get(f"{path}/results?beta=true").status in {200, 404}
    assert caller.call("DELETE", f"{path}?beta=true").status in {200, 400}


def test_what_an_sdk_adds_to_its_calls_is_ignored(caller: Caller) -> None:
    headers = {
        "x-stainless-timeout": "NOT_GIVEN",
        "x-stainless-read-timeout": "600",
        "x-stainless-retry-count": "0",
        "x-stainless-lang": "python",
        "accept-encoding": "gzip, deflate",
        "accept-language": "*",
        "sec-fetch-mode": "cors",
        "user-agent": "Anthropic/Python 2.12.0",
    }
    assert caller.create(request(), headers=headers)["type"] == "message_batch"


def test_without_configured_keys_everyone_may_call(serve_with: ServeWith) -> None:
    caller = serve_with().caller()
    assert caller.get(BATCHES, without=["authorization"]).status == 200
    assert caller.get(BATCHES, headers={"x-api-key": "anything"}).status == 200


def test_a_foreign_batch_behaves_as_if_it_did_not_exist(
    caller: Caller, new_caller: NewCaller
) -> None:
    batch_id = caller.run(request())["id"]
    stranger = new_caller()
    unknown = (404, "not_found_error", f"Message Batch {batch_id} not found.")
    path = f"{BATCHES}/{batch_id}"
    assert stranger.get(path).error == unknown
    assert stranger.get(f"{path}/results").error == unknown
    assert stranger.call("POST", f"{path}/cancel").error == unknown
    assert stranger.call("DELETE", path).error == unknown
    assert stranger.get(f"{BATCHES}?after_id={batch_id}").error == unknown
    assert stranger.get(f"/overnight/v1/batches/{batch_id}/progress").error == unknown
    assert stranger.get(BATCHES).json["data"] == []
    assert caller.get(path).status == 200
