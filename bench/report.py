"""bench/RESULTS.md: a table of the latest figure of each kind, made of results.jsonl."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped] # it ships no types
from bench.figure import Figure
from bench.run import ROOT

_LINES = ROOT / "bench" / "results.jsonl"
_TABLE = ROOT / "bench" / "RESULTS.md"

_HEAD = """\
# Results

Written by `script/bench`; what each id measures stands at the top of its module in
[`bench/figures`](figures). Every figure is measured in pairs, ours and then the floor (what the
hardware and the fastest library allow) or a peer, one after the other on the same machine: the
numbers are medians, the ratio is the median of the pairs' ratios, the range goes from the lowest to
the highest ratio, or of ours where it stands alone. Absolute numbers say something about this
machine only. Nothing here is a test.

Clients and upstreams share the processors with the service. Every service is a fresh process with
an empty data directory on the disk of the checkout, and every result is checked to be there. Peers
run in environments of their own:
[decision 0039](../docs/decisions/0039-peers-in-their-own-environments.md).
"""


def machine() -> str:
    """Describe what the figures were measured on."""
    memory_gib = round(psutil.virtual_memory().total / (1 << 30))
    return (
        f"{_processor()}, {os.cpu_count()} cpus, {memory_gib} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def commit() -> str:
    """Name the commit that is measured; `+` when the source differs from it."""
    head = _git("rev-parse", "--short=10", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--", "src") else "")


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def write(figures: list[Figure], order: Iterable[str]) -> None:
    """Replace the stored figures of the ids that were measured; render all of them."""
    measured = {figure.id for figure in figures}
    kept = [figure for figure in _stored() if figure.id not in measured]
    places = {id: place for place, id in enumerate(order)}
    figures = sorted(kept + figures, key=lambda figure: places.get(figure.id, len(places)))
    lines = b"".join(msgspec.json.encode(figure) + b"\n" for figure in figures)
    _LINES.write_bytes(lines)
    _TABLE.write_text(render(figures), encoding="utf-8")


def render(figures: list[Figure]) -> str:
    """Write the table and below it where and how its rows were measured."""
    rows = [
        "| id | figure | ours | floor or peer | | ratio | range | target | reached |",
        "|---|---|--:|--:|---|--:|---|---|---|",
        *(_row(figure) for figure in figures),
    ]
    notes = dict.fromkeys(
        f"- {figure.id}: {figure.pairs} pairs"
        + (f"; {figure.how}" if figure.how else "")
        + f". {figure.date}, commit {figure.commit}, {figure.machine}."
        for figure in figures
    )
    return "\n".join([_HEAD, *rows, "", "## How and where", "", *notes, ""])


def _row(figure: Figure) -> str:
    other = figure.floor if figure.floor is not None else figure.peer
    low, high = figure.spread
    cells = (
        figure.id,
        figure.figure,
        f"{_number(figure.ours)} {figure.unit}",
        "" if other is None else f"{_number(other)} {figure.unit}",
        figure.against or "",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        f"{_number(low)} to {_number(high)}",
        figure.target or "",
        {True: "yes", False: "**no**", None: ""}[figure.reached],
    )
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    """Show three digits that count."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _stored() -> list[Figure]:
    if not _LINES.exists():
        return []
    lines = _LINES.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Figure) for line in lines]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    answer = subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()
