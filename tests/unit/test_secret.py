"""Secrets of keys, and the server's own under which they are hashed."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overnight.access.secret import PEPPER_FILE, Pepper, hint_of, is_formed, new_secret, pepper
from overnight.errors import ConfigInvalid

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
    ours, theirs = Pepper(LONG.encode()), Pepper(LONG[::-1].encode())
    assert re.fullmatch("[0-9a-f]{64}", ours.digest("sk-a"))
    assert ours.digest("sk-a") == Pepper(LONG.encode()).digest("sk-a")
    assert len({ours.digest("sk-a"), ours.digest("sk-b"), theirs.digest("sk-a")}) == 3
    assert ours.id != theirs.id
    assert not ours.id.startswith(LONG[:8])


def test_the_pepper_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = pepper(None, folder)
    assert pepper(None, folder).id == made.id
    assert stat.S_IMODE((folder / PEPPER_FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [PEPPER_FILE]


def test_processes_that_start_at_once_get_one_pepper(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: pepper(None, tmp_path).id, range(32)))
    assert len(set(made)) == 1


def test_a_pepper_of_the_settings_leaves_no_file(tmp_path: Path) -> None:
    assert pepper(LONG, tmp_path).id == Pepper(LONG.encode()).id
    assert list(tmp_path.iterdir()) == []


def test_a_pepper_that_others_can_read_is_refused(tmp_path: Path) -> None:
    pepper(None, tmp_path)
    os.chmod(tmp_path / PEPPER_FILE, 0o640)
    with pytest.raises(ConfigInvalid, match="others than its owner") as caught:
        pepper(None, tmp_path)
    assert caught.value.hint == f"chmod 600 {tmp_path / PEPPER_FILE}"


def test_a_short_pepper_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="key_secret: 7 characters, at least 32") as caught:
        pepper("tooweak", tmp_path)
    assert "tooweak" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64])
def test_a_file_that_holds_no_pepper_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / PEPPER_FILE
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigInvalid, match=PEPPER_FILE):
        pepper(None, tmp_path)
    assert file.read_bytes() == content
