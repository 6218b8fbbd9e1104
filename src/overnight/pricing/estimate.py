"""What a file of requests will cost: counted offline, as a range, with every assumption named."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from overnight.errors import InvalidRequest
from overnight.model import Usage
from overnight.pricing import prefixes
from overnight.pricing.automatic import SENDERS, Automatic, Saved
from overnight.pricing.book import PriceBook, Tier
from overnight.pricing.caching import min_cacheable_tokens
from overnight.pricing.cost import Cost, cost
from overnight.pricing.prefixes import Group, GroupKey, Sharing
from overnight.pricing.probe import Counted, PilotRun, Probe
from overnight.pricing.quote import unknown_model
from overnight.pricing.rows import Problems, rows
from overnight.pricing.sampling import Exact, Pilot, Range
from overnight.tokens import prompt_tokens

MAX_REQUESTS_PER_BATCH = 10_000
MAX_BATCH_BYTES = 268_435_456
# `{"requests":[` and `]}`; a comma between requests takes the place of the line's end.
_BODY_BYTES = 15

# How far the offline rule may be off, as factors of its count. English prose, code and JSON run
# from 3 to 4.7 characters a token where the rule says 4; models since Claude Opus 4.7 make about
# 30 % more tokens of the same text. Assumed, not measured: docs/decisions/0023.
BAND = (Decimal("0.85"), Decimal("1.35"))
BAND_NEW_TOKENIZER = (Decimal("0.85"), Decimal("1.75"))


class CachingEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What caching the beginnings that requests share would bring; one write each, then reads."""

    sharing: Sharing
    # The counted cost with this caching, and without any; outputs at max_tokens.
    with_caching: Cost
    without: Cost

    @property
    def saving_usd(self) -> Decimal | None:
        if self.with_caching.usd is None or self.without.usd is None:
            return None
        return self.without.usd - self.with_caching.usd


class ModelEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one model, and their cost as a range."""

    model: str
    requests: int
    # By the offline rule, corrected by what was counted exactly.
    input_tokens: int
    input_tokens_low: int
    input_tokens_high: int
    # One token each, to what each allows.
    output_tokens_low: int
    output_tokens_high: int
    low: Cost
    high: Cost
    # With the mean output the caller expects, the input as counted; None when not given.
    expected: Cost | None
    # None when no requests begin alike with as many tokens as the model caches.
    caching: CachingEffect | None
    # What `--auto-cache` would bring; None in another tier than batch.
    automatic: Saved | None = None
    # What a server counted of it.
    counted: Counted = Counted(0, None)
    # What a server ran of it; None when nothing.
    pilot: PilotRun | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a file will cost. No answer was asked for; nothing was sent."""

    name: str
    requests: int
    size_bytes: int
    # How many batches the limits make of it.
    batches: int
    # Requests that carry `cache_control`.
    marked_requests: int
    tier: Tier
    on: date
    book_name: str
    models: tuple[ModelEstimate, ...]
    assumptions: tuple[str, ...]

    @property
    def low_usd(self) -> Decimal | None:
        """Sum the low ends; None when one of them is not known."""
        return _sum([model.low for model in self.models])

    @property
    def high_usd(self) -> Decimal | None:
        return _sum([model.high for model in self.models])

    @property
    def pilot_usd(self) -> Range | None:
        """Sum what pilots say, as if all were off on the same side; None unless all say it."""
        ranges = [model.pilot.total_usd if model.pilot else None for model in self.models]
        known = [found for found in ranges if found is not None]
        if len(known) < len(ranges):
            return None
        return Range(*(sum(ends, Decimal(0)) for ends in zip(*known, strict=True)))


class _Count:
    """The sums of one model."""

    def __init__(self) -> None:
        self.requests = 0
        self.input_tokens = 0
        self.max_output_tokens = 0


def estimate(
    path: str,
    *,
    book: PriceBook,
    on: date,
    tier: Tier = "batch",
    models: Sequence[str] = (),
    prompt: str | None = None,
    max_tokens: int | None = None,
    output_tokens: Decimal | None = None,
    max_requests: int = MAX_REQUESTS_PER_BATCH,
    exact: Exact | None = None,
    pilot: Pilot | None = None,
) -> Estimate:
    """Count a file and price it.

    `models` prices the whole file on each of these; without it each row's own model counts.
    `output_tokens` is the mean output expected; without it only a range is known.
    `exact` and `pilot` ask a server about a sample, once the whole file was found in order.
    Reads the file once, in constant memory but for the sample and 100 bytes per long prompt.

    Raises: InvalidRequest with the first 20 problems and their number.
    """
    problems = Problems(path)
    counts: dict[str | None, _Count] = {}
    groups: dict[GroupKey, Group] = {}
    size_bytes = marked = 0
    split = _Split(max_requests)
    automatic = Automatic(book, on, models)
    probe = Probe(exact, pilot)
    for row in rows(path, problems=problems, prompt=prompt, max_tokens=max_tokens):
        params, group_key = row.params, prefixes.key(row.params)
        if (group := groups.get(group_key)) is None:
            group = groups[group_key] = Group(params)
        count = counts.setdefault(params.model, _Count())
        assert params.messages is not None and params.max_tokens is not None
        group.add(params.messages)
        count.requests += 1
        tokens = group.fixed_tokens + prompt_tokens({"messages": params.messages})
        count.input_tokens += tokens
        count.max_output_tokens += params.max_tokens
        size_bytes += row.size_bytes
        marked += row.marked
        if split.add(row.size_bytes):
            automatic.end_batch()
        automatic.add(row, tokens)
        probe.offer(row, tokens)
    if None in counts and not models:
        problems.add("1", f"{counts[None].requests:,} requests name no model: add --model")
    problems.refuse()
    if not counts:
        raise InvalidRequest(f"{path}: no request in it", hint="one request per line")
    automatic.end_batch()
    whole = _whole(counts.values())
    parts = (
        [(model, whole, list(groups.values())) for model in models]
        if models
        else [
            (str(model), count, [g for g in groups.values() if g.model == model])
            for model, count in counts.items()
        ]
    )
    pricings = [(_Pricing(model, tier, book, on), count, of) for model, count, of in parts]
    for pricing, _, _ in pricings:
        pricing.refuse_unknown()
    found = tuple(
        pricing.model(count, of, output_tokens, probe, automatic, all_rows=bool(models))
        for pricing, count, of in pricings
    )
    return Estimate(
        name=path,
        requests=whole.requests,
        size_bytes=size_bytes,
        batches=split.batches,
        marked_requests=marked,
        tier=tier,
        on=on,
        book_name=book.name,
        models=found,
        assumptions=_assumptions(found, output_tokens, max_requests, marked),
    )


def band(model: str) -> tuple[Decimal, Decimal]:
    """Give the factors between which the true prompt tokens of a model are expected."""
    return BAND_NEW_TOKENIZER if _new_tokenizer(model) else BAND


class _Split:
    """Counts the batches that requests fill, in their order."""

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._requests, self._bytes = 0, _BODY_BYTES
        self.batches = 0

    def add(self, size_bytes: int) -> bool:
        """Take a request in; tell whether it begins another batch."""
        full = self._requests >= self._max_requests or self._bytes + size_bytes > MAX_BATCH_BYTES
        if not self.batches or full:
            self.batches += 1
            self._requests, self._bytes = 0, _BODY_BYTES
        self._requests += 1
        self._bytes += size_bytes
        return self._requests == 1


class _Pricing:
    """Prices usages of one model."""

    def __init__(self, model: str, tier: Tier, book: PriceBook, on: date) -> None:
        self._model, self._book, self._on = model, book, on
        self._tier: Tier = tier

    def refuse_unknown(self) -> None:
        """Raise InvalidRequest when the book has no price for the model."""
        priced = self.price(Usage(), 1)
        if priced.model is None:
            raise unknown_model(priced, self._book)

    def model(
        self,
        count: _Count,
        groups: list[Group],
        output_tokens: Decimal | None,
        probe: Probe,
        automatic: Automatic,
        *,
        all_rows: bool,
    ) -> ModelEstimate:
        requests = count.requests
        counted = probe.counted(self._model, all_rows=all_rows, of=requests)
        low, high = band(self._model)
        factor = counted.factor or Range(low, Decimal(1), high)
        tokens, input_low, input_high = (
            int(count.input_tokens * by) for by in (factor.expected, factor.low, factor.high)
        )
        cheapest = Usage(input_tokens=input_low, output_tokens=requests)
        dearest = Usage(input_tokens=input_high, output_tokens=count.max_output_tokens)
        priced = self.price(cheapest, requests)
        assert priced.model is not None
        expected = None
        if output_tokens is not None:
            output = min(count.max_output_tokens, int(output_tokens * requests))
            expected = self.price(Usage(input_tokens=tokens, output_tokens=output), requests)
        return ModelEstimate(
            model=priced.model,
            requests=requests,
            input_tokens=tokens,
            input_tokens_low=input_low,
            input_tokens_high=input_high,
            output_tokens_low=requests,
            output_tokens_high=count.max_output_tokens,
            low=priced,
            high=self.price(dearest, requests),
            expected=expected,
            caching=self._caching(count, groups),
            automatic=automatic.saved(self._model) if self._tier == "batch" else None,
            counted=counted,
            pilot=probe.piloted(
                self._model, all_rows=all_rows, of=requests, price=lambda used: self.price(used, 1)
            ),
        )

    def price(self, usage: Usage, requests: int) -> Cost:
        return cost(
            usage,
            model=self._model,
            tier=self._tier,
            book=self._book,
            on=self._on,
            requests=requests,
        )

    def _caching(self, count: _Count, groups: list[Group]) -> CachingEffect | None:
        """Take the way to cache each group that costs least, by 5-minute writes."""
        total: Sharing | None = None
        minimum = min_cacheable_tokens(self._model) or 0
        for group in groups:
            ways = [
                (self._extra(way), way) for way in group.sharings() if way.longest_tokens >= minimum
            ]
            known = [(extra, way) for extra, way in ways if extra is not None]
            if known:
                best = min(known, key=lambda pair: pair[0])[1]
                total = best if total is None else _together(total, best)
        if total is None:
            return None
        plain = Usage(
            input_tokens=count.input_tokens,
            output_tokens=count.max_output_tokens,
        )
        cached = msgspec.structs.replace(
            plain,
            input_tokens=count.input_tokens - total.write_tokens - total.read_tokens,
            cache_write_5m_tokens=total.write_tokens,
            cache_read_tokens=total.read_tokens,
        )
        return CachingEffect(
            sharing=total,
            with_caching=self.price(cached, count.requests),
            without=self.price(plain, count.requests),
        )

    def _extra(self, way: Sharing) -> Decimal | None:
        """Give what caching in this way costs more than sending the same tokens."""
        cached = Usage(cache_write_5m_tokens=way.write_tokens, cache_read_tokens=way.read_tokens)
        sent = Usage(input_tokens=way.write_tokens + way.read_tokens)
        one, other = self.price(cached, way.requests), self.price(sent, way.requests)
        if one.usd is None or other.usd is None or not (one.complete and other.complete):
            return None
        return one.usd - other.usd


def _together(one: Sharing, other: Sharing) -> Sharing:
    return Sharing(
        beginnings=one.beginnings + other.beginnings,
        requests=one.requests + other.requests,
        write_tokens=one.write_tokens + other.write_tokens,
        read_tokens=one.read_tokens + other.read_tokens,
        longest_tokens=max(one.longest_tokens, other.longest_tokens),
    )


def _whole(counts: Iterable[_Count]) -> _Count:
    whole = _Count()
    for count in counts:
        whole.requests += count.requests
        whole.input_tokens += count.input_tokens
        whole.max_output_tokens += count.max_output_tokens
    return whole


def _sum(costs: Sequence[Cost]) -> Decimal | None:
    amounts = [priced.usd for priced in costs]
    if not all(priced.complete for priced in costs) or None in amounts:
        return None
    return sum((amount for amount in amounts if amount is not None), Decimal(0))


def _new_tokenizer(model: str) -> bool:
    found = re.search(r"-(\d)(?:[-.](\d)(?!\d))?(?:$|[^\d])", model)
    return found is None or (int(found[1]), int(found[2] or 0)) >= (4, 7)


def _counted(found: ModelEstimate) -> str:
    """Say how a sample that a server counted changed the count."""
    counted, factor = found.counted, found.counted.factor
    assert factor is not None
    low, by, high = ((end - 1) * 100 for end in factor)
    return (
        f"{counted.requests:,} of {found.requests:,} prompts of {found.model} were counted by the "
        f"server: {by:+.1f}% against the offline rule, all of them within {low:+.1f}% and "
        f"{high:+.1f}% in 95 of 100 samples"
    )


def _assumptions(
    found: Sequence[ModelEstimate], output_tokens: Decimal | None, max_requests: int, marked: int
) -> tuple[str, ...]:
    told = [
        "prompt tokens are counted offline: 4 ASCII characters a token, more for other scripts, "
        "plus fixed costs for messages, tools, images and pages",
    ]
    models = [of.model for of in found if of.counted.factor is None]
    for factors in dict.fromkeys(band(model) for model in models):
        low, high = ((factor - 1) * 100 for factor in factors)
        names = ", ".join(model for model in dict.fromkeys(models) if band(model) == factors)
        told.append(f"the true count of {names} is expected within {low:+.0f}% and {high:+.0f}%")
    told += [_counted(of) for of in found if of.counted.factor is not None]
    if any(of.pilot for of in found):
        told.append(
            "a pilot's range holds in 95 of 100 samples; requests that did not succeed cost nothing"
        )
    told.append("output is from one token to max_tokens in every request")
    if output_tokens is not None:
        told.append(f"expected: {output_tokens:f} output tokens a request, as given")
    told.append("every request succeeds; requests that do not are free")
    told.append(
        "the range is without caching"
        + (f", although {marked:,} requests ask for it with cache_control" if marked else "")
    )
    if any(of.automatic and of.automatic.requests for of in found):
        told.append(
            "--auto-cache meets one backend that heeds cache_control, and "
            f"{SENDERS} requests at a time"
        )
    told.append(f"batches hold at most {max_requests:,} requests and {MAX_BATCH_BYTES:,} bytes")
    return tuple(told)
