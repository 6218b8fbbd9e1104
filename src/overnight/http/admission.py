"""Who may call what: one table, and the check that stands before every route."""

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum

from overnight.access.keys import Caller
from overnight.errors import PermissionDenied, RateLimited
from overnight.http import metrics
from overnight.http.service import CALLER, RATE, WORKSPACE, HttpRequest, Service, base_url
from overnight.settings import is_loopback
from overnight.tenancy import Role, Workspace
from overnight.wire.headers import host_name, rate_headers


class Open(Enum):
    """What needs no role."""

    # Not even a key.
    TO_ALL = "all"
    # Whatever its roles.
    TO_ANY_KEY = "any key"


Needed = Role | Open

# Method and path of each route → what a key must have for it. A route that is not here needs
# `admin`; the tests name it.
NEEDS: Mapping[str, Needed] = {
    "POST /v1/messages/batches": Role.SUBMIT,
    "GET /v1/messages/batches": Role.READ,
    "GET /v1/messages/batches/{batch_id}": Role.READ,
    "POST /v1/messages/batches/{batch_id}/cancel": Role.SUBMIT,
    "DELETE /v1/messages/batches/{batch_id}": Role.SUBMIT,
    "GET /v1/messages/batches/{batch_id}/results": Role.CONTENT,
    "POST /v1/messages": Role.SUBMIT,
    "POST /v1/messages/count_tokens": Role.SUBMIT,
    "GET /v1/models": Open.TO_ANY_KEY,
    "GET /v1/models/{model_id}": Open.TO_ANY_KEY,
    "GET /overnight/v1/batches/{batch_id}/progress": Role.READ,
    "GET /overnight/v1/batches/{batch_id}/cost": Role.READ,
    "POST /overnight/v1/estimates": Role.SUBMIT,
    "GET /v1/organizations/usage_report/messages": Role.ADMIN,
    "GET /v1/organizations/cost_report": Role.ADMIN,
    "GET /v1/organizations/workspaces": Role.ADMIN,
    "POST /v1/organizations/workspaces": Role.ADMIN,
    "GET /v1/organizations/workspaces/{workspace_id}": Role.ADMIN,
    "POST /v1/organizations/workspaces/{workspace_id}": Role.ADMIN,
    "POST /v1/organizations/workspaces/{workspace_id}/archive": Role.ADMIN,
    "GET /v1/organizations/rate_limits": Role.ADMIN,
    "GET /v1/organizations/workspaces/{workspace_id}/rate_limits": Role.ADMIN,
    "POST /v1/organizations/workspaces/{workspace_id}/rate_limits/{rate_limit_id}": Role.ADMIN,
    "GET /v1/organizations/spend_limits": Role.ADMIN,
    "POST /v1/organizations/spend_limits": Role.ADMIN,
    "GET /v1/organizations/spend_limits/effective": Role.ADMIN,
    "GET /v1/organizations/spend_limits/{spend_limit_id}": Role.ADMIN,
    "DELETE /v1/organizations/spend_limits/{spend_limit_id}": Role.ADMIN,
    "GET /v1/organizations/api_keys": Role.ADMIN,
    "GET /v1/organizations/api_keys/{key_id}": Role.ADMIN,
    "POST /v1/organizations/api_keys/{key_id}": Role.ADMIN,
    # Webhooks are of one workspace: whoever creates its batches says who is told of them.
    "POST /v1/organizations/webhooks": Role.SUBMIT,
    "GET /v1/organizations/webhooks": Role.READ,
    "GET /v1/organizations/webhooks/{webhook_id}": Role.READ,
    "POST /v1/organizations/webhooks/{webhook_id}": Role.SUBMIT,
    "DELETE /v1/organizations/webhooks/{webhook_id}": Role.SUBMIT,
    "POST /v1/organizations/webhooks/{webhook_id}/regenerate_signing_secret": Role.SUBMIT,
    "GET /overnight/v1/webhooks/{webhook_id}/deliveries": Role.READ,
    "GET /overnight/v1/webhooks/{webhook_id}/deliveries/{event_id}": Role.READ,
    "POST /overnight/v1/webhooks/{webhook_id}/deliveries/{event_id}/redeliver": Role.SUBMIT,
    "POST /overnight/v1/webhooks/{webhook_id}/test": Role.SUBMIT,
    "GET /overnight/v1/audit": Role.ADMIN,
    "GET /overnight/v1/keys": Role.ADMIN,
    "POST /overnight/v1/keys": Role.ADMIN,
    "GET /overnight/v1/keys/{key_id}": Role.ADMIN,
    "POST /overnight/v1/keys/{key_id}": Role.ADMIN,
    "POST /overnight/v1/keys/{key_id}/revoke": Role.ADMIN,
    # Of all workspaces together. To all where the setting `metrics` is `open`.
    "GET /metrics": Role.ADMIN,
    "GET /healthz": Open.TO_ALL,
    "GET /": Open.TO_ALL,
    "GET /price": Open.TO_ALL,
    "GET /prices.json": Open.TO_ALL,
    "GET /static/{digest}/{name}": Open.TO_ALL,
    "POST /overnight/v1/price": Open.TO_ALL,
    "GET /overnight/v1/prices": Open.TO_ALL,
    "GET /overnight/v1/prices/schema.json": Open.TO_ALL,
    "GET /openapi.json": Open.TO_ALL,
}


# Calls of these paths count against requests per minute.
_BATCHES = "/batches"


def needed(method: str, path: str) -> Needed:
    """Say what a key must have for a route; `path` with the names of its parts in braces."""
    # The framework's own answer: which methods a path has.
    return Open.TO_ALL if method == "OPTIONS" else NEEDS.get(f"{method} {path}", Role.ADMIN)


def is_counted(path: str) -> bool:
    """Tell whether calls of a path count against requests per minute."""
    return _BATCHES in path


async def admit(request: HttpRequest, service: Service) -> None:
    """Find the caller and the workspace that they mean, or refuse the call.

    Raises: AuthenticationFailed, PermissionDenied, InvalidRequest, RateLimited.
    """
    path = request.scope["path_template"]
    need = needed(request.method, path)
    if need is Open.TO_ALL or path in metrics.public_paths(service.settings):
        return
    caller = await service.keyring.admit(request.headers)
    state = request.scope["state"]
    state[CALLER] = caller
    if isinstance(need, Role) and need not in caller.roles:
        raise PermissionDenied(
            f"This key lacks the role {need}, which {request.method} {path} needs",
            hint="use a key that has it",
            error_code="api_key_scope_missing",
        )
    if need is Role.ADMIN:
        if request.method != "GET":
            await _refuse_takeover(request, service, caller)
        return
    if need is Open.TO_ANY_KEY and caller.workspace_id is None:
        return
    workspace = await service.keyring.workspace(caller, request.headers)
    state[WORKSPACE] = workspace
    if is_counted(path):
        _count(request, service, caller, workspace)


def _count(request: HttpRequest, service: Service, caller: Caller, workspace: Workspace) -> None:
    """Count a call against the requests per minute. Raises: RateLimited."""
    rate = service.limiter.rate(caller, workspace)
    if rate is None:
        return
    limit, taken = rate
    request.scope["state"][RATE] = rate_headers(
        limit.at_most,
        remaining=taken.remaining,
        full_at=service.clock.now() + timedelta(seconds=taken.full_in_s),
    )
    if not taken.is_granted:
        raise RateLimited(
            f"This request would exceed the rate limit for {limit} of "
            f"{limit.at_most:,} requests per minute",
            retry_after_s=taken.wait_s,
        )


async def _refuse_takeover(request: HttpRequest, service: Service, caller: Caller) -> None:
    """Refuse strangers to administer a service that is open to them.

    Whoever makes the first key closes the service to all others, so it must be somebody at this
    machine.
    """
    if caller.key is not None or not await service.keyring.is_open():
        return
    host = host_name(base_url(request, service).partition("://")[2].partition("/")[0])
    if not (is_loopback(service.settings.host) and is_loopback(host or "")):
        raise PermissionDenied(
            "This service is open to everyone, so nobody may administer it from elsewhere",
            hint="start it with OVERNIGHT_API_KEYS=admin=KEY, and use that key",
        )
