"""From settings to lanes: the backends that the configuration names, opened, with their gates."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from glob import escape
from pathlib import Path
from random import Random
from typing import NamedTuple

from overnight.backends import llama
from overnight.backends.messages import MessagesBackend
from overnight.backends.protocol import Backend
from overnight.backends.simulator import Simulator, load_script
from overnight.clock import Clock
from overnight.dispatch.gate import Gate
from overnight.dispatch.queue import LaneId
from overnight.dispatch.routing import Routing, Rule, Target
from overnight.fleet import BackendTable, Destination, Fleet, RouteTable, destination, load_fleet
from overnight.model import Limit
from overnight.pipeline.lanes import Lane, Lanes
from overnight.settings import Settings, is_anthropic


class _Member(NamedTuple):
    """What one lane leads to."""

    # The backend's name in the configuration; several URLs share it.
    name: str
    backend: Backend
    # The only model it has, as it calls it; None: it decides itself.
    model: str | None = None


@contextlib.asynccontextmanager
async def opened(
    settings: Settings, clock: Clock, backend: Backend | None = None
) -> AsyncIterator[Lanes]:
    """Open all backends and close them on leaving; a backend that is given is the only one.

    Raises: ConfigInvalid when one cannot start; none is left open then.
    """
    if backend is None:
        fleet = fleet_of(settings)
        members = _members(settings, fleet)
    else:
        fleet = Fleet(backends={backend.name: BackendTable()})
        members = [_Member(backend.name, backend)]
    async with contextlib.AsyncExitStack() as stack:
        for one in {id(member.backend): member.backend for member in members}.values():
            await one.start()
            stack.push_async_callback(one.close)
        lanes = [
            _lane(id, member, fleet.backends[member.name], settings, clock)
            for id, member in enumerate(members)
        ]
        yield Lanes(lanes, Routing(_rules(fleet, members)))


def fleet_of(settings: Settings) -> Fleet:
    """Say which backends there are: those of the routing file, or of the flags."""
    if settings.routing is not None:
        return load_fleet(settings.routing)
    if settings.gguf:
        names = [llama.model_name(given) for given in settings.gguf]
        return Fleet(backends={name: BackendTable(gguf=name) for name in names})
    if settings.backend == "simulator":
        script = settings.simulator_script
        return Fleet(backends={"simulator": BackendTable(simulator=str(script or "") or True)})
    urls = tuple(settings.backend.split(","))
    return Fleet(backends={"backend": BackendTable(url=urls, api_key=settings.backend_api_key)})


def _members(settings: Settings, fleet: Fleet) -> list[_Member]:
    members: list[_Member] = []
    files = settings.gguf or [
        f"{name}={table.gguf}" for name, table in fleet.backends.items() if table.gguf
    ]
    # One for all files: they share the machine.
    engines = _llama(settings, files) if files else None
    for name, table in fleet.backends.items():
        if table.gguf:
            assert engines is not None
            members.append(_Member(name, engines, model=name))
        elif table.urls:
            members += [_Member(name, _messages(settings, table, url)) for url in table.urls]
        else:
            path = table.simulator if isinstance(table.simulator, str) else None
            members.append(_Member(name, Simulator(load_script(Path(path)) if path else None)))
    return members


def _messages(settings: Settings, table: BackendTable, url: str) -> MessagesBackend:
    return MessagesBackend(
        url=url,
        api_key=table.api_key,
        concurrency=table.concurrency or settings.concurrency,
        connect_timeout_s=table.connect_timeout_s or settings.connect_timeout_s,
        first_byte_timeout_s=table.first_byte_timeout_s or settings.first_byte_timeout_s,
        idle_timeout_s=table.idle_timeout_s or settings.idle_timeout_s,
        request_timeout_s=table.request_timeout_s or settings.request_timeout_s,
        prefix_caching=table.prefix_caching or settings.prefix_caching,
    )


def _llama(settings: Settings, files: Sequence[str]) -> llama.LlamaBackend:
    return llama.LlamaBackend(
        files,
        llama.Asked(
            slots=settings.llama_slots,
            context_tokens=settings.llama_context_tokens,
            threads=settings.llama_threads,
            gpu_layers=settings.llama_gpu_layers,
            prompt_cache_mib=settings.llama_cache_mib,
        ),
        request_timeout_s=settings.request_timeout_s,
    )


def _lane(
    id: LaneId, member: _Member, table: BackendTable, settings: Settings, clock: Clock
) -> Lane:
    senders = table.concurrency or settings.concurrency
    if isinstance(member.backend, llama.LlamaBackend) and member.model is not None:
        # What waits in llama.cpp can be neither reordered nor given to another worker.
        senders = min(senders, member.backend.engine(member.model).max_calls)
    cutting = table.cut_stragglers or settings.cut_stragglers
    gate = Gate(
        ceiling=senders,
        random=Random(),
        limits=_limits(table, settings),
        # A server of one's own has no limits to tell of.
        careful=not table.urls or any(map(is_anthropic, table.urls)),
        cuts_stragglers=cutting == "on" or (cutting == "auto" and not table.urls),
    )
    return Lane(id, member.backend, gate, senders=senders, clock=clock, name=member.name)


def _limits(table: BackendTable, settings: Settings) -> list[Limit]:
    """Give the limits that are configured; those of a table instead of those of the settings."""
    found = []
    for of in ("requests", "input_tokens", "output_tokens"):
        name = f"{of}_per_minute"
        per_minute: int | None = getattr(table, name) or getattr(settings, name)
        if per_minute is not None:
            found.append(Limit(of=of, per_minute=per_minute, remaining=per_minute))
    return found


def _rules(fleet: Fleet, members: Sequence[_Member]) -> list[Rule]:
    if fleet.routes:
        return [_rule(route, members) for route in fleet.routes]
    # Whoever has one model answers for it, all others for every model.
    rules = [
        Rule(model=escape(member.model), targets=(Target(lane=id, model=None),))
        for id, member in enumerate(members)
        if member.model is not None
    ]
    others = [name for name, table in fleet.backends.items() if not table.gguf]
    if others:
        rules.append(_rule(RouteTable(backends=tuple(others)), members))
    return rules


def _rule(route: RouteTable, members: Sequence[_Member]) -> Rule:
    targets: list[Target] = []
    for fallback, given in ((False, route.backends), (True, route.fallbacks)):
        for one in map(destination, given):
            targets += _targets(one, members, fallback=fallback)
    return Rule(model=route.model, targets=tuple(targets))


def _targets(to: Destination, members: Sequence[_Member], *, fallback: bool) -> list[Target]:
    """Give the lanes of a backend."""
    return [
        Target(
            lane=id,
            backend=to.backend,
            weight=to.weight,
            model=member.model or to.model,
            fallback=fallback,
        )
        for id, member in enumerate(members)
        if member.name == to.backend
    ]
