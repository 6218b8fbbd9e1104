"""Roles and the status of a key; which role each route needs."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.service import START

from overnight.http.admission import NEEDS, Open, needed
from overnight.http.app import routes
from overnight.settings import Settings
from overnight.tenancy import DEFAULT_ROLES, ROLES, Key, KeyId, Role, in_order

SECOND = timedelta(seconds=1)
GUIDE = Path(__file__).parents[2] / "docs/guides/workspaces-and-keys.md"
SERVED = {
    f"{method} {re.sub(r':[a-z]+}', '}', path)}"
    for handler in routes(Settings())
    for path in handler.paths
    for method in handler.http_methods
}


def a_key(**changes: Any) -> Key:
    usual = {
        "id": KeyId("apikey_01a"),
        "workspace_id": None,
        "name": "a",
        "roles": frozenset({Role.READ}),
        "hint": "sk-ant-api03-abc...wxyz",
        "created_at": START,
    }
    return Key(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "active"),
        ({"expires_at": START + SECOND}, "active"),
        ({"expires_at": START}, "expired"),
        ({"disabled_at": START}, "inactive"),
        ({"disabled_at": START, "expires_at": START}, "expired"),
        ({"revoked_at": START}, "archived"),
        ({"revoked_at": START, "disabled_at": START, "expires_at": START}, "archived"),
    ],
)
def test_the_status_of_a_key_is_the_gravest_of_what_happened(
    changes: dict[str, Any], status: str
) -> None:
    assert a_key(**changes).status(START) == status


def test_roles_are_listed_in_one_order() -> None:
    assert in_order({Role.ADMIN, Role.READ, Role.SUBMIT}) == ["submit", "read", "admin"]


def test_a_key_of_a_workspace_cannot_administer_unless_it_is_said() -> None:
    assert frozenset(Role) - DEFAULT_ROLES == {Role.ADMIN}


def test_every_role_has_its_meaning() -> None:
    assert list(ROLES) == list(Role)


def test_every_route_says_what_it_needs_and_nothing_else_does() -> None:
    assert set(NEEDS) == SERVED


def test_a_route_that_says_nothing_needs_an_admin() -> None:
    assert needed("GET", "/v1/forgotten") is Role.ADMIN


def test_what_is_open_to_all_is_exactly_this() -> None:
    assert {route for route, need in NEEDS.items() if need is Open.TO_ALL} == {
        "GET /", "GET /price", "GET /prices.json", "GET /static/{digest}/{name}", "GET /healthz",
        "POST /overnight/v1/price", "GET /overnight/v1/prices",
        "GET /overnight/v1/prices/schema.json", "GET /openapi.json",
    }  # fmt: skip


def test_the_guide_shows_what_each_role_may_do() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for role, meaning in ROLES.items():
        assert f"| `{role}` | {meaning} |" in text
