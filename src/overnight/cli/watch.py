"""`overnight watch`: live progress of one batch until it has ended."""

import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import click
import msgspec

from overnight.cli.client import Client
from overnight.cli.output import Output, output_options
from overnight.cli.server import Server, server_flags
from overnight.errors import EXIT_NOT_ALL_SUCCEEDED, EXIT_TIMEOUT, InvalidRequest, NotFound
from overnight.parsing import UNREADABLE
from overnight.wire.batches import MessageBatch, RequestCounts

LIVE_INTERVAL_S = 0.5
# The wire's own polling hint (`retry-after: 10`).
WIRE_INTERVAL_S = 10.0
FIRST_LINE_S = 1.0
PLAIN_INTERVAL_S = 30.0
PLAIN_STEP = 0.05

Mode = Literal["auto", "plain", "none", "json"]


class Eta(msgspec.Struct, frozen=True, kw_only=True):
    earliest: datetime
    latest: datetime


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the progress endpoint says; what other servers do not tell stays at its default."""

    id: str
    status: str
    counts: RequestCounts
    total: int
    recorded: int
    expires_at: datetime
    rate_per_s: float | None = None
    eta: Eta | None = None
    verdict: str = ""
    # Whose budget was used up, so that nothing more is sent.
    stopped_by: str | None = None


@click.command()
@click.argument("batch_id", metavar="ID")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop waiting.")
@click.option(
    "--progress",
    "mode",
    type=click.Choice(["auto", "plain", "none", "json"]),
    envvar="OVERNIGHT_PROGRESS",
    default="auto",
    help="How progress is told on stderr.",
)
@click.option(
    "--allow-errors", default="0", metavar="N|N%", help="So many may not succeed.  [default: 0]"
)
@server_flags
@output_options
def watch(
    out: Output,
    batch_id: str,
    timeout: float | None,
    mode: Mode,
    allow_errors: str,
    server: Server,
) -> int:
    """Follow a batch until it has ended.

    \b
    Example:
      overnight watch msgbatch_01Ab --timeout 600

    Exits with 3 when some requests did not succeed, with 8 after --timeout; Ctrl-C leaves
    the batch running.
    """
    allowed = _allowance(allow_errors)
    client = server.client()
    batch_id = client.resolve(batch_id)
    tell = _teller(out, "none" if out.quiet else mode)
    try:
        last = follow(client, batch_id, tell=tell, timeout_s=timeout)
    except KeyboardInterrupt:
        out.note(f"\n{batch_id} goes on\n\nhint: overnight watch {batch_id}, or "
                 f"overnight batches cancel {batch_id}")  # fmt: skip
        raise
    if out.as_json:
        out.document(msgspec.to_builtins(last))
    if last.status != "ended":
        out.note(f"{batch_id} has not ended after {timeout:g} s and goes on\n\n"
                 f"hint: overnight watch {batch_id}")  # fmt: skip
        return EXIT_TIMEOUT
    if not out.as_json:
        out.data(_ended(last))
    unlucky = last.total - last.counts.succeeded
    return EXIT_NOT_ALL_SUCCEEDED if unlucky > allowed(last.total) else 0


def follow(
    client: Client,
    batch_id: str,
    *,
    tell: Callable[[Progress], None],
    timeout_s: float | None = None,
) -> Progress:
    """Ask for the progress until the batch has ended or the time is up; give the last."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    live = True
    while True:
        progress = _live(client, batch_id) if live else None
        live = progress is not None
        current = progress or _from_wire(client.retrieve(batch_id))
        tell(current)
        left_s = float("inf") if deadline is None else deadline - time.monotonic()
        if current.status == "ended" or left_s <= 0:
            return current
        time.sleep(min(LIVE_INTERVAL_S if live else WIRE_INTERVAL_S, left_s))


def line(progress: Progress, *, now: datetime, plain: bool) -> str:
    """Write progress as one line."""
    counts = progress.counts
    unlucky = progress.recorded - counts.succeeded
    parts = [progress.id if plain else progress.id[:14] + "…",
             f"{progress.recorded:,}/{progress.total:,}",
             f"{counts.succeeded:,} succeeded" if plain else f"✓ {counts.succeeded:,}"]  # fmt: skip
    if unlucky:
        parts.append(f"{unlucky:,} did not succeed" if plain else f"✗ {unlucky:,}")
    if progress.rate_per_s is not None:
        parts.append(f"{progress.rate_per_s:,.1f}/s")
    parts.append(_outlook(progress, now=now))
    return "  ".join(parts)


def fitted(text: str, *, columns: int) -> str:
    """Cut a line so that it stays on one row of the terminal."""
    return text if len(text) < columns else text[: max(columns - 2, 0)] + "…"


def _outlook(progress: Progress, *, now: datetime) -> str:
    if progress.status == "ended":
        return "ended"
    expires = f"expires {_moment(progress.expires_at, now=now)}"
    verdict = progress.verdict.replace("_", " ") or progress.status
    if progress.eta is None:
        return f"{verdict} ({expires})"
    early, late = (
        _span((moment - now).total_seconds())
        for moment in (progress.eta.earliest, progress.eta.latest)
    )
    within = early if early == late else f"{early}–{late}"
    ends = _moment(progress.eta.latest, now=now)
    return f"ends ~{ends} (in {within}, {expires}: {verdict})"


def _moment(at: datetime, *, now: datetime) -> str:
    """Write a local time, with its day unless that is today."""
    local = at.astimezone()
    return f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local:%d %b %H:%M}"


def _span(seconds: float) -> str:
    seconds = max(seconds, 0)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _ended(progress: Progress) -> str:
    names = ("succeeded", "errored", "canceled", "expired")
    counts = (f"{getattr(progress.counts, name):,} {name}" for name in names)
    why = f" (the budget of its {progress.stopped_by} is used up)" if progress.stopped_by else ""
    why = why.replace("of its batch", "of the batch")
    return f"{progress.id} ended: {', '.join(counts)}{why}"


def _live(client: Client, batch_id: str) -> Progress | None:
    """Give live progress, or None from a server that does not serve it."""
    try:
        answer = client.progress(batch_id)
        return msgspec.json.decode(bytes(answer.bytes()), type=Progress)
    except (InvalidRequest, NotFound, *UNREADABLE):
        # The wire endpoint then says whether it is the batch that is missing.
        return None


def _from_wire(batch: MessageBatch) -> Progress:
    counts = batch.request_counts
    recorded = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return Progress(
        id=batch.id,
        status=batch.processing_status,
        counts=counts,
        total=recorded + counts.processing,
        recorded=recorded,
        expires_at=datetime.fromisoformat(batch.expires_at),
    )


def _allowance(text: str) -> Callable[[int], float]:
    try:
        share = float(text.removesuffix("%"))
        if share < 0:
            raise ValueError
    except ValueError:
        raise InvalidRequest(
            f"--allow-errors {text}: must be a number or a percentage", hint="--allow-errors 2%"
        ) from None
    return (lambda total: total * share / 100) if text.endswith("%") else (lambda _: share)


def _teller(out: Output, mode: Mode) -> Callable[[Progress], None]:
    if mode == "none":
        return lambda _: None
    if mode == "json":
        return lambda progress: click.echo(msgspec.json.encode(progress).decode(), err=True)
    if mode == "auto" and out.lively:
        return _Redrawn()
    return _Lines()


class _Redrawn:
    """Draws one line again and again; begins after a second, so that short waits stay quiet."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        ended = progress.status == "ended"
        if time.monotonic() - self._began >= FIRST_LINE_S or ended:
            text = line(progress, now=datetime.now(UTC), plain=False)
            # Only one row can be erased: a line that wraps would leave its first row behind.
            text = fitted(text, columns=shutil.get_terminal_size().columns)
            sys.stderr.write(f"\r\x1b[2K{text}" + ("\n" if ended else ""))
            sys.stderr.flush()


class _Lines:
    """Writes a line every 30 s or 5 %, for files and for people who hear their screen."""

    def __init__(self) -> None:
        self._told_at = time.monotonic() + FIRST_LINE_S - PLAIN_INTERVAL_S
        self._told = 0.0

    def __call__(self, progress: Progress) -> None:
        share = progress.recorded / max(progress.total, 1)
        now = time.monotonic()
        due = now - self._told_at >= PLAIN_INTERVAL_S or share - self._told >= PLAIN_STEP
        if due or progress.status == "ended":
            click.echo(line(progress, now=datetime.now(UTC), plain=True), err=True)
            self._told_at, self._told = now, share
