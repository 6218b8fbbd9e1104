"""An estimate as tables for people."""

from decimal import Decimal

from rich.table import Table
from rich.text import Text

from overnight.cli.output import Output
from overnight.cli.price_table import console_of, print_table, table_of
from overnight.pricing.automatic import Saved
from overnight.pricing.cost import Cost
from overnight.pricing.estimate import Estimate, ModelEstimate
from overnight.pricing.money import shown_beside
from overnight.pricing.probe import PilotRun
from overnight.pricing.quantity import about


def show(estimate: Estimate, out: Output) -> None:
    """Print counts and ranges; the assumptions go to stderr."""
    console = console_of(out)
    console.print(_heading(estimate), soft_wrap=True)
    print_table(console, _table(estimate))
    if standard := _standard(estimate):
        console.print()
        console.print(standard, soft_wrap=True)
    for model in estimate.models:
        if model.caching:
            console.print()
            console.print(_caching(model, marked=bool(estimate.marked_requests)), soft_wrap=True)
            if model.automatic:
                console.print(_automatic(model, model.automatic), soft_wrap=True)
    for model in estimate.models:
        if model.pilot:
            console.print()
            console.print(_pilot(model, model.pilot), soft_wrap=True)
    out.note("assumed:\n" + "\n".join(f"  {line}" for line in estimate.assumptions))
    if not any(model.expected for model in estimate.models):
        out.note("\nhint: --out N gives an expected cost beside the range")


def _heading(estimate: Estimate) -> Text:
    requests = f"{estimate.requests:,} request{'s' if estimate.requests != 1 else ''}"
    batches = f"{estimate.batches:,} batch{'es' if estimate.batches != 1 else ''}"
    text = Text(f"{estimate.name}: {requests} in {batches}", style="bold")
    megabytes = estimate.size_bytes / 1_000_000
    size = f"{megabytes:,.1f} MB" if megabytes >= 1 else f"{estimate.size_bytes:,} bytes"
    text.append(f", {size}")
    line = f"\n{estimate.tier} prices of {estimate.on}, book {estimate.book_name}"
    return text.append(line, style="not bold dim")


def _table(estimate: Estimate) -> Table:
    expects = any(model.expected for model in estimate.models)
    table = table_of()
    table.add_column("model", overflow="fold")
    for name in ("requests", "in", "max. out"):
        table.add_column(name, justify="right", style="dim", no_wrap=True)
    table.add_column("from", justify="right", style="green", no_wrap=True)
    if expects:
        table.add_column("expected", justify="right", style="bold", no_wrap=True)
    table.add_column("to", justify="right", no_wrap=True)
    for model in estimate.models:
        whole = model.high.usd
        expected = [_amount(model.expected, whole)] if expects else []
        table.add_row(
            model.low.display_name,
            about(model.requests),
            about(model.input_tokens),
            about(model.output_tokens_high),
            _amount(model.low, whole),
            *expected,
            _amount(model.high, whole),
        )
    return table


def _standard(estimate: Estimate) -> Text:
    """Say what the dear end would cost by the other tier."""
    text = Text()
    highs = [model.high for model in estimate.models]
    if len(highs) == 1 and highs[0].saving_usd:
        whole = highs[0].standard_usd
        text.append(
            f"Batch saves up to {shown_beside(highs[0].saving_usd, whole)} "
            f"of {shown_beside(whole, whole)} standard.",
            style="bold green",
        )
    return text


def _amount(cost: Cost | None, whole: Decimal | None) -> str:
    if cost is None:
        return "–"
    amount = shown_beside(cost.usd, whole)
    return amount if cost.complete or cost.usd is None else f"at least {amount}"


def _pilot(model: ModelEstimate, run: PilotRun) -> Text:
    text = Text("pilot", style="bold")
    text.append(
        f", {model.low.display_name}: {run.succeeded:,} of {run.requests:,} requests succeeded "
        f"and cost {shown_beside(run.usd, run.usd)}; ",
        style="not bold",
    )
    total = run.total_usd
    if total is None:
        return text.append("too few to project from.", style="not bold")
    low, expected, high = (shown_beside(usd, total.expected) for usd in total)
    return text.append(
        f"all {model.requests:,} will cost about {expected}, from {low} to {high}.",
        style="not bold green",
    )


def _caching(model: ModelEstimate, *, marked: bool) -> Text:
    assert model.caching
    sharing, saving = model.caching.sharing, model.caching.saving_usd
    text = Text("caching", style="bold")
    text.append(f", {model.low.display_name}: ", style="not bold")
    many = sharing.beginnings != 1
    text.append(
        f"{sharing.requests:,} requests share {sharing.beginnings:,} "
        f"beginning{'s' if many else ''} of up to {sharing.longest_tokens:,} tokens; ",
        style="not bold",
    )
    if saving is None:
        return text.append("its price is unknown.", style="not bold")
    whole = model.caching.without.usd
    if saving <= 0:
        return text.append("caching them would not pay.", style="not bold")
    text.append(
        f"caching them saves {shown_beside(saving, whole)} of {shown_beside(whole, whole)}",
        style="not bold green",
    )
    return text.append("." if marked else ": mark their end with cache_control.", style="not bold")


def _automatic(model: ModelEstimate, saved: Saved) -> Text:
    """Say what the server would save by itself, which marks whole blocks only."""
    text = Text("--auto-cache", style="bold")
    if not saved.requests:
        return text.append(" would save nothing: it marks whole blocks only.", style="not bold")
    assert model.caching
    whole = model.caching.without.usd
    return text.append(
        f" would save {shown_beside(saved.usd, whole)} of {shown_beside(whole, whole)}",
        style="not bold green",
    ).append(f": breakpoints in {saved.requests:,} requests, set by the server.", style="not bold")
