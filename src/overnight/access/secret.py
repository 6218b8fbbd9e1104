"""Secrets: what a key is to its owner, and the little that the service keeps of it.

A key's secret is shown once, when it is made. What is kept is its HMAC-SHA256 under a secret of
the server, the pepper: a stolen database alone lets nobody in, and cannot be searched for keys
(docs/decisions/0040).
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import string
from pathlib import Path

from overnight.errors import ConfigInvalid

PEPPER_FILE = "key-secret"
MIN_PEPPER_LENGTH = 32

# As the hosted service's, so that whatever looks at a key's beginning accepts ours.
_WORKSPACE_PREFIX = "sk-ant-api03-"
_ADMIN_PREFIX = "sk-ant-admin01-"
_ALPHABET = string.ascii_letters + string.digits
# 285 bits.
_LENGTH = 48
_FORM = re.compile(rf"(?:{_WORKSPACE_PREFIX}|{_ADMIN_PREFIX})[A-Za-z0-9]{{{_LENGTH}}}")


def new_secret(*, admin: bool) -> str:
    """Make the secret of a key."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return (_ADMIN_PREFIX if admin else _WORKSPACE_PREFIX) + random


def hint_of(secret: str) -> str:
    """Give what may be shown of a secret: `sk-ant-api03-R2D...igAA`."""
    prefix = _ADMIN_PREFIX if secret.startswith(_ADMIN_PREFIX) else _WORKSPACE_PREFIX
    return f"{secret[: len(prefix) + 3]}...{secret[-4:]}"


def is_formed(secret: str) -> bool:
    """Tell whether `new_secret` can have made this."""
    return _FORM.fullmatch(secret) is not None


class Pepper:
    """The server's secret. It never changes while keys made with it shall work."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        # Says which pepper it is, and nothing about what it is.
        self.id = self.digest("overnight pepper id")[:16]

    def digest(self, secret: str) -> str:
        """Hash a key's secret, in hexadecimal."""
        return hmac.digest(self._secret, secret.encode(), hashlib.sha256).hex()


def pepper(setting: str | None, directory: Path) -> Pepper:
    """Give the pepper of the settings, else that of the file in the directory, made if missing.

    Raises: ConfigInvalid when it is too short, or the file can be read by others.
    """
    if setting is not None:
        return _checked(setting, "key_secret")
    path = directory / PEPPER_FILE
    try:
        with contextlib.suppress(FileExistsError):
            _make(path)
        if path.stat().st_mode & 0o077:
            raise ConfigInvalid(
                f"{path}: others than its owner can read or write it", hint=f"chmod 600 {path}"
            )
        return _checked(path.read_text(encoding="ascii").strip(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigInvalid(
            f"{path}: {reason}", hint="restore the file, or set OVERNIGHT_KEY_SECRET"
        ) from error


def _checked(text: str, name: str) -> Pepper:
    if len(text) < MIN_PEPPER_LENGTH:
        raise ConfigInvalid(
            f"{name}: {len(text)} characters, at least {MIN_PEPPER_LENGTH}",
            hint="openssl rand -hex 32 makes a good one",
        )
    return Pepper(text.encode())


def _make(path: Path) -> None:
    """Write a new pepper that is whole and on disk, or leave the one that is there."""
    if path.exists():
        raise FileExistsError
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PEPPER_FILE}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename this leaves what another process has put there meanwhile.
        os.link(partial, path)
    finally:
        partial.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
