"""Secrets of keys: how they look, and what is kept of them."""

import re

import pytest

from overnight.access.credentials import Pepper, hint_of, is_formed, new_secret
from overnight.access.secret import ServerSecret

LONG = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(("admin", "prefix"), [(False, "sk-ant-api03-"), (True, "sk-ant-admin01-")])
def test_a_secret_looks_like_one_of_the_hosted_service(admin: bool, prefix: str) -> None:
    secret = new_secret(admin=admin)
    assert re.fullmatch(rf"{prefix}[A-Za-z0-9]{{48}}", secret)
    assert is_formed(secret)
    assert hint_of(secret) == f"{secret[: len(prefix) + 3]}...{secret[-4:]}"


def test_no_two_secrets_are_alike() -> None:
    assert len({new_secret(admin=False) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    "text", ["", "sk-ant-api03-", "sk-ant-api03-" + 47 * "a", "sk-ant-api03-" + 48 * "-",
             "sk-ant-oat01-" + 48 * "a", "sk-ant-api03-" + 48 * "a" + "\n"],
)  # fmt: skip
def test_what_we_cannot_have_made_is_not_looked_for(text: str) -> None:
    assert not is_formed(text)


def test_a_digest_tells_neither_the_secret_nor_the_pepper_and_needs_both() -> None:
    ours, theirs = Pepper(ServerSecret(LONG.encode())), Pepper(ServerSecret(LONG[::-1].encode()))
    assert re.fullmatch("[0-9a-f]{64}", ours.digest("sk-a"))
    assert ours.digest("sk-a") == Pepper(ServerSecret(LONG.encode())).digest("sk-a")
    assert len({ours.digest("sk-a"), ours.digest("sk-b"), theirs.digest("sk-a")}) == 3
    assert ours.id != theirs.id
    assert not ours.id.startswith(LONG[:8])
