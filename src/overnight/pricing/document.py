"""Prices as JSON documents: the same from the command line, over HTTP and on the page.

Money is a decimal string with every digit, or null where a price is unknown; counts and percents
are numbers. docs/reference/json.md lists the fields.
"""

from decimal import Decimal

from overnight.pricing.book import Source
from overnight.pricing.caching import CachingAdvice
from overnight.pricing.compare import Disagreement
from overnight.pricing.cost import Cost, CostLine
from overnight.pricing.estimate import Estimate, ModelEstimate
from overnight.pricing.money import exact
from overnight.pricing.probe import PilotRun
from overnight.pricing.quote import Option, Quote

Document = dict[str, object]


def money(usd: Decimal | None) -> str | None:
    return None if usd is None else exact(usd)


def number(value: Decimal | None) -> int | float | None:
    """Give a count or percent as JSON writes it: whole where it is whole."""
    if value is None:
        return None
    return int(value) if value == int(value) else float(value)


def of_quote(quote: Quote) -> Document:
    work = quote.workload
    return {
        "requests": work.requests,
        "input_tokens": number(work.input_tokens),
        "output_tokens": number(work.output_tokens),
        "shared_tokens": number(work.shared_tokens),
        "cache_ttl": work.ttl,
        "hit_rate": number(work.hit_rate),
        "tier": quote.tier,
        "on": quote.on.isoformat(),
        "book": {
            "name": quote.book_name,
            "title": quote.book_title,
            "dated": quote.book_dated.isoformat(),
        },
        "models": [_option(quote, option) for option in quote.options],
    }


def of_cost(cost: Cost) -> Document:
    """Show one cost; its `usd` is a lower bound unless `complete`."""
    return {
        "model": cost.model,
        "asked_model": cost.asked_model,
        "name": cost.display_name,
        "tier": cost.tier,
        "on": cost.on.isoformat(),
        "book": cost.book,
        "source": of_source(cost.source) if cost.source else None,
        "usd": money(cost.usd),
        "standard_usd": money(cost.standard_usd),
        "saving_usd": money(cost.saving_usd),
        "saving_percent": number(cost.saving_percent),
        "complete": cost.complete,
        "unknown": [str(token_class) for token_class in cost.unknown],
        "near_models": list(cost.near_models),
        "lines": [
            {
                "token_class": str(line.token_class),
                "count": line.count,
                "per": line.token_class.per,
                "rate_usd": money(line.rate_usd),
                "usd": money(line.usd),
                "standard_rate_usd": money(line.standard_rate_usd),
                "standard_usd": money(line.standard_usd),
                "steps": line.steps,
            }
            for line in cost.lines
        ],
    }


def of_estimate(estimate: Estimate) -> Document:
    return {
        "file": estimate.name,
        "requests": estimate.requests,
        "size_bytes": estimate.size_bytes,
        "batches": estimate.batches,
        "marked_requests": estimate.marked_requests,
        "tier": estimate.tier,
        "on": estimate.on.isoformat(),
        "book": estimate.book_name,
        "low_usd": money(estimate.low_usd),
        "high_usd": money(estimate.high_usd),
        "models": [_model_estimate(model) for model in estimate.models],
        "assumptions": list(estimate.assumptions),
    }


def of_source(source: Source) -> Document:
    return {"title": source.title, "url": source.url, "read": source.read.isoformat()}


def of_caching(advice: CachingAdvice) -> Document:
    return {
        "verdict": advice.verdict,
        "ttl": advice.ttl,
        "usd_without": money(advice.usd_without),
        "usd_with": money(advice.usd_with),
        "break_even_requests": advice.break_even_requests,
        "min_hit_percent": number(advice.min_hit_percent),
        "min_cacheable_tokens": advice.min_cacheable_tokens,
        "concurrency": advice.concurrency,
        "usd_leader_first": money(advice.usd_leader_first),
        "usd_all_at_once": money(advice.usd_all_at_once),
        "options": [{"name": o.name, "usd": money(o.usd)} for o in advice.options],
    }


def _option(quote: Quote, option: Option) -> Document:
    cost = option.cost
    return {
        "model": cost.model,
        "asked_model": cost.asked_model,
        "name": cost.display_name,
        "usd": money(option.usd(quote.tier)),
        "batch_usd": money(cost.usd),
        "standard_usd": money(cost.standard_usd),
        "saving_usd": money(cost.saving_usd),
        "saving_percent": number(cost.saving_percent),
        "complete": option.complete(quote.tier),
        "per_request_usd": money(quote.per_request_usd(option.usd(quote.tier))),
        "times_cheapest": number(quote.times_cheapest(option)),
        "source": of_source(cost.source) if cost.source else None,
        "lines": [_line(line) for line in cost.lines],
        "caching": of_caching(option.caching) if option.caching else None,
        "disagreements": [_disagreement(d) for d in option.disagreements],
        "other_books": [
            {
                "book": other.book,
                "batch_usd": money(other.usd),
                "standard_usd": money(other.standard_usd),
                "source": of_source(other.source) if other.source else None,
            }
            for other in option.other_costs
        ],
    }


def _line(line: CostLine) -> Document:
    return {
        "token_class": str(line.token_class),
        "count": line.count,
        "per": line.token_class.per,
        "batch_rate_usd": money(line.rate_usd),
        "batch_usd": money(line.usd),
        "standard_rate_usd": money(line.standard_rate_usd),
        "standard_usd": money(line.standard_usd),
        "steps": line.steps,
    }


def _disagreement(difference: Disagreement) -> Document:
    return {
        "tier": difference.tier,
        "token_class": str(difference.token_class),
        "per": difference.token_class.per,
        "figures": [
            {"book": f.book, "rate_usd": exact(f.rate_usd), "source": of_source(f.source)}
            for f in difference.figures
        ],
    }


def _pilot(run: PilotRun) -> Document:
    total = run.total_usd
    return {
        "requests": run.requests,
        "succeeded": run.succeeded,
        "usd": money(run.usd),
        "low_usd": money(total.low) if total else None,
        "expected_usd": money(total.expected) if total else None,
        "high_usd": money(total.high) if total else None,
    }


def _model_estimate(model: ModelEstimate) -> Document:
    effect = model.caching
    return {
        "model": model.model,
        "requests": model.requests,
        "input_tokens": model.input_tokens,
        "input_tokens_low": model.input_tokens_low,
        "input_tokens_high": model.input_tokens_high,
        "output_tokens_low": model.output_tokens_low,
        "output_tokens_high": model.output_tokens_high,
        "low": of_cost(model.low),
        "high": of_cost(model.high),
        "expected": of_cost(model.expected) if model.expected else None,
        "counted_requests": model.counted.requests,
        "pilot": _pilot(model.pilot) if model.pilot else None,
        "auto_cache": None
        if model.automatic is None
        else {
            "requests": model.automatic.requests,
            "saving_usd": money(model.automatic.usd),
        },
        "caching": None
        if effect is None
        else {
            "beginnings": effect.sharing.beginnings,
            "requests": effect.sharing.requests,
            "longest_tokens": effect.sharing.longest_tokens,
            "write_tokens": effect.sharing.write_tokens,
            "read_tokens": effect.sharing.read_tokens,
            "usd_without": money(effect.without.usd),
            "usd_with": money(effect.with_caching.usd),
            "saving_usd": money(effect.saving_usd),
        },
    }
