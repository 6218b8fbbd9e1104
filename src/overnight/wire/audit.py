"""Acts of the audit log as our own endpoint shows them."""

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec

from overnight.audit import ACTIONS, OUTCOMES, Act, Action, ActorKind, Detail, Outcome
from overnight.errors import InvalidRequest, NotFound
from overnight.wire.organization import moment

Word = TypeVar("Word", bound=str)


class ActorObject(msgspec.Struct, frozen=True, kw_only=True):
    # A key of the database, one of the settings, whoever calls where no key is needed, or the
    # service by itself.
    type: ActorKind
    # Id of the key; null unless it is one of the database.
    key_id: str | None
    # Name of the key then; of a key of the settings, its workspace there.
    name: str | None
    # The other end of the connection, which may be a proxy; null for the service.
    ip_address: str | None
    # `x-forwarded-for` as it came; whoever reaches the service can write one.
    forwarded_for: str | None


class ActDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An act; every key is always present."""

    # Of the act.
    id: str
    # Always `act`.
    type: Literal["act"] = "act"
    # When it was done or refused.
    created_at: str
    # What was done, or asked for and refused.
    action: Action
    # Whether it was done.
    outcome: Outcome
    # Status of the answer; null for what no request asked for.
    status: int | None
    # Who acted, and from where.
    actor: ActorObject
    # The workspace that the call was about; null for one about the organization.
    workspace_id: str | None
    # What was acted on; null where nothing came to be.
    subject_id: str | None
    # `request-id` of the answer.
    request_id: str | None
    # What else tells the act: roles, limits, names of the fields that changed.
    details: dict[str, Detail]


class ActPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ActDocument]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ActFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which acts a list shows; None is all."""

    action: Action | None
    outcome: Outcome | None
    key_id: str | None
    subject_id: str | None


def act_document(act: Act) -> ActDocument:
    return ActDocument(
        id=act.id,
        created_at=moment(act.created_at),
        action=act.action,
        outcome=act.outcome,
        status=act.status,
        actor=ActorObject(
            type=act.actor.kind,
            key_id=act.actor.key_id,
            name=act.actor.name,
            ip_address=act.actor.address,
            forwarded_for=act.actor.forwarded_for,
        ),
        workspace_id=act.workspace_id,
        subject_id=act.subject_id,
        request_id=act.request_id,
        details=dict(act.details),
    )


def read_act_filter(query: Mapping[str, str]) -> ActFilter:
    """Read which acts are asked for. Raises: InvalidRequest."""
    return ActFilter(
        action=_word(query, "action", ACTIONS),
        outcome=_word(query, "outcome", OUTCOMES),
        key_id=query.get("key_id") or None,
        subject_id=query.get("subject_id") or None,
    )


def unknown_act(act_id: str) -> NotFound:
    return NotFound(f"Act {act_id} not found.")


def _word(query: Mapping[str, str], name: str, known: tuple[Word, ...]) -> Word | None:
    asked = query.get(name)
    for word in known:
        if word == asked:
            return word
    if asked:
        raise InvalidRequest(f"{name}: {asked!r}: Input should be {', '.join(known)}")
    return None
