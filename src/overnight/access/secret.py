"""The server's own secret, from which others are derived: in a setting, or a file made once."""

import hmac
import os
import secrets
from pathlib import Path

from overnight.errors import ConfigInvalid

FILE_NAME = "server_secret"
_MIN_BYTES = 16
_OPEN_TO_OTHERS = 0o077


class ServerSecret:
    """Derives keys. Whoever has the database but not this secret has none of them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def derive(self, purpose: str, *context: bytes) -> bytes:
        """Give 32 bytes that follow from secret, purpose and context, and from nothing less."""
        parts = (purpose.encode(), *context)
        message = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._secret, message, "sha256")


def open_secret(given: str | None, directory: Path) -> ServerSecret:
    """Take the secret that is given, else the one in the directory, made if there is none.

    Safe among processes that start at once: all get the same.

    Raises: ConfigInvalid when the file cannot be read or written, is damaged, or can be read by
    other users.
    """
    if given is not None:
        return ServerSecret(given.encode())
    path = directory / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        return ServerSecret(_read(path))
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: {error.strerror}",
            hint="let this user read and write there, or set OVERNIGHT_SERVER_SECRET",
        ) from error


def _make(path: Path) -> None:
    """Write a new secret; it appears whole, and never in the place of another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink()


def _read(path: Path) -> bytes:
    if path.stat().st_mode & _OPEN_TO_OTHERS:
        raise ConfigInvalid(
            f"{path} can be read or written by other users", hint=f"chmod 600 {path}"
        )
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) < _MIN_BYTES:
        raise ConfigInvalid(
            f"{path} is not a secret as this program writes it",
            hint="restore it from a backup; a new one makes signing secrets void",
        )
    return secret
