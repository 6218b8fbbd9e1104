"""A quote as tables for people."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from overnight.cli.output import Output
from overnight.pricing.caching import CachingAdvice
from overnight.pricing.cost import CostLine
from overnight.pricing.money import shown_beside, shown_small
from overnight.pricing.quantity import plain
from overnight.pricing.quote import Option, Quote

MAX_WIDTH = 100


def show(quote: Quote, out: Output) -> None:
    """Print one model itemised, or several side by side; notes go to stderr."""
    console = console_of(out)
    console.print(_question(quote), soft_wrap=True)
    if len(quote.options) == 1:
        option = quote.options[0]
        print_table(console, _itemised(option))
        console.print()
        console.print(_verdict(quote, option), soft_wrap=True)
    else:
        print_table(console, _side_by_side(quote))
    advised = [(option, option.caching) for option in quote.options if option.caching]
    if advised:
        print_table(console, _caching(advised))
    for note in notes(quote):
        out.note(f"note: {note}")


def notes(quote: Quote) -> Iterator[str]:
    """Say what a reader should know about the numbers: what is unknown, and other books'."""
    unknown: dict[str, list[str]] = {}
    for option in quote.options:
        if classes := ", ".join(token_class.label for token_class in option.cost.unknown):
            unknown.setdefault(classes, []).append(option.cost.display_name)
    for classes, names in unknown.items():
        yield f"the batch price of {classes} is unknown on {quote.on} for {', '.join(names)}"
    for option in quote.options:
        if option.caching and option.caching.verdict == "too short":
            without = option.caching.usd_without
            yield (
                f"{option.cost.display_name} caches from {option.caching.min_cacheable_tokens:,} "
                f"tokens on; {_tokens(quote.workload.shared_tokens)} are silently not cached, so "
                f"expect {shown_beside(without, without)}"
            )
    yield from _disagreements(quote)


def _disagreements(quote: Quote) -> Iterator[str]:
    differing = [(option, other) for option in quote.options for other in option.other_costs]
    for other_name in dict.fromkeys(other.book for _, other in differing):
        lines, sources = [], []
        for option, other in differing:
            if other.book != other_name or not (option.cost.source and other.source):
                continue
            total = option.cost.standard_usd
            lines.append(
                f"  {option.cost.display_name}: batch {shown_beside(option.cost.usd, total)} or "
                f"{shown_beside(other.usd, total)}, standard {shown_beside(total, total)} or "
                f"{shown_beside(other.standard_usd, total)}"
            )
            sources = [
                f"  {name} is from {source.title}, {source.read}"
                for name, source in (
                    (quote.book_name, option.cost.source),
                    (other_name, other.source),
                )
            ]
        heading = f"price books disagree, {quote.book_name} or {other_name}:"
        yield "\n".join([heading, *lines, *sources])


def console_of(out: Output) -> Console:
    """Give the console that data is printed on; its width never depends on a pipe."""
    console = Console(no_color=not out.color or None, highlight=False, emoji=False, markup=False)
    console.width = min(console.width, MAX_WIDTH)
    return console


def print_table(console: Console, table: Table) -> None:
    """Print a table below an empty line. Its figures are never cut, only its first column folds."""
    for column in table.columns[1:]:
        cells = (*column.cells, column.header, column.footer)
        column.min_width = max(console.measure(cell).maximum for cell in cells)
    wide = console.options.update(width=1_000)
    console.width = max(console.width, Measurement.get(console, wide, table).minimum)
    console.print()
    console.print(table, soft_wrap=True)


def table_of(*, footer: bool = False) -> Table:
    """Give an empty table in the one style of all tables."""
    return Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_footer=footer,
        footer_style="bold",
    )


def _question(quote: Quote) -> Text:
    work = quote.workload
    parts = [
        f"{work.requests:,} request{'s' if work.requests != 1 else ''}",
        f"{_tokens(work.input_tokens)} in, {_tokens(work.output_tokens)} out each",
    ]
    if work.shared_tokens:
        parts.append(f"{_tokens(work.shared_tokens)} cached for {work.ttl}")
    text = Text(" · ".join(parts), style="bold")
    return text.append(f"\nprices of {quote.on}, book {quote.book_name}", style="not bold dim")


def _tokens(count: Decimal) -> str:
    text = f"{count:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _itemised(option: Option) -> Table:
    table = table_of(footer=True)
    cost = option.cost
    whole = cost.standard_usd
    total = _at_least(cost.complete) + shown_beside(cost.usd, whole)
    standard = _at_least(cost.standard_complete) + shown_beside(whole, whole)
    table.add_column(cost.display_name, footer="total")
    table.add_column("count", justify="right", no_wrap=True, style="dim")
    table.add_column("rate", justify="right", no_wrap=True, style="dim")
    table.add_column("batch", justify="right", no_wrap=True, footer=total, style="green")
    table.add_column("rate", justify="right", no_wrap=True, style="dim")
    table.add_column("standard", justify="right", no_wrap=True, footer=standard)
    for line in cost.lines:
        table.add_row(*_cells(line, whole))
    return table


def _cells(line: CostLine, total: Decimal | None) -> tuple[str, ...]:
    unit = "/k" if line.token_class.per == 1_000 else "/M"
    return (
        line.token_class.label,
        f"{line.count:,}",
        "–" if line.rate_usd is None else shown_small(line.rate_usd) + unit,
        shown_beside(line.usd, total),
        "–" if line.standard_rate_usd is None else shown_small(line.standard_rate_usd) + unit,
        shown_beside(line.standard_usd, total),
    )


def _verdict(quote: Quote, option: Option) -> Text:
    cost, text = option.cost, Text()
    if cost.saving_usd is not None:
        percent = plain(cost.saving_percent) if cost.saving_percent is not None else "0"
        saving = shown_beside(cost.saving_usd, cost.standard_usd)
        text.append(f"Batch saves {saving} ({percent}%).", style="bold green")
    usd = quote.per_request_usd(option.usd(quote.tier))
    if usd is not None:
        text.append(f" {shown_small(usd)} a request, {quote.tier}.")
    return text


def _side_by_side(quote: Quote) -> Table:
    table = table_of()
    table.add_column("model", overflow="fold")
    for name in ("batch", "standard"):
        style = "green" if name == quote.tier else None
        table.add_column(name, justify="right", no_wrap=True, style=style)
    for name in ("saving", "%", "a request", "×"):
        table.add_column(name, justify="right", no_wrap=True, style="dim")
    for option in quote.options:
        cost = option.cost
        times = quote.times_cheapest(option)
        percent, whole = cost.saving_percent, cost.standard_usd
        table.add_row(
            cost.display_name,
            _at_least(cost.complete or cost.usd is None) + shown_beside(cost.usd, whole),
            shown_beside(whole, whole),
            "–" if percent is None else shown_beside(cost.saving_usd, whole),
            "–" if percent is None else plain(percent),
            shown_small(quote.per_request_usd(option.usd(quote.tier))),
            "–" if times is None else plain(times),
        )
    return table


def _caching(advised: Sequence[tuple[Option, CachingAdvice]]) -> Table:
    """Show what caching does: cost without it, with it, and when it pays."""
    table = table_of()
    table.add_column("caching", overflow="fold")
    concurrency = advised[0][1].concurrency
    for name in ("without", "with", "one first", f"{concurrency} at once", "from n", "or hits"):
        table.add_column(name, justify="right", no_wrap=True)
    for option, advice in advised:
        total, least, hits = advice.usd_without, advice.break_even_requests, advice.min_hit_percent
        table.add_row(
            option.cost.display_name.removeprefix("Claude "),
            shown_beside(total, total),
            Text(
                shown_beside(advice.usd_with, total),
                style="green" if advice.verdict == "pays" else "yellow",
            ),
            shown_beside(advice.usd_leader_first, total),
            shown_beside(advice.usd_all_at_once, total),
            "never" if least is None else f"{least:,}",
            "–" if hits is None else f"{plain(hits)}%",
        )
    return table


def _at_least(complete: bool) -> str:
    return "" if complete else "at least "
