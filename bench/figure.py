"""A figure: ours beside a floor or a peer, as pairs measured in turn, judged by one target."""

from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple

import msgspec


class Pair(NamedTuple):
    """One measurement of ours and the one of the other that ran beside it."""

    ours: float
    # None where a figure has nothing to stand beside.
    other: float | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure must reach: a limit on ours, on ours / other, or on ours - other."""

    limit: float
    of: Literal["ours", "ratio", "difference"]
    best: Literal["low", "high"] = "low"

    def describe(self, unit: str) -> str:
        sign = "≤" if self.best == "low" else "≥"
        if self.of == "ratio":
            return f"{sign} {self.limit:g} ×"
        more = " more" if self.of == "difference" else ""
        return f"{sign} {self.limit:g} {unit}{more}"

    def is_reached(self, ours: float, other: float | None, ratio: float | None) -> bool:
        """Judge; a ratio or a difference needs the other."""
        if self.of == "ours":
            measured = ours
        elif self.of == "ratio":
            assert ratio is not None
            measured = ratio
        else:
            assert other is not None
            measured = ours - other
        return measured <= self.limit if self.best == "low" else measured >= self.limit


class Spread(NamedTuple):
    """The lowest and the highest of the pairs: of their ratios, or of ours where alone."""

    lowest: float
    highest: float


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the results. Numbers are medians over the pairs, in `unit`."""

    id: str
    figure: str
    ours: float
    # What the hardware and the fastest library allow; a figure has a floor, a peer or neither.
    floor: float | None = None
    peer: float | None = None
    # What the floor or the peer is, in words.
    against: str | None = None
    ratio: float | None = None
    target: str | None = None
    reached: bool | None = None
    unit: str
    pairs: int
    spread: Spread
    # How it was measured, where that is not the same for all figures of an id.
    how: str | None = None
    machine: str = ""
    # Day of the measurement and the commit that was measured.
    date: str = ""
    commit: str = ""


def figure(
    id: str,
    name: str,
    pairs: Sequence[Pair],
    *,
    unit: str,
    target: Target | None = None,
    floor: str | None = None,
    peer: str | None = None,
    how: str | None = None,
) -> Figure:
    """Make a figure of pairs; `floor` or `peer` names what the second values are."""
    ours = median(pair.ours for pair in pairs)
    others = [pair.other for pair in pairs if pair.other is not None]
    other = median(others) if others else None
    ratios = [pair.ours / pair.other for pair in pairs if pair.other]
    ratio = median(ratios) if ratios else None
    spread = ratios or [pair.ours for pair in pairs]
    return Figure(
        id=id,
        figure=name,
        ours=ours,
        floor=other if floor else None,
        peer=other if peer else None,
        against=floor or peer,
        ratio=ratio,
        target=target.describe(unit) if target else None,
        reached=target.is_reached(ours, other, ratio) if target else None,
        unit=unit,
        pairs=len(pairs),
        spread=Spread(min(spread), max(spread)),
        how=how,
    )
