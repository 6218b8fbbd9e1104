"""The server's own secret: made once, kept from others, and what follows from it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.access.secret import FILE_NAME, ServerSecret, open_secret
from overnight.errors import ConfigInvalid


def test_a_secret_is_made_once_and_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    first = open_secret(None, tmp_path / "data")
    again = open_secret(None, tmp_path / "data")
    file = tmp_path / "data" / FILE_NAME
    assert first.derive("p") == again.derive("p")
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == [FILE_NAME]
    assert open_secret(None, tmp_path / "elsewhere").derive("p") != first.derive("p")


def test_processes_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: open_secret(None, tmp_path), range(32)))
    assert len({secret.derive("p") for secret in found}) == 1
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_given_secret_needs_no_file(tmp_path: Path) -> None:
    given_one = open_secret("s" * 32, tmp_path / "data")
    assert given_one.derive("p") == ServerSecret(b"s" * 32).derive("p")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    open_secret(None, tmp_path)
    (tmp_path / FILE_NAME).chmod(mode)
    with pytest.raises(ConfigInvalid, match="other users") as caught:
        open_secret(None, tmp_path)
    assert caught.value.hint == f"chmod 600 {tmp_path / FILE_NAME}"


@pytest.mark.parametrize("content", ["", "\n", "abc", "no hexadecimal digits at all here", "é"])
def test_a_damaged_file_is_named_and_its_content_is_not(tmp_path: Path, content: str) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(content, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(ConfigInvalid, match="is not a secret") as caught:
        open_secret(None, tmp_path)
    assert not content.strip() or content not in caught.value.message


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigInvalid, match="data/server_secret"):
        open_secret(None, tmp_path / "data")


@given(st.lists(st.binary(max_size=8), max_size=3), st.lists(st.binary(max_size=8), max_size=3))
def test_another_purpose_or_context_gives_another_key(one: list[bytes], two: list[bytes]) -> None:
    secret = ServerSecret(b"x" * 32)
    assert (secret.derive("p", *one) == secret.derive("p", *two)) == (one == two)
    assert secret.derive("p", *one) != secret.derive("q", *one)
    assert len(secret.derive("p", *one)) == 32
