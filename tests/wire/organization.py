"""A service with workspaces and keys, seen by its administrator."""

from typing import Any

import msgspec
from tests.wire.caller import Answer, Caller, Object
from tests.wire.served import Served

from overnight.access.keys import organization_id

WORKSPACES = "/v1/organizations/workspaces"
API_KEYS = "/v1/organizations/api_keys"
KEYS = "/overnight/v1/keys"
SPEND_LIMITS = "/v1/organizations/spend_limits"
ORGANIZATION = organization_id()
# A key of the settings that administers.
ADMIN = "sk-ant-admin01-of-the-settings"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just created, and a caller that has it."""

    id: str
    secret: str
    document: Object
    caller: Caller


class Administrator(Caller):
    """Creates workspaces and keys on one service."""

    def __init__(self, served: Served, key: str = ADMIN) -> None:
        super().__init__(served.port, key, "")

    def workspace(self, name: str) -> str:
        """Create a workspace; give its id."""
        return str(self.asked("POST", WORKSPACES, {"name": name})["id"])

    def issue(self, workspace_id: str | None, *roles: str, **more: Any) -> Issued:
        """Create a key of a workspace, or without one of the organization."""
        question: Object = {"name": "test"} | more
        if workspace_id is not None:
            question["workspace_id"] = workspace_id
        if roles:
            question["roles"] = list(roles)
        made = self.asked("POST", KEYS, question)
        caller = Caller(self.port, made["secret"], workspace_id or "")
        return Issued(id=made["id"], secret=made["secret"], document=made, caller=caller)

    def asked(self, method: str, path: str, body: Object | None = None) -> Object:
        """Call what must succeed; give the answer's object."""
        answer: Answer = self.call(method, path) if body is None else self.post(path, body)
        assert answer.status == 200, answer
        found: Object = answer.json
        return found
