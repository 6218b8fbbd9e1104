"""Spend limits of the Admin API: their shapes, what is refused, and the header of a create.

Pins protocol.md §8.4 and §13.4.
"""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types.beta.organization import BetaSpendLimit
from tests.wire.caller import BATCHES, request
from tests.wire.conftest import ServeWith
from tests.wire.organization import ADMIN, SPEND_LIMITS, Administrator, Issued
from tests.wire.served import Served, serving

from overnight.access.keys import workspace_id

DEFAULT = workspace_id("default")
WORKSPACE = {"type": "workspace", "workspace_id": DEFAULT}


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("budgeted"), api_keys=(f"admin={ADMIN}",)) as served:
        yield served


@pytest.fixture(scope="module")
def administrator(budgeted: Served) -> Administrator:
    return Administrator(budgeted)


@pytest.fixture(scope="module")
def key(administrator: Administrator) -> Issued:
    return administrator.issue(DEFAULT)


def test_the_sdk_sets_lists_reads_and_deletes_limits(budgeted: Served, key: Issued) -> None:
    client = anthropic.Anthropic(base_url=budgeted.url, api_key=ADMIN)
    limits = client.beta.organization.spend_limits
    made = limits.set(amount="50000", scope={"type": "workspace", "workspace_id": DEFAULT})
    assert isinstance(made, BetaSpendLimit)
    assert (made.amount, made.period, made.currency) == ("50000", "monthly", "USD")
    assert made.id.startswith("spl_") and made.is_enabled and made.type == "spend_limit"
    again = limits.set(amount="40000", scope={"type": "workspace", "workspace_id": DEFAULT})
    assert (again.id, again.amount) == (made.id, "40000")
    budgeted.advance(1)
    daily = limits.set(amount="100", scope={"type": "organization"}, period="daily")
    assert [limit.id for limit in limits.list(limit=1)] == [daily.id, made.id]
    assert [limit.id for limit in limits.list(workspace_id=DEFAULT)] == [made.id]
    assert [limit.id for limit in limits.list(scope_type=["organization"])] == [daily.id]
    assert not list(limits.list(scope_type=["seat_tier"]))
    assert limits.retrieve(made.id).scope.to_dict() == {
        "type": "workspace",
        "workspace_id": DEFAULT,
    }
    [row] = limits.effective.list(period=["daily"])
    assert (row.spend_limit_id, row.amount, row.period_to_date_spend) == (daily.id, "100", "0")
    assert not list(limits.effective.list(user_ids=["user_01x"]))
    for limit in (made, daily):
        assert limits.delete(limit.id).type == "spend_limit_deleted"
        with pytest.raises(anthropic.NotFoundError):
            limits.retrieve(limit.id)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"amount": "12.5", "scope": WORKSPACE}, "amount: '12.5': Input should be whole cents"),
        ({"amount": None, "scope": WORKSPACE}, "amount: null is no limit here"),
        ({"amount": "9" * 14, "scope": WORKSPACE}, "cents is more than 1,000,000,000 USD"),
        ({"amount": "1", "scope": {"type": "workspace"}}, "scope.workspace_id: Field required"),
        ({"amount": "1", "scope": {"type": "user", "user_id": "x"}}, "Invalid enum value 'user'"),
        (
            {"amount": "1", "scope": {"type": "organization", "workspace_id": DEFAULT}},
            "scope: type organization goes with no other id",
        ),
        ({"amount": "1", "scope": WORKSPACE, "period": "yearly"}, "Invalid enum value 'yearly'"),
        ({"amount": "1", "scope": WORKSPACE | {"workspace_id": "x"}}, "Workspace x not found."),
    ],
)
def test_what_is_no_limit_is_refused(
    administrator: Administrator, body: dict[str, object], told: str
) -> None:
    answer = administrator.post(SPEND_LIMITS, body)
    assert answer.status in (400, 404) and told in answer.error[2], answer


@pytest.mark.parametrize("query", ["?scope_type[]=x", "?page=spl_01x", "?limit=0"])
def test_a_list_that_cannot_be_meant_is_refused(administrator: Administrator, query: str) -> None:
    assert administrator.get(SPEND_LIMITS + query).error[:2] == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("much", "overnight-max-cost-usd: 'much': not a number"),
        ("-1", "overnight-max-cost-usd: '-1': must not be negative"),
        ("0", "overnight-max-cost-usd: '0': must be more than 0"),
        ("0.0000000001", "overnight-max-cost-usd: '0.0000000001': at most 9 decimals"),
        ("1e12", "overnight-max-cost-usd: 1e12 is more than 1,000,000,000 USD"),
    ],
)
def test_what_is_no_amount_is_refused(key: Issued, value: str, told: str) -> None:
    headers = {"overnight-max-cost-usd": value}
    answer = key.caller.post(BATCHES, {"requests": [request()]}, headers=headers)
    assert answer.error == (400, "invalid_request_error", told)


def test_two_amounts_are_refused(key: Issued) -> None:
    headers = [("overnight-max-cost-usd", "1"), ("overnight-max-cost-usd", "2")]
    answer = key.caller.post(BATCHES, {"requests": [request()]}, headers=headers)
    assert answer.error[2] == "overnight-max-cost-usd: sent 2 different values"


def test_a_batch_above_its_own_budget_is_refused_with_the_figures(key: Issued) -> None:
    headers = {"overnight-max-cost-usd": "0.000001"}
    answer = key.caller.post(BATCHES, {"requests": [request()]}, headers=headers)
    status, kind, message = answer.error
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("This batch costs at least $") and message.endswith(
        "Its budget is $0.000001."
    )
    details = answer.json["error"]["details"]
    assert details["error_code"] == "spend_limit_reached" and details["scope"] == "batch"
    assert answer.header("x-should-retry") == "false"


def test_above_the_budget_of_a_key_nothing_is_read_and_another_key_goes_on(
    serve_with: ServeWith,
) -> None:
    served = serve_with(api_keys=(f"admin={ADMIN}",))
    administrator = Administrator(served)
    narrow, wide = administrator.issue(DEFAULT), administrator.issue(DEFAULT)
    scope = {"type": "api_key", "api_key_id": narrow.id}
    administrator.asked("POST", SPEND_LIMITS, {"amount": "0", "scope": scope, "period": "weekly"})
    # No JSON at all: the budget refuses before the body is looked at.
    answer = narrow.caller.post(BATCHES, b"{")
    assert answer.error[2] == (
        "You have reached your specified API usage limits. You will regain access on "
        f"2026-11-23 at 00:00 UTC. Of the weekly budget of key {narrow.id}, $0.00, $0.00 is used "
        "or reserved and $0.00 is left."
    )
    with pytest.raises(anthropic.BadRequestError, match="reached your specified API usage limits"):
        anthropic.Anthropic(base_url=served.url, api_key=narrow.secret).messages.create(
            model="claude-haiku-4-5",
            max_tokens=10,
            messages=[{"role": "user", "content": "x"}],
        )
    assert wide.caller.run(request())["request_counts"]["succeeded"] == 1
    [row] = administrator.get(f"{SPEND_LIMITS}/effective").json["data"]
    assert row["actor"] == {"type": "scoped_api_key_actor", "scoped_api_key_id": narrow.id}
