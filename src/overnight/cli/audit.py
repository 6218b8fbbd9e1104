"""`overnight audit`."""

from itertools import islice

import click
import msgspec

from overnight.audit import ACTIONS, OUTCOMES
from overnight.cli.client import server_flag
from overnight.cli.organization import Organization
from overnight.cli.output import Output, output_options
from overnight.wire.audit import ActDocument


@click.group()
def audit() -> None:
    """Show who did what to keys, workspaces, webhooks and batches.

    \b
    Example:
      overnight audit list --outcome refused

    Needs a key with role admin, in OVERNIGHT_ADMIN_KEY or ANTHROPIC_API_KEY.
    """


@audit.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--action", type=click.Choice(ACTIONS), metavar="ACTION",
              help=f"One of {', '.join(ACTIONS)}.")  # fmt: skip
@click.option("--outcome", type=click.Choice(OUTCOMES))
@click.option("--key", "key_id", metavar="ID", help="Only what was done with this key.")
@click.option("--subject", "subject_id", metavar="ID", help="Only what was done to this.")
@server_flag
@output_options
def list_(out: Output, /, limit: int, base_url: str | None, **wanted: str | None) -> None:
    """List acts, the newest first: when, what, to what, by whom, from where.

    \b
    Example:
      overnight audit list --subject apikey_01Ab8xYz…
    """
    query = {name: value for name, value in wanted.items() if value}
    rows = list(islice(Organization(base_url).acts(**query), limit))
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    for row in rows:
        out.data(_line(row))
    if not rows:
        out.note("no such acts" if query else "no acts")


def _line(row: ActDocument) -> str:
    actor = row.actor
    name = f" ({actor.name})" if actor.name else ""
    place = f" from {actor.ip_address}" if actor.ip_address else ""
    # What refused it is the status of the answer.
    outcome = row.outcome if row.outcome == "done" else f"{row.outcome} {row.status}"
    told = {field: value for field, value in row.details.items() if value is not None}
    details = "".join(f"  {field}={value}" for field, value in told.items())
    return (
        f"{row.created_at[:19]}  {row.action:17}  {outcome:11}  {row.subject_id or '–':31}  "
        f"by {actor.key_id or actor.type}{name}{place}{details}"
    )
