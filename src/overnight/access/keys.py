"""Who calls: API keys from the settings, each bound to a workspace."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID, uuid5

from overnight.errors import AuthenticationFailed, PermissionDenied
from overnight.model import WorkspaceId

_NAMESPACE = UUID("6f76651a-0000-5000-8000-6e6967687400")
DEFAULT_WORKSPACE_NAME = "default"


class Headers(Protocol):
    def get(self, key: str, /) -> str | None: ...


def workspace_id(name: str) -> WorkspaceId:
    """Give the id of a workspace; the same name gives the same id everywhere."""
    return WorkspaceId("wrkspc_01" + hashlib.sha256(name.encode()).hexdigest()[:22])


def organization_id() -> str:
    return str(uuid5(_NAMESPACE, "organization"))


class Keyring:
    """Finds the workspace of a key; keeps digests, never keys."""

    def __init__(self, api_keys: Sequence[str]) -> None:
        """Each entry is `key` or `workspace=key`. Without any entry everyone may come in."""
        self._pepper = secrets.token_bytes(32)
        self._workspaces: dict[bytes, WorkspaceId] = {}
        for entry in api_keys:
            name, separator, key = entry.partition("=")
            name, key = (name, key) if separator else (DEFAULT_WORKSPACE_NAME, entry)
            self._workspaces[self._digest(key)] = workspace_id(name)

    @property
    def open(self) -> bool:
        """Tell whether calls need no key."""
        return not self._workspaces

    def admit(self, headers: Headers) -> WorkspaceId:
        """Give the caller's workspace, from `x-api-key` or `Authorization: Bearer`.

        Raises: AuthenticationFailed; PermissionDenied when `anthropic-workspace-id` names
        another workspace than the key's.
        """
        workspace = workspace_id(DEFAULT_WORKSPACE_NAME) if self.open else self._find(headers)
        asked = headers.get("anthropic-workspace-id")
        if asked is not None and asked != workspace:
            raise PermissionDenied(
                f"anthropic-workspace-id: this key does not belong to workspace {asked}"
            )
        return workspace

    def _find(self, headers: Headers) -> WorkspaceId:
        scheme, _, token = (headers.get("authorization") or "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else None
        key = headers.get("x-api-key") or bearer
        if not key:
            raise AuthenticationFailed("x-api-key header is required")
        if bearer and bearer != key:
            raise AuthenticationFailed("x-api-key and Authorization carry different keys")
        workspace = self._workspaces.get(self._digest(key))
        if workspace is None:
            raise AuthenticationFailed
        return workspace

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._pepper, key.encode(), "sha256")
