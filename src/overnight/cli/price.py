"""`overnight price`: what a job costs, before it runs."""

import os
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from overnight.cli.output import Output, output_options
from overnight.errors import InvalidRequest
from overnight.pricing import doors, shelf
from overnight.pricing.book import TIERS, PriceBook, Tier
from overnight.pricing.caching import DEFAULT_CONCURRENCY
from overnight.pricing.quantity import (
    MAX_REQUESTS,
    MAX_TOKENS_PER_REQUEST,
    number,
    plain,
    share,
    whole,
)
from overnight.pricing.quote import MAX_MODELS, Quote, quote
from overnight.pricing.workload import TTLS, Workload

if TYPE_CHECKING:
    from overnight.pricing.link import Question

DEFAULT_BASE_URL = "http://127.0.0.1:8484"


@click.command()
@click.option("--model", "models", multiple=True, metavar="MODEL", help="Repeatable; default: all.")
@click.option(
    "--requests", default="1", metavar="N", help="How many, as 10k or 1.2M.  [default: 1]"
)
@click.option("--in", "tokens_in", metavar="N", help="Prompt tokens of a request.")
@click.option("--out", "tokens_out", metavar="N", help="Output tokens of a request.")
@click.option("--cache-read", metavar="SHARE", help="Cached share of the prompt: 0.8 or 80%.")
@click.option("--shared", metavar="N", help="The same in tokens: the prompt's shared beginning.")
@click.option("--cache-ttl", type=click.Choice(TTLS), default="5m", show_default=True)
@click.option("--hit-rate", default="1", metavar="SHARE", help="Later requests that hit the cache.")
@click.option("--concurrency", default=str(DEFAULT_CONCURRENCY), metavar="N", show_default=True)
@click.option("--tier", type=click.Choice(TIERS), default="batch", show_default=True)
@click.option("--price-book", default=shelf.DEFAULT, metavar="BOOK", show_default=True,
              help="A name, or your own TOML file.")  # fmt: skip
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Prices of that day.")
@click.option("--link", is_flag=True, help="Print a link to the calculator instead.")
@click.option("--page", metavar="FILE", help="Write the calculator as one HTML file instead.")
@output_options
def price(
    out: Output,
    /,
    models: tuple[str, ...],
    tier: Tier,
    price_book: str,
    on: date | None,
    link: bool,
    page: str | None,
    concurrency: str,
    tokens_in: str | None,
    tokens_out: str | None,
    **numbers: str,
) -> None:
    """Say what a job costs, batch against standard.

    \b
    Example:
      overnight price --model claude-haiku-4-5 --requests 100k --in 200 --out 50
    """
    book = shelf.open_book(price_book)
    day = date(on.year, on.month, on.day) if on else doors.today()
    if page and tokens_in is tokens_out is None:
        _write_page(page, out, book=book, on=day)
        return
    found = quote(
        workload(
            tokens_in=_given(tokens_in, "--in"), tokens_out=_given(tokens_out, "--out"), **numbers
        ),
        models=models or _all(book),
        tier=tier,
        book=book,
        on=day,
        concurrency=whole(concurrency, name="--concurrency", at_most=100_000, at_least=1),
    )
    # Rich is imported by whoever prints a table, urllib by whoever prints a link.
    if page:
        _write_page(page, out, book=book, on=day, question=question_of(found, book.name))
    elif out.as_json:
        from overnight.pricing import document

        out.document(document.of_quote(found) | {"link": link_to(found, price_book)})
    elif link:
        out.data(link_to(found, price_book))
    else:
        from overnight.cli import price_table

        price_table.show(found, out)


def workload(
    *,
    requests: str,
    tokens_in: str,
    tokens_out: str,
    cache_read: str | None = None,
    shared: str | None = None,
    cache_ttl: str = "5m",
    hit_rate: str = "1",
) -> Workload:
    """Read the numbers of the flags. Raises: InvalidRequest that names the flag."""
    if cache_read and shared:
        raise InvalidRequest(
            "--cache-read and --shared say the same thing twice", hint="keep one of them"
        )
    tokens = number(tokens_in, name="--in", at_most=MAX_TOKENS_PER_REQUEST, unit="tokens")
    shared_tokens = Decimal(0)
    if shared:
        shared_tokens = number(shared, name="--shared", at_most=MAX_TOKENS_PER_REQUEST)
    elif cache_read:
        shared_tokens = tokens * share(cache_read, name="--cache-read")
    if shared_tokens > tokens:
        raise InvalidRequest(
            f"--shared: {shared} is more than the whole prompt, --in {plain(tokens)}",
            hint="--in counts the whole prompt, its shared beginning included",
        )
    return Workload(
        requests=whole(requests, name="--requests", at_most=MAX_REQUESTS, at_least=1),
        input_tokens=tokens,
        output_tokens=number(
            tokens_out, name="--out", at_most=MAX_TOKENS_PER_REQUEST, unit="tokens"
        ),
        shared_tokens=shared_tokens,
        ttl="1h" if cache_ttl == "1h" else "5m",
        hit_rate=share(hit_rate, name="--hit-rate"),
    )


def link_to(found: Quote, price_book: str) -> str:
    """Give the link that opens the calculator with this question."""
    from overnight.pricing.link import fragment

    return f"{_base_url()}/price#{fragment(question_of(found, price_book))}"


def question_of(found: Quote, price_book: str) -> "Question":
    """Give the question that a quote answers, as links hold it."""
    from overnight.pricing.link import Question

    return Question(
        workload=found.workload,
        models=tuple(option.cost.model or "" for option in found.options),
        tier=found.tier,
        book=price_book,
        on=found.on,
    )


def _given(value: str | None, flag: str) -> str:
    if value is None:
        raise click.MissingParameter(param_hint=f"'{flag}'", param_type="option")
    return value


def _write_page(
    path: str, out: Output, *, book: PriceBook, on: date, question: "Question | None" = None
) -> None:
    # Jinja is imported by whoever writes a page.
    from overnight.cli import price_page

    price_page.write(path, out, book=book, on=on, base_url=_base_url(), question=question)


def _base_url() -> str:
    return (os.environ.get("OVERNIGHT_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")


def _all(book: PriceBook) -> Sequence[str]:
    """Give the models to show when none is named."""
    if len(book.models) > MAX_MODELS:
        raise InvalidRequest(
            f"price book {book.name} has {len(book.models)} models, at most {MAX_MODELS} fit",
            hint="name one or more with --model",
        )
    return book.models
