"""`overnight budgets`."""

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import click
import msgspec

from overnight.budget import RECURRING, RecurringPeriod, read_usd
from overnight.cli.client import server_flag
from overnight.cli.organization import Organization
from overnight.cli.output import Output, confirm, output_options
from overnight.errors import InvalidRequest, NotFound
from overnight.pricing.money import shown, shown_small
from overnight.wire.spend_limits import SpendScope, SpendSummary

F = TypeVar("F", bound=Callable[..., object])


def _whose(command: F) -> F:
    """Add what says whose budget is meant, and of which period."""
    for option in (
        click.option(
            "--period",
            type=click.Choice(RECURRING),
            default="monthly",
            show_default=True,
            help="When it begins anew, by the calendar in UTC.",
        ),
        click.option("--key", metavar="ID", help="That of one key."),
        click.option("--workspace", metavar="NAME", help="That of a workspace: name or id."),
    ):
        command = option(command)
    return command


@click.group()
def budgets() -> None:
    """Limit what the organization, a workspace or a key may spend.

    \b
    Example:
      overnight budgets set 50 --workspace team

    Needs a key with role admin, in OVERNIGHT_ADMIN_KEY or ANTHROPIC_API_KEY. Without --workspace
    and --key the whole organization is meant. For one batch: overnight batches create --budget.
    """


@budgets.command("set")
@click.argument("usd")
@_whose
@server_flag
@output_options
def set_(
    out: Output,
    usd: str,
    workspace: str | None,
    key: str | None,
    period: RecurringPeriod,
    base_url: str | None,
) -> None:
    """Set a budget to USD, or change it: 50, $12.50, 1,000.

    \b
    Example:
      overnight budgets set 50 --workspace team --period weekly
    """
    amount = read_usd(usd, name="USD")
    cents = amount * 100
    if cents != int(cents):
        raise InvalidRequest(f"USD: {usd}: has more than two decimals", hint="write it as 12.50")
    organization = Organization(base_url)
    made = organization.set_budget(_scope(organization, workspace, key), period, int(cents))
    if out.as_json:
        out.document(msgspec.to_builtins(made))
        return
    out.data(made.id)
    out.note(f"{period} budget of {_named(organization, made.scope)}: {shown(amount)}")


@budgets.command("list")
@server_flag
@output_options
def list_(out: Output, base_url: str | None) -> None:
    """List budgets and what is spent of each in its present period.

    \b
    Example:
      overnight budgets list
    """
    organization = Organization(base_url)
    rows = list(organization.budgets())
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    if not rows:
        out.note("no budgets\n\nhint: overnight budgets set USD --workspace NAME")
        return
    names = [_named(organization, row.scope) for row in rows]
    for row, name in zip(rows, names, strict=True):
        out.data(_row(row, name, width=max(map(len, names))))


@budgets.command()
@_whose
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_flag
@output_options
def remove(
    out: Output,
    workspace: str | None,
    key: str | None,
    period: RecurringPeriod,
    yes: bool,
    base_url: str | None,
) -> None:
    """Remove a budget: nothing is limited by it any more.

    \b
    Example:
      overnight budgets remove --workspace team
    """
    organization = Organization(base_url)
    scope = _scope(organization, workspace, key)
    found = [b for b in organization.budgets() if (b.scope, b.period) == (scope, period)]
    name = _named(organization, scope)
    if not found:
        raise NotFound(f"{name} has no {period} budget", hint="overnight budgets list")
    limit = shown(Decimal(found[0].overnight.limit_usd))
    confirm(f"Remove the {period} budget of {name}, {limit}?", yes=yes)
    gone = organization.remove_budget(found[0].spend_limit_id)
    if out.as_json:
        out.document(msgspec.to_builtins(gone))
    else:
        out.note(f"{period} budget of {name} removed")


def _scope(organization: Organization, workspace: str | None, key: str | None) -> SpendScope:
    if workspace is not None and key is not None:
        raise InvalidRequest("--workspace and --key: a budget is of one of them")
    if workspace is not None:
        return SpendScope(type="workspace", workspace_id=organization.workspace(workspace).id)
    if key is not None:
        return SpendScope(type="api_key", api_key_id=organization.key(key).id)
    return SpendScope(type="organization")


def _named(organization: Organization, scope: SpendScope) -> str:
    if scope.type == "organization":
        return "the organization"
    if scope.workspace_id is not None:
        return f"workspace {organization.names.get(scope.workspace_id, scope.workspace_id)}"
    return f"key {scope.api_key_id}"


def _row(row: SpendSummary, name: str, *, width: int) -> str:
    of = row.overnight
    amounts = (of.limit_usd, of.used_usd, of.reserved_usd, of.left_usd)
    limit, used, reserved, left = (shown_small(Decimal(usd)) for usd in amounts)
    share = "" if of.used_percent is None else f" ({of.used_percent:g}%)"
    also = f", {reserved} reserved" if Decimal(of.reserved_usd) else ""
    return (
        f"{row.spend_limit_id}  {row.period:8}  {name:{width}}  {limit:>10}  "
        f"used {used}{share}{also}, left {left}"
    )
