"""What the routes are given: one object, made by `overnight.app`."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from overnight.access.keys import Caller, Keyring
from overnight.access.limits import Limiter
from overnight.access.secret import ServerSecret
from overnight.clock import Clock
from overnight.model import WorkspaceId
from overnight.pipeline.accept import Acceptor
from overnight.pipeline.offer import Offer
from overnight.pipeline.progress import Meter
from overnight.pipeline.realtime import RealTime
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.wake import Wakes
from overnight.pricing.bounds import Bounder
from overnight.pricing.tariff import Tariff
from overnight.settings import Settings
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.telemetry.reading import Reader
from overnight.tenancy import Workspace
from overnight.wire.headers import host_name

HttpRequest = Request[Any, Any, State]
# Keys in the request's state: its id, who calls, and which workspace they mean.
REQUEST_ID = "request_id"
CALLER = "caller"
WORKSPACE = "workspace"
# Headers that say where they stand with their rate, where it is limited.
RATE = "rate"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The parts behind the routes."""

    settings: Settings
    database: Database
    objects: ObjectDirectory
    clock: Clock
    wakes: Wakes
    keyring: Keyring
    secret: ServerSecret
    limiter: Limiter
    treasury: Treasury
    bounder: Bounder
    acceptor: Acceptor
    meter: Meter
    tariff: Tariff
    offer: Offer
    realtime: RealTime
    reader: Reader


# Injected under the key `service`; its parts cannot be validated by the framework.
AService = NamedDependency[SkipValidation[Service]]


def caller_of(request: HttpRequest) -> Caller:
    """Give the caller that `http.admission` found."""
    caller: Caller = request.scope["state"][CALLER]
    return caller


def workspace_of(request: HttpRequest) -> WorkspaceId:
    """Give the id of the workspace that `http.admission` found for the caller."""
    return tenant_of(request).id


def tenant_of(request: HttpRequest) -> Workspace:
    """Give the workspace that `http.admission` found for the caller."""
    workspace: Workspace = request.scope["state"][WORKSPACE]
    return workspace


def budget_headers(
    service: Service, workspace_id: WorkspaceId, key_id: str | None
) -> dict[str, str]:
    """Say how much of a budget is used, from the first level of warning on."""
    treasury = service.treasury
    told = treasury.spending.told(treasury.budgets_of(workspace_id, key_id))
    return {"overnight-budget-warning": told} if told else {}


def base_url(request: HttpRequest, service: Service) -> str:
    """Say where the client reached us, without a trailing slash.

    Clients send their credential to the URLs made from it, so it is the configured one, or else
    exactly the origin that this client used.
    """
    if service.settings.public_url:
        return service.settings.public_url.rstrip("/")
    scheme, host = _forwarded(request, "proto"), _forwarded(request, "host")
    if scheme not in ("http", "https"):
        scheme = request.url.scheme
    if host_name(host) is None:
        host = request.headers.get("host") or request.url.netloc
    return f"{scheme}://{host}"


def _forwarded(request: HttpRequest, what: str) -> str:
    """Give what the proxy nearest to the client was asked for: the first of a list."""
    value: str = request.headers.get(f"x-forwarded-{what}", "")
    return value.partition(",")[0].strip()
