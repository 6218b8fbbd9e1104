"""`overnight batches cost`: what a batch has cost, and will have cost."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from overnight.cli.output import Output, output_options
from overnight.cli.server import Server, server_flags
from overnight.pricing.book import CACHE_CLASSES, TokenClass
from overnight.pricing.money import shown, shown_beside, shown_small

_BUDGET = {
    "batch": "budget of the batch",
    "key": "budget of its key",
    "workspace": "workspace budget",
    "organization": "organization budget",
}


@click.command()
@click.argument("batch_id", metavar="ID")
@server_flags
@output_options
def cost(out: Output, batch_id: str, server: Server) -> None:
    """Show what a batch has cost, and while it runs what it will have cost.

    \b
    Example:
      overnight batches cost msgbatch_01Ab
    """
    client = server.client()
    found = client.cost(client.resolve(batch_id))
    if out.as_json:
        out.document(found)
        return
    for line in _lines(found):
        out.data(line)
    if not found["complete"]:
        out.note("\nhint: a price is unknown; overnight price --model NAME suggests a book")


def _lines(found: Mapping[str, Any]) -> Sequence[str]:
    """Write the statement: the sums first, then a line per model and token class."""
    spent, standard = _usd(found["spent_usd"]), _usd(found["standard_usd"])
    lines = [
        f"{found['id']}  {found['status']}, {found['recorded']:,} of {found['requests']:,} "
        f"requests, {found['succeeded']:,} succeeded",
        f"{'spent':20} {'' if found['complete'] or spent is None else 'at least '}"
        f"{shown_beside(spent, spent)}",
    ]
    projected = found["projected"]
    if projected and found["status"] != "ended":
        low, usd, high = (_usd(projected[name]) for name in ("low_usd", "usd", "high_usd"))
        lines.append(
            f"{'projected':20} {shown_beside(usd, usd)}, from {shown_beside(low, usd)} "
            f"to {shown_beside(high, usd)}"
        )
    saving = _usd(found["saving_usd"])
    if saving is not None:
        lines.append(f"{'standard price':20} {shown_beside(standard, standard)}, "
                     f"saved {shown_beside(saving, standard)}")  # fmt: skip
    if found["cache_hit_percent"] is not None:
        lines.append(f"{'read from the cache':20} {found['cache_hit_percent']:g}% of the prompts")
    if found["auto_cache"]:
        lines += _auto_cached(found["auto_cache"])
    if found["estimate"]:
        lines.append(f"{'estimated':20} {_estimate(found['estimate'])}")
    lines += [f"{_BUDGET[one['scope']]:20} {_budget(one)}" for one in found["budgets"]]
    if found["stopped"]:
        by = _BUDGET[found["stopped"]["by"]]
        lines.append(f"{'stopped':20} {by} is used up; the rest was {found['stopped']['rest_as']}")
    return [*lines, *(_item(line, spent) for line in found["lines"])]


def _auto_cached(found: Mapping[str, Any]) -> Sequence[str]:
    """Say what the breakpoints set by the server did to the cost, and by which tokens."""
    name = f"{'automatic caching':20} "
    if found["requests"] is None:
        return [f"{name}not planned yet"]
    if not found["requests"]:
        return [f"{name}none: no shared beginning would have become cheaper"]
    whole, saving = _usd(found["uncached_usd"]), _usd(found["saving_usd"])
    requests = f"prompts of {found['requests']:,} requests"
    if saving is None:
        return [f"{name}{requests}; what it saved is unknown"]
    word = "saved" if saving >= 0 else "cost more by"
    share = "" if found["saving_percent"] is None else f" ({abs(found['saving_percent']):g}%)"
    return [
        f"{name}{word} {shown_beside(abs(saving), whole)} of {shown_beside(whole, whole)}{share}, "
        f"{requests}",
        *(_cached(line, whole) for line in found["lines"] if line["token_class"] in CACHE_CLASSES),
    ]


def _cached(line: Mapping[str, Any], whole: Decimal | None) -> str:
    label = TokenClass(line["token_class"]).label
    usd, uncached = _usd(line["usd"]), _usd(line["uncached_usd"])
    return (
        f"  {label:18} {line['count']:,} tokens for {shown_beside(usd, whole)} "
        f"instead of {shown_beside(uncached, whole)}"
    )


def _budget(budget: Mapping[str, Any]) -> str:
    limit, used, left = (_usd(budget[name]) for name in ("limit_usd", "used_usd", "left_usd"))
    share = "" if budget["used_percent"] is None else f" ({budget['used_percent']:g}%)"
    period = "" if budget["period"] == "once" else f", {budget['period']}"
    return (
        f"{shown_small(limit)}{period}: used {shown_small(used)}{share}, left {shown_small(left)}"
    )


def _estimate(estimate: Mapping[str, Any]) -> str:
    low, high = shown(_usd(estimate["low_usd"])), shown(_usd(estimate["high_usd"]))
    amount = low if low == high else f"{low} to {high}"
    return f"{amount}: {estimate['verdict']}" if estimate["verdict"] else amount


def _item(line: Mapping[str, Any], spent: Decimal | None) -> str:
    token_class = TokenClass(line["token_class"])
    unit = "1,000" if token_class is TokenClass.WEB_SEARCH else "1M"
    rate = f"${line['rate_usd']} per {unit}" if line["rate_usd"] else "unknown"
    over = f", prompts over {line['over_tokens']:,}" if line["over_tokens"] else ""
    return (
        f"  {line['model'] + over:32}  {token_class.label:16} {line['count']:>14,}  "
        f"{rate:>16}  {shown_beside(_usd(line['usd']), spent):>10}"
    )


def _usd(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
