"""Acts of administration: which routes are one, how they are recorded, and their list.

What is done is recorded in its own transaction, so that neither is there without the other.
Refusals are recorded by themselves, before they are answered.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from litestar import Response, get
from litestar.types import HTTPScope
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight.access.keys import Caller
from overnight.access.limits import Bucket, take
from overnight.audit import Act, Action, Actor, Detail, Outcome, new_act_id
from overnight.http.listing import cursors, page_of
from overnight.http.service import CALLER, REQUEST_ID, WORKSPACE, AService, HttpRequest, Service
from overnight.logs import Logger
from overnight.store import audit
from overnight.store.database import reason
from overnight.wire.audit import ActPage, act_document, read_act_filter, unknown_act
from overnight.wire.headers import api_version
from overnight.wire.paging import read_page_query

Changed = TypeVar("Changed")

# Method and path of each route that is an act → what it does. A route that changes something and
# is not here is the service's own work; the tests name those.
ACTIONS: Mapping[str, Action] = {
    "POST /v1/messages/batches/{batch_id}/cancel": "batch.cancel",
    "DELETE /v1/messages/batches/{batch_id}": "batch.delete",
    "POST /v1/organizations/workspaces": "workspace.create",
    "POST /v1/organizations/workspaces/{workspace_id}": "workspace.update",
    "POST /v1/organizations/workspaces/{workspace_id}/archive": "workspace.archive",
    "POST /v1/organizations/workspaces/{workspace_id}/rate_limits/{rate_limit_id}":
        "workspace.limit",
    "POST /v1/organizations/spend_limits": "budget.set",
    "DELETE /v1/organizations/spend_limits/{spend_limit_id}": "budget.remove",
    "POST /v1/organizations/api_keys/{key_id}": "key.update",
    "POST /v1/organizations/webhooks": "webhook.create",
    "POST /v1/organizations/webhooks/{webhook_id}": "webhook.update",
    "DELETE /v1/organizations/webhooks/{webhook_id}": "webhook.delete",
    "POST /v1/organizations/webhooks/{webhook_id}/regenerate_signing_secret": "webhook.rotate",
    "POST /overnight/v1/webhooks/{webhook_id}/deliveries/{event_id}/redeliver":
        "webhook.redeliver",
    "POST /overnight/v1/webhooks/{webhook_id}/test": "webhook.test",
    "POST /overnight/v1/keys": "key.create",
    "POST /overnight/v1/keys/{key_id}": "key.limit",
    "POST /overnight/v1/keys/{key_id}/revoke": "key.revoke",
}  # fmt: skip

# Refusals that say something of the caller; not that a key is unknown, too slow or too many calls,
# which anyone could write without end.
_RECORDED_REFUSALS = frozenset({400, 403, 404, 413})
# Refusals of one caller a minute that are recorded; all are logged.
_MAX_PER_MINUTE = 20
_MAX_CALLERS = 10_000
_MAX_FORWARDED_FOR = 200
# What is no id may be anything, a key that was pasted into the wrong place too.
_is_id = re.compile(r"(?:apikey|msgbatch|spl|whep|wrkspc)_01[0-9A-Za-z]{22}").fullmatch
_not_printable = re.compile(r"[^ -~]")

_NONE: Mapping[str, Detail] = {}

log = Logger("audit")


@get("/overnight/v1/audit")
async def list_acts(request: HttpRequest, service: AService) -> Response[ActPage]:
    """List acts, newest first."""
    api_version(request.headers)
    query = read_page_query(request.query_params)
    wanted = read_act_filter(request.query_params)

    def ask(connection: Connection) -> ActPage:
        at = cursors(query, lambda named: audit.cursor(connection, named), unknown_act)
        found, has_more = audit.page(
            connection,
            limit=query.limit,
            after=at.after,
            before=at.before,
            action=wanted.action,
            outcome=wanted.outcome,
            key_id=wanted.key_id,
            subject_id=wanted.subject_id,
        )
        return page_of(ActPage, [act_document(act) for act in found], has_more=has_more)

    return Response(await service.database.read(ask), media_type="application/json")


async def done(
    request: HttpRequest,
    service: Service,
    change: Callable[[Connection], Changed],
    *,
    subject_id: str | None = None,
    details: Mapping[str, Detail] = _NONE,
) -> Changed:
    """Make a change and record it, in one transaction; give what the change gives.

    `subject_id` is needed where the path does not name what is acted on.
    """
    act = _act(request.scope, service, "done", 200, subject_id, details)

    def change_and_record(connection: Connection) -> Changed:
        changed = change(connection)
        audit.record(connection, act)
        return changed

    changed = await service.database.write(change_and_record)
    _log(act)
    return changed


class Refusals:
    """Records acts that were refused to callers who are known, so many a minute of each."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buckets: dict[str, Bucket] = {}

    async def note(self, scope: HTTPScope, status: int) -> None:
        """Record an answer if it refuses an act; it is given whether or not that can be done."""
        if status not in _RECORDED_REFUSALS or CALLER not in scope["state"]:
            return
        if _route(scope) not in ACTIONS:
            return
        act = _act(scope, self._service, "refused", status, None, _NONE)
        _log(act)
        if not self._has_room(scope["state"][CALLER]):
            return
        try:
            await self._service.database.write(lambda c: audit.record(c, act))
        except DBAPIError as error:
            log.error("a refusal was not recorded", act=act.id, because=reason(error))

    def _has_room(self, caller: Caller) -> bool:
        of = f"{caller.kind} {caller.key_id or caller.name}"
        now_s = self._service.clock.seconds()
        taken = take(self._buckets.get(of), per_minute=_MAX_PER_MINUTE, now_s=now_s)
        if len(self._buckets) >= _MAX_CALLERS:
            self._buckets.clear()
        self._buckets[of] = taken.bucket
        return taken.is_granted


def _act(
    scope: HTTPScope,
    service: Service,
    outcome: Outcome,
    status: int,
    subject_id: str | None,
    details: Mapping[str, Detail],
) -> Act:
    state, named = scope["state"], [str(value) for value in scope["path_params"].values()]
    if subject_id is None and named and _is_id(named[0]):
        subject_id = named[0]
    workspace = state.get(WORKSPACE)
    return Act(
        id=new_act_id(),
        created_at=service.clock.now(),
        action=ACTIONS[_route(scope)],
        outcome=outcome,
        status=status,
        actor=_actor(scope),
        workspace_id=None if workspace is None else workspace.id,
        subject_id=subject_id,
        request_id=state[REQUEST_ID],
        details=details,
    )


def _actor(scope: HTTPScope) -> Actor:
    caller: Caller = scope["state"][CALLER]
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    said = ", ".join(value.decode("latin-1") for value in forwarded)
    client = scope.get("client")
    return Actor(
        kind=caller.kind,
        key_id=caller.key_id,
        name=caller.name,
        address=client[0] if client else None,
        forwarded_for=_not_printable.sub("?", said)[:_MAX_FORWARDED_FOR] or None,
    )


def _route(scope: HTTPScope) -> str:
    return f"{scope['method']} {scope['path_template']}"


def _log(act: Act) -> None:
    subject = {} if act.subject_id is None else {"subject": act.subject_id}
    log.info(
        act.action,
        outcome=act.outcome,
        status=act.status,
        by=act.actor.key_id or act.actor.kind,
        address=act.actor.address,
        request=act.request_id,
        act=act.id,
        **subject,
    )


routes = [list_acts]
