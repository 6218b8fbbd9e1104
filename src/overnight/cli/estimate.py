"""`overnight estimate`: check a file and say what it will cost, before anything is sent."""

from datetime import datetime

import click

from overnight.cli.output import Output, output_options
from overnight.pricing import doors, shelf
from overnight.pricing.book import TIERS, Tier
from overnight.pricing.quantity import MAX_TOKENS_PER_REQUEST, number, whole


@click.command()
@click.argument("file")
@click.option("--model", "models", multiple=True, metavar="MODEL",
              help="Price all rows on it; repeatable.  [default: each row's own]")  # fmt: skip
@click.option("--prompt", metavar="TEXT", help="FILE is a CSV; {column} stands for its cells.")
@click.option("--max-tokens", metavar="N", help="Output limit of rows that have none.")
@click.option("--out", "tokens_out", metavar="N", help="Mean output tokens you expect.")
@click.option("--tier", type=click.Choice(TIERS), default="batch", show_default=True)
@click.option("--price-book", default=shelf.DEFAULT, metavar="BOOK", show_default=True,
              help="A name, or your own TOML file.")  # fmt: skip
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
    on: datetime | None,
) -> None:
    """Check FILE (- is stdin) and say what it will cost, as a range. Nothing is sent.

    \b
    Example:
      overnight estimate requests.jsonl
      overnight estimate docs.csv --prompt 'Sum up: {text}' --model claude-haiku-4-5
    """
    most = MAX_TOKENS_PER_REQUEST
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
    )
    # Rich is imported by whoever prints a table.
    if out.as_json:
        from overnight.pricing import document

        out.document(document.of_estimate(found))
    else:
        from overnight.cli import estimate_table

        estimate_table.show(found, out)
