"""`overnight keys`."""

import re
from typing import Any

import click
import msgspec

from overnight.cli import limits
from overnight.cli.client import server_flag
from overnight.cli.limits import limit_flags
from overnight.cli.organization import Organization
from overnight.cli.output import Output, confirm, output_options
from overnight.errors import InvalidRequest
from overnight.tenancy import DEFAULT_ROLES, LIMIT_NAMES, Role, in_order
from overnight.wire.keys import KeyDocument

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


@click.group()
def keys() -> None:
    """Create, list, limit and revoke keys.

    \b
    Example:
      overnight keys create --workspace team --name nightly --expires 90d

    Needs a key with role admin, in OVERNIGHT_ADMIN_KEY or ANTHROPIC_API_KEY. Where no key
    exists yet, make that one first:

    \b
      overnight keys create --role admin --name me

    From then on every call needs a key.
    """


@keys.command()
@click.option("--name", required=True, help="What it is for.")
@click.option("--workspace", help="The workspace that it opens: name, id or beginning of an id.")
@click.option(
    "--role",
    "roles",
    type=click.Choice([role.value for role in Role]),
    multiple=True,
    help="What it may do; may be given several times.  "
    f"[default: {', '.join(in_order(DEFAULT_ROLES))}]",
)
@click.option("--expires", metavar="TIME", help="90d, 12h, or a moment: 2027-01-31T00:00:00Z.")
@server_flag
@output_options
def create(
    out: Output,
    name: str,
    workspace: str | None,
    roles: tuple[str, ...],
    expires: str | None,
    base_url: str | None,
) -> None:
    """Create a key; prints its secret, this once.

    \b
    Example:
      overnight keys create --workspace team --name nightly --expires 90d

    A key opens one workspace. With role admin it opens all of them and needs no --workspace.
    """
    organization = Organization(base_url)
    question: dict[str, Any] = {"name": name, **_expiry(expires)}
    if roles:
        question["roles"] = list(roles)
    if workspace is not None:
        question["workspace_id"] = organization.workspace(workspace).id
    elif Role.ADMIN not in roles:
        raise InvalidRequest(
            "a key needs the workspace that it opens", hint="--workspace NAME, or --role admin"
        )
    made = organization.create_key(question)
    if out.as_json:
        out.document(msgspec.to_builtins(made))
        return
    until = f", until {made.expires_at[:19]}" if made.expires_at else ""
    out.note(f"{made.id}: {', '.join(made.roles)}{until}")
    out.data(made.secret)
    out.note("\nhint: keep it now, it is not shown again")


@keys.command("list")
@click.option("--workspace", help="Only keys of this workspace.")
@click.option("--status", type=click.Choice(["active", "inactive", "archived", "expired"]))
@server_flag
@output_options
def list_(out: Output, workspace: str | None, status: str | None, base_url: str | None) -> None:
    """List keys, the newest first. Those of the settings are not among them.

    \b
    Example:
      overnight keys list --workspace team --status active
    """
    organization = Organization(base_url)
    query = {"status": status} if status else {}
    if workspace is not None:
        query["workspace_id"] = organization.workspace(workspace).id
    rows = list(organization.keys(**query))
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    if not rows:
        out.note("no keys" + (f" are {status}" if status else ""))
        return
    for row in rows:
        place = organization.names[row.workspace_id] if row.workspace_id else "(all)"
        out.data(f"{row.id}  {row.status:8}  {_used(row):19}  {place}  {','.join(row.roles)}  "
                 f"{row.hint}  {row.name}")  # fmt: skip


@keys.command()
@click.argument("key_id", metavar="ID")
@limit_flags
@server_flag
@output_options
def limit(out: Output, /, key_id: str, base_url: str | None, **given: str | None) -> None:
    """Limit a key beside its workspace, and show the limits of its own.

    \b
    Example:
      overnight keys limit apikey_01Ab --requests-per-minute 60

    N is a number, or none for no limit of its own. What is not named stays as it is.
    """
    changed = limits.read(given, default=False)
    organization = Organization(base_url)
    found = organization.key(key_id)
    if changed:
        found = organization.limit_key(found.id, changed)
    if out.as_json:
        out.document(msgspec.to_builtins(found))
        return
    own = {name: value for name in LIMIT_NAMES if (value := getattr(found.limits, name))}
    for name, value in own.items():
        out.data(f"{name:20}  {value:>15,}")
    if not own:
        out.note("no limits of its own")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_flag
@output_options
def revoke(out: Output, key_id: str, yes: bool, base_url: str | None) -> None:
    """Revoke a key for good; ID may be the beginning of one.

    \b
    Example:
      overnight keys revoke apikey_01Ab
    """
    organization = Organization(base_url)
    found = organization.key(key_id)
    if found.revoked_at is None:
        confirm(f"Revoke {found.id} ({found.name}), last used {_used(found)}?", yes=yes)
    revoked = organization.revoke_key(found.id)
    if out.as_json:
        out.document(msgspec.to_builtins(revoked))
    else:
        out.note(f"{found.id} {revoked.result.replace('_', ' ')}")


def _used(key: KeyDocument) -> str:
    return key.last_used_at[:19] if key.last_used_at else "never"


def _expiry(text: str | None) -> dict[str, Any]:
    """Read when a key shall end: so long from now, or a moment."""
    if text is None:
        return {}
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text)
    if found:
        return {"expires_in_s": int(found[1]) * _UNITS_S[found[2]]}
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", text):
        raise InvalidRequest(
            f"--expires {text}: must be like 90d, 12h, 30m, or 2027-01-31T00:00:00Z"
        )
    return {"expires_at": text}
