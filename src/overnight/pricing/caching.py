"""When prompt caching pays: break-even, the shortest prefix, and what order of dispatch brings.

With p, w, r the prices of a prompt token plain, written and read in a tier, n requests that share
a prefix cost n·p without caching and w + (n − 1)·r with it, when one request writes it and all
others read it. Caching is cheaper from the first n with n·(p − r) > w − r.
"""

from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

from overnight.pricing.book import PriceBook, Rates, Tier, TokenClass, spellings
from overnight.pricing.cost import Cost, cost
from overnight.pricing.money import ZERO, percent
from overnight.pricing.workload import Ttl, Workload

DEFAULT_CONCURRENCY = 64

Verdict = Literal["pays", "costs more", "equal", "too short", "unknown"]


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way to send the workload, and its price; None where a price is not known."""

    name: str
    usd: Decimal | None


class CachingAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """What caching the shared prompt of a workload does to its cost."""

    model: str
    tier: Tier
    ttl: Ttl
    verdict: Verdict
    usd_without: Decimal | None
    # As the workload says: with its hit rate.
    usd_with: Decimal | None
    # Smallest number of requests for which caching is cheaper; None: never, or not known.
    break_even_requests: int | None
    # Share of requests after the first that must hit, in percent, for many requests.
    min_hit_percent: Decimal | None
    # Shortest prefix that the model caches; None: not known.
    min_cacheable_tokens: int | None
    concurrency: int
    # One request writes and the others wait for it; against all in flight writing at once.
    usd_leader_first: Decimal | None
    usd_all_at_once: Decimal | None
    # Batch or standard, with caching or without, the cheapest first.
    options: tuple[Option, ...]


def advise(
    workload: Workload,
    *,
    model: str,
    tier: Tier,
    book: PriceBook,
    on: date,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> CachingAdvice:
    """Say what caching the shared prompt brings. Pure."""

    def price(work: Workload, in_tier: Tier = tier) -> Cost:
        return cost(
            work.usage(), model=model, tier=in_tier, book=book, on=on, requests=work.requests
        )

    without, with_caching = price(workload.uncached()), price(workload)
    # The mean prompt decides about long-prompt prices, as it does in `cost`.
    prices = book.prices(model, on=on, prompt_tokens=int(-(-workload.input_tokens // 1)))
    rates = prices.rates(tier) if prices else {}
    minimum = min_cacheable_tokens(without.model or model)
    leader = _with_writers(workload, 1)
    at_once = _with_writers(workload, min(workload.requests, concurrency))
    return CachingAdvice(
        model=without.model or model,
        tier=tier,
        ttl=workload.ttl,
        verdict=_verdict(workload, _known(without), _known(with_caching), minimum),
        usd_without=_known(without),
        usd_with=_known(with_caching),
        break_even_requests=break_even(rates, workload.ttl),
        min_hit_percent=min_hit_percent(rates, workload.ttl),
        min_cacheable_tokens=minimum,
        concurrency=concurrency,
        usd_leader_first=_known(price(leader)),
        usd_all_at_once=_known(price(at_once)),
        options=_options(
            (
                ("batch", _known(price(workload.uncached(), "batch"))),
                ("batch with caching", _known(price(workload, "batch"))),
                ("standard", _known(price(workload.uncached(), "standard"))),
                ("standard with caching", _known(price(workload, "standard"))),
            )
        ),
    )


def break_even(rates: Rates, ttl: Ttl) -> int | None:
    """Give the smallest number of requests for which one write and reads are cheaper.

    None when reading is no cheaper than sending, or a price is unknown.
    """
    plain, write, read = _three(rates, ttl)
    if plain is None or write is None or read is None or plain <= read:
        return None
    return max(1, int((write - read) // (plain - read)) + 1)


def saving(rates: Rates, ttl: Ttl, *, requests: int, writes: int = 1) -> Decimal | None:
    """Give what caching saves on a million prompt tokens that so many requests share.

    `writes` of the requests write, the others read. Negative when that costs more than sending
    all plain; None when a price is unknown.
    """
    plain, write, read = _three(rates, ttl)
    if plain is None or write is None or read is None:
        return None
    return requests * (plain - read) - writes * (write - read)


def min_hit_percent(rates: Rates, ttl: Ttl) -> Decimal | None:
    """Give the hit rate above which caching pays when requests are many."""
    plain, write, read = _three(rates, ttl)
    if plain is None or write is None or read is None or write <= read:
        return None
    return max(ZERO, percent(write - plain, write - read) or ZERO)


def min_cacheable_tokens(model: str) -> int | None:
    """Give the shortest prefix that a model caches; None when that is not known."""
    # The catalogue is read only when caching is asked about.
    from overnight.catalogue import known_models

    found = (known_models().find(name) for name in spellings(model))
    return next((known.min_cacheable_tokens for known in found if known), None)


def _three(rates: Rates, ttl: Ttl) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    write = TokenClass.CACHE_WRITE_5M if ttl == "5m" else TokenClass.CACHE_WRITE_1H
    found = (rates.get(c) for c in (TokenClass.INPUT, write, TokenClass.CACHE_READ))
    plain, written, read = (rate.usd if rate else None for rate in found)
    return plain, written, read


def _with_writers(workload: Workload, writers: int) -> Workload:
    others = workload.requests - 1
    rate = Decimal(workload.requests - writers) / others if others else Decimal(1)
    return msgspec.structs.replace(workload, hit_rate=rate)


def _known(priced: Cost) -> Decimal | None:
    return priced.usd if priced.complete else None


def _verdict(
    workload: Workload, without: Decimal | None, with_: Decimal | None, minimum: int | None
) -> Verdict:
    if minimum is not None and workload.shared_tokens < minimum:
        return "too short"
    if without is None or with_ is None:
        return "unknown"
    if with_ == without:
        return "equal"
    return "pays" if with_ < without else "costs more"


def _options(named: tuple[tuple[str, Decimal | None], ...]) -> tuple[Option, ...]:
    known = sorted(
        (Option(name=name, usd=usd) for name, usd in named if usd is not None),
        key=lambda option: option.usd or ZERO,
    )
    return (*known, *(Option(name=name, usd=None) for name, usd in named if usd is None))
