"""Which backends may take a request: by its model, their weights, and how they are. Pure.

A rule names the lanes for all models of a glob; the first rule that fits counts. Lanes without
weights take what they have room for. Between backends with weights the shares are kept: who is
ahead waits for the others, unless they are closed. Fallbacks take some when no other lane of the
rule is there, or when a batch may not end in time.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeVar

import msgspec

from overnight.dispatch.queue import LaneId, Part, RouteId

Key = TypeVar("Key", bound=Hashable)

# Who is ahead by so many requests, of the one with the least weight, lets others go first.
_AHEAD = 8
# Models with a route of their own; more of them share the routes of their rules.
_MAX_MODELS = 256


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One lane that a rule sends requests to."""

    lane: LaneId
    # Whose lane it is: several lanes of one backend share its weight.
    backend: str = ""
    # None: as much as it has room for.
    weight: float | None = None
    # What the backend calls the model; None: as the caller does.
    model: str | None = None
    fallback: bool = False


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go whose model matches a glob."""

    model: str
    targets: tuple[Target, ...]


class Standing(Protocol):
    """How a lane is."""

    @property
    def out(self) -> bool:
        """Tell whether its backend was away when it was last heard of."""
        ...

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing may be sent for some time: it is out, or was told to stay away."""
        ...

    def has_room(self, route: RouteId, /) -> bool:
        """Tell whether it could send one more request of a route now."""
        ...


class Standings(Protocol):
    """How the lanes are, by their ids."""

    def __getitem__(self, lane: LaneId, /) -> Standing: ...


class Route:
    """The targets of one model, and how many requests each of them got."""

    __slots__ = ("_backends", "_lanes", "_single", "id", "model", "rule", "targets")

    def __init__(
        self, id: RouteId, targets: Sequence[Target], *, rule: str = "*", model: str | None = None
    ) -> None:
        self.id = id
        # The glob that it was made for.
        self.rule = rule
        # As a caller wrote it; None: many models share this route.
        self.model = model
        self.targets = {target.lane: target for target in targets}
        self._single = len(self.targets) == 1
        self._backends = Shares(
            {target.backend: target.weight for target in targets if target.weight is not None}
        )
        # Among those that share one weight, or all where there are none.
        self._lanes = {
            company: Shares({target.lane: 1.0 for target in targets if _company(target) == company})
            for company in map(_company, targets)
        }

    def part(self, lane: LaneId, lanes: Standings, *, urgent: bool) -> Part:
        """Say what a lane may take now.

        A lane that is ahead of its share goes on with what it has begun, whose prefixes it has in
        its cache, and leaves the rest to others.
        """
        target = self.targets.get(lane)
        if target is None:
            return "nothing"
        if self._single:
            return "any"
        if target.fallback and not urgent and not self._all_out(lanes):
            return "nothing"
        yields = any(self._comes_first(other, target, lanes) for other in self.targets.values())
        return "begun" if yields else "any"

    def took(self, lane: LaneId) -> None:
        """Count a request."""
        if not self._single:
            target = self.targets[lane]
            self._lanes[_company(target)].add(lane)
            self._backends.add(target.backend)

    def _comes_first(self, other: Target, target: Target, lanes: Standings) -> bool:
        lane, standing = target.lane, lanes[other.lane]
        if other.fallback != target.fallback or other.lane == lane or standing.is_closed:
            return False
        company = _company(target)
        if company != _company(other):
            return self._backends.is_ahead(target.backend, other.backend)
        return standing.has_room(self.id) and self._lanes[company].is_ahead(lane, other.lane)

    def ranked(self, lanes: Standings, loads: Sequence[float]) -> list[Target]:
        """Order the targets for a call that does not wait: those that are there, least loaded."""

        def badness(target: Target) -> tuple[bool, bool, float]:
            load = loads[target.lane] / (target.weight or 1.0)
            return lanes[target.lane].out, target.fallback, load

        return sorted(self.targets.values(), key=badness)

    def _all_out(self, lanes: Standings) -> bool:
        return all(
            lanes[target.lane].out for target in self.targets.values() if not target.fallback
        )


def _company(target: Target) -> tuple[str, bool]:
    """Give what lanes have in common that are filled by room, not by weight."""
    return "" if target.weight is None else target.backend, target.fallback


class Shares(Generic[Key]):
    """What each one got so far, divided by its weight; who has none is not counted."""

    def __init__(self, weights: Mapping[Key, float]) -> None:
        self._weights = weights
        self._got = dict.fromkeys(weights, 0.0)
        # As far for all, or the heavier would never get theirs.
        self._ahead = _AHEAD / min(weights.values(), default=1.0)

    def add(self, key: Key) -> None:
        """Count one; who was away for long begins near the others."""
        if key in self._got:
            least = max(self._got.values()) - 2 * self._ahead
            self._got[key] = max(self._got[key], least) + 1 / self._weights[key]

    def is_ahead(self, one: Key, other: Key) -> bool:
        """Tell whether one got so much more that the other comes first."""
        if one not in self._got or other not in self._got:
            return False
        return self._got[one] > self._got[other] + self._ahead


class Routing:
    """The rules, and the routes of the models that were seen."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._by_model: dict[str, Route] = {}
        self.routes: list[Route] = []
        self._shared: dict[int, Route] = {}

    @property
    def names(self) -> list[str]:
        """Give the globs of the rules, in their order."""
        return [rule.model for rule in self._rules]

    def find(self, model: str) -> Route | None:
        """Give the route of a model; None when no rule names a backend for it."""
        route = self._by_model.get(model)
        if route is not None:
            return route
        for number, rule in enumerate(self._rules):
            if fnmatchcase(model, rule.model):
                if len(self._by_model) < _MAX_MODELS:
                    route = self._by_model[model] = self._new(rule, model)
                    return route
                if number not in self._shared:
                    self._shared[number] = self._new(rule)
                return self._shared[number]
        return None

    def _new(self, rule: Rule, model: str | None = None) -> Route:
        self.routes.append(Route(len(self.routes), rule.targets, rule=rule.model, model=model))
        return self.routes[-1]


def one_for_all(lanes: Collection[LaneId]) -> Rule:
    """Make the rule of a service whose backends all answer for every model."""
    return Rule(model="*", targets=tuple(Target(lane=lane) for lane in lanes))
