"""The composition root: settings become a running service. The only file that knows all parts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from litestar.types import ASGIApp

from overnight import wiring
from overnight.access.credentials import Pepper
from overnight.access.keys import Keyring
from overnight.access.limits import Limiter
from overnight.access.secret import ServerSecret, open_secret
from overnight.access.shares import Shares
from overnight.backends.protocol import Backend
from overnight.clock import Clock, SystemClock
from overnight.errors import ConfigInvalid
from overnight.http import app as http_app
from overnight.http.service import Service
from overnight.model import Batch, WorkerId, WorkspaceId, new_worker_id
from overnight.pipeline.accept import Acceptor
from overnight.pipeline.autocache import AutoCache
from overnight.pipeline.lanes import Lanes
from overnight.pipeline.offer import Offer
from overnight.pipeline.plan import Planner
from overnight.pipeline.progress import Meter
from overnight.pipeline.realtime import RealTime
from overnight.pipeline.retention import Keeper
from overnight.pipeline.till import Till
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.wake import Wakes
from overnight.pipeline.worker import Worker
from overnight.pricing import shelf
from overnight.pricing.bounds import Bounder
from overnight.pricing.tariff import Tariff
from overnight.settings import Settings, is_loopback
from overnight.store.database import Database
from overnight.store.objects import ObjectDirectory
from overnight.store.postgres import open_postgres
from overnight.store.sqlite import open_sqlite
from overnight.targets import read_networks
from overnight.telemetry.reading import Reader
from overnight.tenancy import Allowance
from overnight.webhooks.delivery import Deliverer
from overnight.webhooks.sender import Sender
from overnight.wire.params import Rules


class Running(NamedTuple):
    """A started service: its HTTP application and the tasks behind it."""

    http: ASGIApp
    keyring: Keyring
    wakes: Wakes
    worker: Worker | None
    # None of them ever ends on its own, but by a defect.
    tasks: set[asyncio.Task[None]]


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    clock: Clock | None = None,
    backend: Backend | None = None,
    database: Database | None = None,
) -> AsyncIterator[Running]:
    """Start all parts but the HTTP server; on leaving drain the worker and close everything.

    What is given is used instead of what the settings say, and closed like it.

    Raises: ConfigInvalid, DataDirBusy when a part cannot start; nothing is left open then.
    """
    clock = clock or SystemClock()
    wakes = Wakes()
    async with contextlib.AsyncExitStack() as stack:
        if database is None:
            database = await asyncio.to_thread(open_database, settings)
        stack.push_async_callback(database.close)
        objects = await asyncio.to_thread(ObjectDirectory, settings.data / "objects")
        secret = await asyncio.to_thread(open_secret, settings.server_secret, settings.data)
        keyring = await _keyring(settings, database, clock, secret)
        lanes = await stack.enter_async_context(wiring.opened(settings, clock, backend))
        offer = Offer(lanes)
        tariff = await asyncio.to_thread(_tariff, settings, clock)
        bounder = Bounder(tariff.book, lanes.names)
        till = Till(database=database, tariff=tariff, clock=clock)
        me = new_worker_id()
        treasury = _treasury(settings, me, database, clock, wakes, tariff)
        await treasury.start()
        loops: list[Callable[[], Coroutine[Any, Any, None]]] = [till.run, treasury.run]
        worker = deliverer = None
        tasks: set[asyncio.Task[None]] = set()
        if settings.worker:
            shares = await _shares(settings, database)
            worker = _worker(
                settings, me, database, objects, lanes, clock, wakes, treasury, bounder, tariff,
                shares.weights,
            )  # fmt: skip
            deliverer = _deliverer(settings, me, database, clock, wakes, secret)
            # Last of all that works: what ends in the drain is told, too.
            stack.push_async_callback(deliverer.drain, settings.webhooks_timeout_s)
            loops.append(deliverer.run)
            if settings.workspace_weights:
                loops.append(shares.run)
        stack.push_async_callback(treasury.close)
        # After the drain: to end the worker's own task is to cut its senders.
        stack.push_async_callback(_stop, tasks)
        stack.push_async_callback(till.close)
        if worker is not None:
            loops += [
                worker.run,
                _planner(settings, database, objects, offer, lanes, clock, wakes, tariff).run,
                _keeper(settings, database, objects, clock, wakes).run,
            ]
            await worker.start()
            stack.push_async_callback(worker.drain, settings.drain_timeout_s)
        meter = Meter(
            database=database,
            clock=clock,
            interval_s=settings.sweep_interval_s,
            hurry=worker.hurry if worker is not None else None,
        )
        loops += [meter.run, keyring.run]
        tasks |= {asyncio.create_task(loop()) for loop in loops}
        service = Service(
            settings=settings,
            database=database,
            objects=objects,
            clock=clock,
            wakes=wakes,
            keyring=keyring,
            secret=secret,
            limiter=_limiter(settings, clock),
            treasury=treasury,
            bounder=bounder,
            acceptor=_acceptor(settings, database, objects, clock, wakes, treasury, bounder, meter),
            meter=meter,
            tariff=tariff,
            offer=offer,
            realtime=RealTime(lanes, till, clock),
            reader=Reader(
                lanes=lanes,
                meter=meter,
                treasury=treasury,
                clock=clock,
                worker=worker,
                webhooks=None if deliverer is None else deliverer.tally,
            ),
        )
        http = http_app.build(service)
        yield Running(http=http, keyring=keyring, wakes=wakes, worker=worker, tasks=tasks)


def open_database(settings: Settings) -> Database:
    """Open the database that the settings name. Raises: ConfigInvalid, DataDirBusy."""
    if settings.database_url is None:
        return open_sqlite(settings.data)
    return open_postgres(settings.database_url)


async def _keyring(
    settings: Settings, database: Database, clock: Clock, secret: ServerSecret
) -> Keyring:
    """Get ready to tell callers apart. Raises: ConfigInvalid."""
    keyring = Keyring(
        database=database,
        clock=clock,
        pepper=Pepper(secret),
        api_keys=settings.api_keys,
    )
    await keyring.start(revoke_lost=settings.revoke_lost_keys)
    if not (is_loopback(settings.host) or settings.open) and await keyring.is_open():
        raise ConfigInvalid(
            f"host {settings.host} can be reached by others, and there is no key",
            hint="set OVERNIGHT_API_KEYS=admin=KEY, or --open to serve everyone",
        )
    return keyring


def _rules_of(settings: Settings, offer: Offer) -> Callable[[Batch], Rules]:
    def rules_of(batch: Batch) -> Rules:
        return Rules(
            api_version=batch.api_version,
            betas=batch.betas,
            user_profile_id=batch.user_profile_id,
            in_batch=True,
            # Asked for each request; a batch names few models.
            find_model=lru_cache(maxsize=64)(offer.facts),
            has_model=lru_cache(maxsize=64)(offer.has),
            max_context_tokens=settings.max_context_tokens,
            unknown_params=settings.unknown_params,
        )

    return rules_of


def _limiter(settings: Settings, clock: Clock) -> Limiter:
    defaults = Allowance(
        requests_per_minute=settings.max_requests_per_minute,
        queued_requests=settings.max_queued_requests,
        body_bytes_in_flight=settings.max_body_bytes_in_flight,
        uploads=settings.max_uploads,
    )
    return Limiter(clock, defaults)


def _acceptor(
    settings: Settings,
    database: Database,
    objects: ObjectDirectory,
    clock: Clock,
    wakes: Wakes,
    treasury: Treasury,
    bounder: Bounder,
    meter: Meter,
) -> Acceptor:
    return Acceptor(
        database=database,
        objects=objects,
        clock=clock,
        wakes=wakes,
        treasury=treasury,
        bounder=bounder,
        max_requests=settings.max_requests_per_batch,
        processing_window_s=settings.processing_window_s,
        retention_s=settings.retention_s,
        pace_per_s=lambda: meter.pace_per_s,
    )


def _treasury(
    settings: Settings,
    owner: WorkerId,
    database: Database,
    clock: Clock,
    wakes: Wakes,
    tariff: Tariff,
) -> Treasury:
    return Treasury(
        owner=owner,
        database=database,
        clock=clock,
        wakes=wakes,
        tariff=tariff,
        rest_as=settings.over_budget,
        lease_s=settings.lease_s,
        interval_s=settings.sweep_interval_s,
    )


def _planner(
    settings: Settings,
    database: Database,
    objects: ObjectDirectory,
    offer: Offer,
    lanes: Lanes,
    clock: Clock,
    wakes: Wakes,
    tariff: Tariff,
) -> Planner:
    return Planner(
        database=database,
        objects=objects,
        clock=clock,
        wakes=wakes,
        rules_of=_rules_of(settings, offer),
        auto_cache=AutoCache(book=tariff.book, caches_of=lanes.caches),
        shard_requests=settings.shard_requests,
        sweep_interval_s=settings.sweep_interval_s,
    )


def _keeper(
    settings: Settings, database: Database, objects: ObjectDirectory, clock: Clock, wakes: Wakes
) -> Keeper:
    return Keeper(
        database=database,
        objects=objects,
        clock=clock,
        wakes=wakes,
        sweep_interval_s=settings.sweep_interval_s,
        audit_log_s=settings.audit_log_s,
    )


def _tariff(settings: Settings, clock: Clock) -> Tariff:
    book = shelf.open_book(settings.price_book)
    # Book `vendor` reads its data at the first question: not in a transaction, please.
    book.prices(book.models[0], on=clock.now().date())
    return Tariff(book)


def _worker(
    settings: Settings,
    id: WorkerId,
    database: Database,
    objects: ObjectDirectory,
    lanes: Lanes,
    clock: Clock,
    wakes: Wakes,
    treasury: Treasury,
    bounder: Bounder,
    tariff: Tariff,
    weights: Mapping[WorkspaceId, float],
) -> Worker:
    return Worker(
        id=id,
        database=database,
        objects=objects,
        lanes=lanes,
        clock=clock,
        wakes=wakes,
        treasury=treasury,
        bounder=bounder,
        tariff=tariff,
        random=Random(),
        weights=weights,
        max_attempts=settings.max_attempts,
        lease_s=settings.lease_s,
        shard_requests=settings.shard_requests,
        sweep_interval_s=settings.sweep_interval_s,
    )


async def _shares(settings: Settings, database: Database) -> Shares:
    shares = Shares(
        database=database,
        named=dict(_weight(entry) for entry in settings.workspace_weights),
        sweep_interval_s=settings.sweep_interval_s,
    )
    await shares.look()
    return shares


def _deliverer(
    settings: Settings,
    owner: WorkerId,
    database: Database,
    clock: Clock,
    wakes: Wakes,
    secret: ServerSecret,
) -> Deliverer:
    allowed = read_networks(settings.webhooks_allow)
    return Deliverer(
        owner=owner,
        database=database,
        clock=clock,
        wakes=wakes,
        random=Random(),
        secret=secret,
        sender=Sender(allowed=allowed, timeout_s=settings.webhooks_timeout_s),
        sweep_interval_s=settings.sweep_interval_s,
        disable_after_s=settings.webhooks_disable_after_s,
        log_s=settings.webhooks_log_s,
    )


def _weight(entry: str) -> tuple[str, float]:
    name, _, weight = entry.partition("=")
    return name, float(weight)


async def _stop(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
