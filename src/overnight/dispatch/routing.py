"""Which backends may take a request: by its model, their weights, and how they are. Pure.

A rule names the lanes for all models of a glob; the first rule that fits counts. Its lanes share
the requests by weight, its fallbacks take some when no other lane of the rule is there, or when a
batch may not end in time.
"""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec

from overnight.dispatch.queue import LaneId, RouteId

# A lane that is ahead of its share by so many requests lets one that has room go first.
_AHEAD = 8
# Models with a route of their own; more of them share the routes of their rules.
_MAX_MODELS = 256


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One lane that a rule sends requests to."""

    lane: LaneId
    weight: float = 1.0
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
    def has_room(self) -> bool:
        """Tell whether it could send one more request now."""
        ...


class Standings(Protocol):
    """How the lanes are, by their ids."""

    def __getitem__(self, lane: LaneId, /) -> Standing: ...


class Route:
    """The targets of one model, and how many requests each of them got."""

    __slots__ = ("_shares", "_single", "id", "targets")

    def __init__(self, id: RouteId, targets: Sequence[Target]) -> None:
        self.id = id
        self.targets = {target.lane: target for target in targets}
        self._single = len(self.targets) == 1
        # Requests taken, by weight.
        self._shares = {target.lane: 0.0 for target in targets}

    def may(self, lane: LaneId, lanes: Standings, *, urgent: bool) -> bool:
        """Tell whether a lane may take a request now."""
        target = self.targets.get(lane)
        if target is None:
            return False
        if self._single:
            return True
        if target.fallback and not urgent and not self._all_out(lanes):
            return False
        allowed = self._shares[lane] - _AHEAD / target.weight
        return not any(
            self._shares[other.lane] < allowed and not lanes[other.lane].out
            and lanes[other.lane].has_room
            for other in self.targets.values()
            if other.lane != lane and other.fallback == target.fallback
        )  # fmt: skip

    def took(self, lane: LaneId) -> None:
        """Count a request; who was away for long begins where the others are."""
        if self._single:
            return
        least = max(self._shares.values()) - 2 * _AHEAD / self.targets[lane].weight
        self._shares[lane] = max(self._shares[lane], least) + 1 / self.targets[lane].weight

    def ranked(self, lanes: Standings, loads: Sequence[float]) -> list[Target]:
        """Order the targets for a call that does not wait: those that are there, least loaded."""

        def badness(target: Target) -> tuple[bool, bool, float]:
            return lanes[target.lane].out, target.fallback, loads[target.lane] / target.weight

        return sorted(self.targets.values(), key=badness)

    def _all_out(self, lanes: Standings) -> bool:
        return all(
            lanes[target.lane].out for target in self.targets.values() if not target.fallback
        )


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
                    route = self._by_model[model] = self._new(rule.targets)
                    return route
                if number not in self._shared:
                    self._shared[number] = self._new(rule.targets)
                return self._shared[number]
        return None

    def _new(self, targets: Sequence[Target]) -> Route:
        self.routes.append(Route(len(self.routes), targets))
        return self.routes[-1]


def one_for_all(lanes: Collection[LaneId]) -> Rule:
    """Make the rule of a service whose backends all answer for every model."""
    return Rule(model="*", targets=tuple(Target(lane=lane) for lane in lanes))
