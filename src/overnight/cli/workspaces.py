"""`overnight workspaces`."""

import click
import msgspec

from overnight.cli import limits
from overnight.cli.client import server_flag
from overnight.cli.limits import limit_flags
from overnight.cli.organization import Organization
from overnight.cli.output import Output, confirm, output_options
from overnight.wire.organization import WorkspaceObject
from overnight.wire.rate_limits import LIMITERS


@click.group()
def workspaces() -> None:
    """Create, list, limit and archive workspaces: each has its own batches and keys.

    \b
    Example:
      overnight workspaces create team

    Needs a key with role admin, in OVERNIGHT_ADMIN_KEY or ANTHROPIC_API_KEY.
    A WORKSPACE is a name, an id, or the beginning of an id.
    """


@workspaces.command()
@click.argument("name")
@server_flag
@output_options
def create(out: Output, name: str, base_url: str | None) -> None:
    """Create a workspace called NAME; prints its id.

    \b
    Example:
      overnight workspaces create team
    """
    made = Organization(base_url).create_workspace(name)
    if out.as_json:
        out.document(msgspec.to_builtins(made))
        return
    out.data(made.id)
    out.note(f"\nhint: overnight keys create --workspace {made.id} --name NAME")


@workspaces.command("list")
@click.option("--archived", is_flag=True, help="Show archived ones too.")
@server_flag
@output_options
def list_(out: Output, archived: bool, base_url: str | None) -> None:
    """List workspaces, the newest first.

    \b
    Example:
      overnight workspaces list
    """
    rows = list(Organization(base_url).workspaces(with_archived=archived))
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    for row in rows:
        state = "archived" if row.archived_at else "live"
        out.data(f"{row.id}  {state:8}  {row.created_at[:19]}  {row.name}")


@workspaces.command()
@click.argument("workspace")
@limit_flags
@server_flag
@output_options
def limit(out: Output, /, workspace: str, base_url: str | None, **given: str | None) -> None:
    """Limit a WORKSPACE, and show all its limits.

    \b
    Example:
      overnight workspaces limit team --queued-requests 50000

    N is a number, none for no limit, or default for that of the settings. What is not named
    stays as it is.
    """
    changed = limits.read(given, default=True)
    organization = Organization(base_url)
    found = organization.workspace(workspace)
    if changed:
        organization.limit_workspace(found.id, changed)
    entry = organization.limits_of(found.id)
    if out.as_json:
        out.document(msgspec.to_builtins(entry))
        return
    for row in entry.limits:
        source = "its own" if row.source.type == "workspace" else "of the settings"
        value = f"{row.value:,}" if row.value else "none"
        out.data(f"{LIMITERS[row.type]:20}  {value:>15}  {source}")
    if not entry.limits:
        out.note("no limits")


@workspaces.command()
@click.argument("workspace")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_flag
@output_options
def archive(out: Output, workspace: str, yes: bool, base_url: str | None) -> None:
    """Close a WORKSPACE for good and revoke its keys. Its batches run to their end.

    \b
    Example:
      overnight workspaces archive team
    """
    organization = Organization(base_url)
    found = organization.workspace(workspace)
    confirm(f"Archive {_named(found)} and revoke its keys, for good?", yes=yes)
    archived = organization.archive_workspace(found.id)
    if out.as_json:
        out.document(msgspec.to_builtins(archived))
    else:
        out.note(f"{_named(archived)} archived")


def _named(workspace: WorkspaceObject) -> str:
    return f"{workspace.id} ({workspace.name})"
