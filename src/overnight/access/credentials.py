"""Credentials: what a key is to its owner, and the little that the service keeps of it.

A key's secret is shown once, when it is made. What is kept is its HMAC-SHA256 under a secret of
the server, the pepper: a stolen database alone lets nobody in, and cannot be searched for keys
(docs/decisions/0040).
"""

import hashlib
import hmac
import re
import secrets
import string

from overnight.access.secret import ServerSecret

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
    """What the server's secret gives for keys. It never changes while keys shall work."""

    def __init__(self, server: ServerSecret) -> None:
        self._secret = server.derive("api keys")
        # Says which pepper it is, and nothing about what it is.
        self.id = self.digest("overnight pepper id")[:16]

    def digest(self, secret: str) -> str:
        """Hash a key's secret, in hexadecimal."""
        return hmac.digest(self._secret, secret.encode(), hashlib.sha256).hex()
