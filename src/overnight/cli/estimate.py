"""`overnight estimate`: check a file and say what it will cost, before anything is sent."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from overnight.cli import asking
from overnight.cli.client import Client
from overnight.cli.output import Output, output_options
from overnight.cli.server import Server, server_flags
from overnight.errors import InvalidRequest
from overnight.pricing import doors, shelf
from overnight.pricing.book import TIERS, Tier
from overnight.pricing.quantity import MAX_TOKENS_PER_REQUEST, number, whole

if TYPE_CHECKING:
    from overnight.pricing.estimate import Estimate

# As many requests as a batch may have.
MAX_SAMPLE = 10_000


@click.command()
@click.argument("file")
@click.option("--model", "models", multiple=True, metavar="MODEL",
              help="Price all on it; repeatable.  [default: the row's]")  # fmt: skip
@click.option("--prompt", metavar="TEXT", help="FILE is a CSV; {column} stands for its cells.")
@click.option("--max-tokens", metavar="N", help="Output limit of rows that have none.")
@click.option("--out", "tokens_out", metavar="N", help="Mean output tokens you expect.")
@click.option("--tier", type=click.Choice(TIERS), default="batch", show_default=True)
@click.option("--price-book", default=shelf.DEFAULT, metavar="BOOK", show_default=True,
              help="A name, or your own TOML file.")  # fmt: skip
@click.option("--exact-sample", metavar="N", help="Let a server count the prompts of N rows.")
@click.option("--pilot", metavar="N", help="Run N rows on a server, at their price, and project.")
@click.option("--keep", is_flag=True, help="Keep it on a server, for batches create --estimate.")
@server_flags
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Prices of that day.")
@output_options
def estimate(
    out: Output,
    file: str,
    models: tuple[str, ...],
    prompt: str | None,
    max_tokens: str | None,
    tokens_out: str | None,
    tier: Tier,
    price_book: str,
    exact_sample: str | None,
    pilot: str | None,
    keep: bool,
    server: Server,
    on: datetime | None,
) -> None:
    """Check FILE (- is stdin) and say what it will cost, as a range.

    Nothing is sent but by --exact-sample, --pilot and --keep.

    \b
    Example:
      overnight estimate requests.jsonl
      overnight estimate docs.csv --prompt 'Sum up: {text}' --model claude-haiku-4-5
    """
    most = MAX_TOKENS_PER_REQUEST
    counting = piloting = client = None
    if exact_sample or pilot or keep:
        client = server.client()
        if exact_sample:
            counting = asking.exact(client, _rows(exact_sample, "--exact-sample"))
        if pilot:
            piloting = asking.pilot(client, _rows(pilot, "--pilot"), out)
    found = doors.estimate(
        file,
        models,
        tier,
        on=on.date() if on else None,
        book=price_book,
        prompt=prompt,
        max_tokens=whole(max_tokens, name="--max-tokens", at_most=most, at_least=1)
        if max_tokens
        else None,
        output_tokens=number(tokens_out, name="--out", at_most=most) if tokens_out else None,
        exact=counting,
        pilot=piloting,
    )
    estimate_id = _kept(client, found) if client and keep else None
    # Rich is imported by whoever prints a table.
    if out.as_json:
        from overnight.pricing import document

        kept = {"estimate_id": estimate_id} if keep else {}
        out.document(document.of_estimate(found) | kept)
    else:
        from overnight.cli import estimate_table

        estimate_table.show(found, out)
        if estimate_id:
            out.note(f"\nkept as {estimate_id}\n"
                     f"hint: overnight batches create {file} --estimate {estimate_id}")  # fmt: skip


def _rows(text: str, flag: str) -> int:
    return whole(text, name=flag, at_most=MAX_SAMPLE, at_least=1, unit="rows")


def _kept(client: Client, found: "Estimate") -> str:
    """Keep the pilot's range when there is one, else the whole range; give the id."""
    by_pilot = found.pilot_usd
    low = by_pilot.low if by_pilot else found.low_usd
    high = by_pilot.high if by_pilot else found.high_usd
    if low is None or high is None:
        raise InvalidRequest(
            "--keep: a part of the price is unknown, so there is no range to keep",
            hint="name a price book that knows the model",
        )
    return client.keep_estimate(f"{low:f}", f"{high:f}")
