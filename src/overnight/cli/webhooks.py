"""`overnight webhooks`."""

from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from overnight.cli.endpoints import Endpoints
from overnight.cli.output import Output, confirm, output_options
from overnight.cli.server import Server, server_flags
from overnight.errors import EXIT_NOT_ALL_SUCCEEDED, EXIT_TIMEOUT, InvalidRequest
from overnight.wire.events import DeliveryObject
from overnight.wire.webhooks import EVENT_TYPES, Endpoint

_DEFAULT_EVENT = "message_batch.ended"
_DAY_S = 86_400
_TEST_TIMEOUT_S = 30.0

F = TypeVar("F", bound=Callable[..., object])


def _fields(command: F) -> F:
    """Add what an endpoint can be told at its creation and later."""
    for option in (
        click.option("--description", metavar="TEXT", help="Notes about it."),
        click.option("--name", metavar="TEXT", help="A short label."),
        click.option(
            "--event",
            "events",
            type=click.Choice(EVENT_TYPES),
            multiple=True,
            help="What to be told; may be given several times.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def webhooks() -> None:
    """Be told when batches have ended, and other events.

    \b
    Example:
      overnight webhooks create https://example.com/hook

    An ID may be the beginning of one: whep_01Ab, or just Ab.
    """


@webhooks.command()
@click.argument("url")
@_fields
@server_flags
@output_options
def create(
    out: Output,
    url: str,
    events: tuple[str, ...],
    name: str | None,
    description: str | None,
    server: Server,
) -> None:
    """Create an endpoint at URL; prints its signing secret, this once.

    \b
    Example:
      overnight webhooks create https://example.com/hook --event message_batch.ended

    Without --event it is told when batches have ended.
    """
    fields: dict[str, object] = {"url": url, "enabled_events": events or [_DEFAULT_EVENT]}
    fields |= {"name": name or "", "description": description or ""}
    made = Endpoints(server.client()).create(fields)
    if out.as_json:
        out.document(msgspec.to_builtins(made))
        return
    out.note(f"{made.id}, told of {', '.join(made.enabled_events)}; its signing secret:")
    out.data(made.signing_secret)
    out.note(f"\nhint: give it to the receiver, then overnight webhooks test {made.id}")


@webhooks.command("list")
@server_flags
@output_options
def list_(out: Output, server: Server) -> None:
    """List the endpoints of the workspace, the newest first.

    \b
    Example:
      overnight webhooks list
    """
    rows = Endpoints(server.client()).all()
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    if not rows:
        out.note("no webhook endpoints")
    for row in rows:
        label = f"  {row.name}" if row.name else ""
        out.data(f"{row.id}  {row.state:8}  {row.url}{label}")


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@server_flags
@output_options
def retrieve(out: Output, webhook_id: str, server: Server) -> None:
    """Show one endpoint.

    \b
    Example:
      overnight webhooks retrieve whep_01Ab
    """
    _show(out, Endpoints(server.client()).find(webhook_id))


webhooks.add_command(retrieve, "get")


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--url", metavar="URL", help="Where to send from now on.")
@_fields
@server_flags
@output_options
def update(
    out: Output,
    webhook_id: str,
    url: str | None,
    events: tuple[str, ...],
    name: str | None,
    description: str | None,
    server: Server,
) -> None:
    """Change an endpoint; what is not given stays. --event replaces all events.

    \b
    Example:
      overnight webhooks update whep_01Ab --url https://example.com/new
    """
    given = {"url": url, "enabled_events": events or None, "name": name, "description": description}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise InvalidRequest("nothing to change", hint="overnight webhooks update --help")
    endpoints = Endpoints(server.client())
    _show(out, endpoints.update(endpoints.find(webhook_id).id, changes))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@server_flags
@output_options
def enable(out: Output, webhook_id: str, server: Server) -> None:
    """Enable an endpoint; what was pending when it was disabled is sent.

    \b
    Example:
      overnight webhooks enable whep_01Ab
    """
    endpoints = Endpoints(server.client())
    _show(out, endpoints.update(endpoints.find(webhook_id).id, {"state": "enabled"}))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@server_flags
@output_options
def disable(out: Output, webhook_id: str, server: Server) -> None:
    """Disable an endpoint; events that happen meanwhile are never sent to it.

    \b
    Example:
      overnight webhooks disable whep_01Ab
    """
    endpoints = Endpoints(server.client())
    _show(out, endpoints.update(endpoints.find(webhook_id).id, {"state": "disabled"}))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_flags
@output_options
def delete(out: Output, webhook_id: str, yes: bool, server: Server) -> None:
    """Delete an endpoint with the log of its deliveries.

    \b
    Example:
      overnight webhooks delete whep_01Ab --yes
    """
    endpoints = Endpoints(server.client())
    found = endpoints.find(webhook_id)
    confirm(f"Delete {found.id} ({found.url})?", yes=yes)
    deleted = endpoints.delete(found.id)
    if out.as_json:
        out.document(msgspec.to_builtins(deleted))
    else:
        out.note(f"{found.id} deleted")


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option(
    "--overlap-s",
    type=click.IntRange(0, 7 * _DAY_S),
    default=_DAY_S,
    show_default=True,
    help="Seconds for which the old secret signs too; 0 when it has leaked.",
)
@server_flags
@output_options
def rotate(out: Output, webhook_id: str, overlap_s: int, server: Server) -> None:
    """Replace the signing secret; prints the new one, this once.

    \b
    Example:
      overnight webhooks rotate whep_01Ab

    For --overlap-s each delivery carries both signatures, so that the receiver can change
    over in its own time.
    """
    endpoints = Endpoints(server.client())
    found = endpoints.find(webhook_id)
    made = endpoints.rotate(found.id, overlap_s=overlap_s)
    if out.as_json:
        out.document(msgspec.to_builtins(made))
        return
    until = f"signs for {overlap_s:,} s more" if overlap_s else "signs no more"
    out.note(f"the secret of {found.id} before {until}; the new one:")
    out.data(made.signing_secret)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--state", type=click.Choice(["pending", "acknowledged", "failed"]))
@server_flags
@output_options
def deliveries(out: Output, webhook_id: str, limit: int, state: str | None, server: Server) -> None:
    """List what was sent to an endpoint, or is to be, the newest event first.

    \b
    Example:
      overnight webhooks deliveries whep_01Ab --state failed
    """
    endpoints = Endpoints(server.client())
    rows = endpoints.deliveries(endpoints.find(webhook_id).id, limit=limit, state=state)
    if out.as_json:
        out.document(msgspec.to_builtins(rows))
        return
    if not rows:
        out.note("no deliveries" + (f" are {state}" if state else ""))
    for row in rows:
        out.data(_line(row))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.argument("event_id", metavar="EVENT")
@server_flags
@output_options
def redeliver(out: Output, webhook_id: str, event_id: str, server: Server) -> None:
    """Send an event again, also one that was acknowledged.

    \b
    Example:
      overnight webhooks redeliver whep_01Ab whe_01Cd
    """
    endpoints = Endpoints(server.client())
    found = endpoints.find(webhook_id)
    delivery = endpoints.redeliver(found.id, endpoints.event(found.id, event_id))
    if out.as_json:
        out.document(msgspec.to_builtins(delivery))
    else:
        out.data(_line(delivery))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--timeout", type=float, metavar="SECONDS", default=_TEST_TIMEOUT_S,
              show_default=True, help="Longest wait for the outcome.")  # fmt: skip
@server_flags
@output_options
def test(out: Output, webhook_id: str, timeout: float, server: Server) -> int:
    """Send an event that says nothing, and tell what the receiver answered.

    \b
    Example:
      overnight webhooks test whep_01Ab

    Exits with 3 when the receiver did not acknowledge it, with 8 after --timeout.
    """
    endpoints = Endpoints(server.client())
    begun = endpoints.test(endpoints.find(webhook_id).id)
    delivery = endpoints.outcome(begun, timeout_s=timeout)
    if out.as_json:
        out.document(msgspec.to_builtins(delivery))
    else:
        out.data(_line(delivery))
    if delivery.state == "pending":
        out.note("\nhint: does a process with a worker run? overnight serve has one")
        return EXIT_TIMEOUT
    return 0 if delivery.state == "acknowledged" else EXIT_NOT_ALL_SUCCEEDED


def _line(delivery: DeliveryObject) -> str:
    """Write how a delivery stands as one line."""
    parts = [
        delivery.event_id,
        f"{delivery.event_type:23}",
        f"{delivery.state:12}",
        delivery.created_at[:19],
        f"{delivery.attempts} {'attempt' if delivery.attempts == 1 else 'attempts'}",
    ]
    if delivery.last_error:
        parts.append(delivery.last_error)
    elif delivery.last_status is not None:
        parts.append(f"answered {delivery.last_status} in {delivery.last_duration_ms} ms")
    if delivery.next_attempt_at and not delivery.under_way:
        parts.append(f"next {delivery.next_attempt_at[:19]}")
    return "  ".join(parts)


def _show(out: Output, endpoint: Endpoint) -> None:
    fields = msgspec.to_builtins(endpoint)
    if out.as_json:
        out.document(fields)
        return
    for name, value in fields.items():
        if value:
            out.data(f"{name:16} {', '.join(value) if isinstance(value, list) else value}")
