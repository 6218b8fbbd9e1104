"""`overnight batches`: the API's own words as commands."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import click
import msgspec

from overnight.budget import read_usd
from overnight.cli import body
from overnight.cli.cost import cost
from overnight.cli.output import Output, confirm, output_options
from overnight.cli.server import Server, server_flags
from overnight.errors import InvalidRequest
from overnight.wire.batches import MessageBatch

COUNTS = ("succeeded", "errored", "canceled", "expired", "processing")


@click.group()
def batches() -> None:
    """Create, list, read, cancel and delete batches.

    \b
    Example:
      overnight batches create input.jsonl

    An ID may be the beginning of one: msgbatch_01Ab, or just Ab.
    """


@batches.command()
@click.argument("file")
@click.option("--estimate", metavar="ID", help="Compare its cost with this estimate.")
@click.option("--budget", metavar="USD", help="It may not cost more; the rest is not sent.")
@click.option(
    "--auto-cache/--no-auto-cache",
    default=None,
    help="Let the server set cache breakpoints where that is cheaper.  [default: as it is set]",
)
@server_flags
@output_options
def create(
    out: Output,
    file: str,
    estimate: str | None,
    budget: str | None,
    auto_cache: bool | None,
    server: Server,
) -> None:
    """Create a batch from FILE (- is stdin).

    \b
    Example:
      overnight batches create input.jsonl

    FILE holds a line {"custom_id": "doc-1", "params": {…}} per request, or one JSON body
    {"requests": […]}. It is checked first; with a mistake nothing is sent.
    """
    max_cost_usd = None if budget is None else read_usd(budget, name="--budget")
    client = server.client()
    checked = body.read(file)
    batch, warning = client.create(
        checked.chunks(),
        estimate_id=estimate,
        max_cost_usd=max_cost_usd,
        auto_cache=auto_cache,
    )
    if warning:
        out.note(f"warning: {warning}")
    if out.as_json:
        out.document(msgspec.to_builtins(batch))
        return
    noun = "request" if checked.request_count == 1 else "requests"
    out.note(f"{checked.request_count:,} {noun} {batch.processing_status}")
    out.data(batch.id)
    out.note(f"\nhint: overnight watch {batch.id}")


@batches.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--state", type=click.Choice(["in_progress", "canceling", "ended"]))
@server_flags
@output_options
def list_(out: Output, limit: int, state: str | None, server: Server) -> None:
    """List batches, the newest first.

    \b
    Example:
      overnight batches list --state in_progress
    """
    found = (b for b in server.client().batches() if state in (None, b.processing_status))
    rows = list(islice(found, limit))
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    if not rows:
        out.note("no batches" + (f" are {state}" if state else ""))
    for batch in rows:
        out.data(f"{batch.id}  {batch.processing_status:11}  {batch.created_at[:19]}  "
                 f"{_counts(batch)}")  # fmt: skip


@batches.command()
@click.argument("batch_id", metavar="ID")
@server_flags
@output_options
def retrieve(out: Output, batch_id: str, server: Server) -> None:
    """Show one batch.

    \b
    Example:
      overnight batches retrieve msgbatch_01Ab
    """
    client = server.client()
    _show(out, client.retrieve(client.resolve(batch_id)))


batches.add_command(retrieve, "get")
batches.add_command(cost)


@batches.command()
@click.argument("batch_id", metavar="ID")
@click.option("--out", "target", type=click.Path(path_type=Path, dir_okay=False))
@server_flags
@output_options
def results(out: Output, batch_id: str, target: Path | None, server: Server) -> None:
    """Write the results of an ended batch as JSON lines, to stdout or --out FILE.

    \b
    Example:
      overnight batches results msgbatch_01Ab --out results.jsonl
    """
    client = server.client()
    chunks = client.results(client.resolve(batch_id))
    if target is None or str(target) == "-":
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    line_count = _write(chunks, target)
    if out.as_json:
        out.document({"file": str(target), "results": line_count})
    else:
        out.note(f"{line_count:,} results in {target}")


@batches.command()
@click.argument("batch_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_flags
@output_options
def cancel(out: Output, batch_id: str, yes: bool, server: Server) -> None:
    """Ask a batch to stop; requests that were not sent yet become canceled.

    \b
    Example:
      overnight batches cancel msgbatch_01Ab --yes
    """
    client = server.client()
    batch = client.retrieve(client.resolve(batch_id))
    if batch.processing_status == "in_progress":
        confirm(f"Cancel {batch.id} ({_counts(batch)})?", yes=yes)
    _show(out, client.cancel(batch.id))


@batches.command()
@click.argument("batch_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_flags
@output_options
def delete(out: Output, batch_id: str, yes: bool, server: Server) -> None:
    """Delete an ended batch and its results.

    \b
    Example:
      overnight batches delete msgbatch_01Ab --yes
    """
    client = server.client()
    batch = client.retrieve(client.resolve(batch_id))
    confirm(f"Delete {batch.id} and its results ({_counts(batch)})?", yes=yes)
    client.delete(batch.id)
    if out.as_json:
        out.document({"id": batch.id, "type": "message_batch_deleted"})
    else:
        out.note(f"{batch.id} deleted")


def _counts(batch: MessageBatch) -> str:
    counts = ((getattr(batch.request_counts, name), name) for name in COUNTS)
    return ", ".join(f"{count:,} {name}" for count, name in counts if count) or "0 requests"


def _show(out: Output, batch: MessageBatch) -> None:
    if out.as_json:
        out.document(msgspec.to_builtins(batch))
        return
    for name in ("id", "processing_status", "created_at", "expires_at", "cancel_initiated_at",
                 "ended_at", "archived_at", "results_url"):  # fmt: skip
        if (value := getattr(batch, name)) is not None:
            out.data(f"{name:20} {value}")
    out.data(f"{'request_counts':20} {_counts(batch)}")


def _write(chunks: Iterator[bytes], target: Path) -> int:
    """Write a file that appears only when it is whole; give its number of lines."""
    partial = target.with_name(target.name + ".partial")
    line_count, last = 0, b"\n"
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                line_count, last = line_count + chunk.count(b"\n"), chunk[-1:]
        os.replace(partial, target)
    except OSError as error:
        raise InvalidRequest(
            f"{target}: {error.strerror}", hint="name a file that can be written with --out"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return line_count + (last != b"\n")
