"""The audit log's noun: an act, something that changed what others may do or see. Values only.

Content-free: an act holds ids, roles, limits and names of fields, never what a caller sent as
prompt, body, URL or key.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NewType, get_args

import msgspec

from overnight.model import WorkspaceId, random_text
from overnight.tenancy import KeyId

ActId = NewType("ActId", str)
Action = Literal[
    "key.create", "key.update", "key.limit", "key.revoke",
    "workspace.create", "workspace.update", "workspace.limit", "workspace.archive",
    "webhook.create", "webhook.update", "webhook.delete", "webhook.rotate", "webhook.disable",
    "webhook.test", "webhook.redeliver",
    "budget.set", "budget.remove",
    "batch.cancel", "batch.delete",
]  # fmt: skip
Outcome = Literal["done", "refused"]
# A key of the database, a key of the settings, whoever calls where no key is needed, and the
# service by itself.
ActorKind = Literal["key", "settings_key", "anyone", "service"]
Detail = str | int | None

ACTIONS: tuple[Action, ...] = get_args(Action)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, and from where."""

    kind: ActorKind
    # Of a key of the database.
    key_id: KeyId | None = None
    # What the key was called then, or the workspace that the settings give it.
    name: str | None = None
    # The other end of the connection, which may be a proxy.
    address: str | None = None
    # What the last `x-forwarded-for` says: whoever can reach the service can write one.
    forwarded_for: str | None = None


SERVICE = Actor(kind="service")


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit log."""

    id: ActId
    created_at: datetime
    action: Action
    outcome: Outcome = "done"
    # Of the answer; None for what no request asked for.
    status: int | None = None
    actor: Actor
    # The workspace that the call was about; None for one about the organization.
    workspace_id: WorkspaceId | None = None
    # What was acted on; None where nothing came to be, or what was named is no id.
    subject_id: str | None = None
    request_id: str | None = None
    details: Mapping[str, Detail] = {}


def new_act_id() -> ActId:
    return ActId("act_01" + random_text(22))
