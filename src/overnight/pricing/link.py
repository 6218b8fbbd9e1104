"""The calculator's state as the fragment of a link: `v=1&m=a,b&n=10k&i=1200&o=300&pb=…`.

Short keys; defaults are left out; the book and the day are always in, so that an old link gives
the old answer. Keys that are not known are kept.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar
from urllib.parse import parse_qsl, quote

import msgspec

from overnight.errors import InvalidRequest
from overnight.pricing.book import TIERS, Tier
from overnight.pricing.quantity import (
    MAX_REQUESTS,
    MAX_TOKENS_PER_REQUEST,
    compact,
    number,
    plain,
    share,
    whole,
)
from overnight.pricing.workload import TTLS, Workload

T = TypeVar("T", bound=str)

VERSION = "1"
MAX_LENGTH = 4_000


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the calculator was asked: a workload, on which models, by which prices."""

    workload: Workload
    models: tuple[str, ...]
    tier: Tier = "batch"
    book: str
    on: date
    # Keys of the link that this version does not know.
    unknown: Mapping[str, str] = {}


def fragment(asked: Question) -> str:
    """Write a question as a link's fragment, without the `#`."""
    work = asked.workload
    pairs = {
        "v": VERSION,
        "m": ",".join(asked.models),
        "n": compact(work.requests),
        "i": compact(work.input_tokens),
        "o": compact(work.output_tokens),
    }
    if work.shared_tokens:
        pairs |= {"s": compact(work.shared_tokens)}
        pairs |= {"ttl": work.ttl} if work.ttl != "5m" else {}
        pairs |= {"h": plain(work.hit_rate)} if work.hit_rate != 1 else {}
    pairs |= {"t": asked.tier} if asked.tier != "batch" else {}
    pairs |= {"pb": asked.book, "on": asked.on.isoformat()} | dict(asked.unknown)
    return "&".join(f"{key}={quote(value, safe=',:@.-_')}" for key, value in pairs.items())


def parse(text: str) -> Question:
    """Read a fragment; `cr`, the cached share of the prompt, may stand for `s`.

    Raises: InvalidRequest.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidRequest(f"link: {len(text):,} characters, at most {MAX_LENGTH:,}")
    pairs = dict(parse_qsl(text.removeprefix("#"), keep_blank_values=True))
    if pairs.pop("v", VERSION) != VERSION:
        raise InvalidRequest("link: made by a newer calculator", hint="upgrade overnight")
    missing = [key for key in ("m", "i", "o", "pb", "on") if not pairs.get(key)]
    if missing:
        raise InvalidRequest(f"link: {', '.join(missing)} missing")
    input_tokens = _tokens(pairs.pop("i"), "i")
    shared = _tokens(pairs.pop("s", "0"), "s")
    if "cr" in pairs:
        shared = input_tokens * share(pairs.pop("cr"), name="link: cr")
    return Question(
        workload=Workload(
            requests=whole(pairs.pop("n", "1"), name="link: n", at_most=MAX_REQUESTS),
            input_tokens=input_tokens,
            output_tokens=_tokens(pairs.pop("o"), "o"),
            shared_tokens=shared,
            ttl=_one_of(pairs.pop("ttl", "5m"), TTLS, "ttl"),
            hit_rate=share(pairs.pop("h", "1"), name="link: h"),
        ),
        models=tuple(pairs.pop("m").split(",")),
        tier=_one_of(pairs.pop("t", "batch"), TIERS, "t"),
        book=pairs.pop("pb"),
        on=_day(pairs.pop("on")),
        unknown=pairs,
    )


def _tokens(text: str, key: str) -> Decimal:
    return number(text, name=f"link: {key}", at_most=MAX_TOKENS_PER_REQUEST, unit="tokens")


def _one_of(value: str, known: Sequence[T], key: str) -> T:
    for candidate in known:
        if candidate == value:
            return candidate
    raise InvalidRequest(f"link: {key}={value}: must be {' or '.join(known)}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"link: on={text}: must be a date such as 2026-01-31") from None
