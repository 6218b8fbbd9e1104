"""Price books: what a token of each class costs, by model, tier and date. Immutable values.

A book answers one question, `prices`; whatever it cannot answer is unknown, never 0.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from overnight.pricing.money import EXACT

Tier = Literal["batch", "standard"]
TIERS: tuple[Tier, ...] = ("batch", "standard")


class TokenClass(StrEnum):
    """What is counted and billed apart; the classes of one usage do not overlap."""

    INPUT = "input"
    CACHE_WRITE_5M = "cache_write_5m"
    CACHE_WRITE_1H = "cache_write_1h"
    CACHE_READ = "cache_read"
    OUTPUT = "output"
    WEB_SEARCH = "web_search"

    @property
    def per(self) -> int:
        """How many of them a rate is for: a million tokens, a thousand searches."""
        return 1_000 if self is TokenClass.WEB_SEARCH else 1_000_000

    @property
    def label(self) -> str:
        """Name the class for people."""
        return _LABELS[self]


_LABELS = {
    TokenClass.INPUT: "input",
    TokenClass.CACHE_WRITE_5M: "cache write 5 m",
    TokenClass.CACHE_WRITE_1H: "cache write 1 h",
    TokenClass.CACHE_READ: "cache read",
    TokenClass.OUTPUT: "output",
    TokenClass.WEB_SEARCH: "web search",
}
CACHE_CLASSES = (TokenClass.CACHE_WRITE_5M, TokenClass.CACHE_WRITE_1H, TokenClass.CACHE_READ)
# A prompt's tokens are those of these classes together.
PROMPT_CLASSES = (TokenClass.INPUT, *CACHE_CLASSES)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a price was read, and when."""

    title: str
    url: str | None = None
    read: date


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The price of `TokenClass.per` units, and how it came about: `0.80 × 0.1 (cache read)`."""

    usd: Decimal
    steps: str


Rates = Mapping[TokenClass, Rate]


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """One model's rates on one date; a class that a tier does not list has no known price."""

    model: str
    display_name: str
    # First day of these prices; None where the book does not say.
    since: date | None
    source: Source
    standard: Rates
    batch: Rates
    # Prompts longer than this many tokens cost more; None when length does not matter.
    long_prompt_tokens: int | None = None

    def rates(self, tier: Tier) -> Rates:
        return self.batch if tier == "batch" else self.standard


class PriceBook(Protocol):
    """A set of prices. No method does I/O or depends on the present time."""

    @property
    def name(self) -> str:
        """Give the name that commands and links use."""
        ...

    @property
    def title(self) -> str: ...

    @property
    def dated(self) -> date:
        """Give the day as of which the book is right."""
        ...

    @property
    def version(self) -> str:
        """Give what tells this state of the book from others of its name."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Give the ids of all models, in the book's order."""
        ...

    def resolve(self, model: str) -> str | None:
        """Give the id of a model named by id, alias or dated id; None when not in the book."""
        ...

    def prices(self, model: str, *, on: date, prompt_tokens: int = 0) -> Prices | None:
        """Give the prices of a model on a day, for prompts of the given length.

        None: the model is not in the book, or had no price yet on that day.
        """
        ...


class BatchRule(msgspec.Struct, frozen=True, kw_only=True):
    """The discount of the batch tier, and which token classes it covers."""

    factor: Decimal
    applies_to: frozenset[TokenClass]


class CacheRule(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of cache classes as multiples of the standard input price."""

    write_5m: Decimal
    write_1h: Decimal
    read: Decimal

    def factor(self, token_class: TokenClass) -> Decimal:
        match token_class:
            case TokenClass.CACHE_WRITE_5M:
                return self.write_5m
            case TokenClass.CACHE_WRITE_1H:
                return self.write_1h
            case _:
                return self.read


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What turns a model's base prices into the rates of all classes and tiers."""

    # Without a rule only the prices that the book lists are known.
    batch: BatchRule | None = None
    cache: CacheRule | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a model from one day on, as its book lists them."""

    since: date
    # USD per `TokenClass.per` units; what is missing follows from the rules.
    standard: Mapping[TokenClass, Rate]
    # Batch prices that the book lists itself; they win over the batch rule.
    batch: Mapping[TokenClass, Rate]
    source: Source
    # What a prompt of more than `over_tokens` tokens costs instead.
    long_prompt: "Entry | None" = None
    over_tokens: int | None = None


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    display_name: str
    aliases: tuple[str, ...] = ()
    rules: Rules
    # By day, oldest first; an entry counts until the next one begins.
    entries: tuple[Entry, ...]


class ListedBook(msgspec.Struct, frozen=True, kw_only=True):
    """A price book that lists its models, as a file does."""

    name: str
    title: str
    dated: date
    source: Source
    entries: tuple[ModelEntry, ...]

    @property
    def version(self) -> str:
        return self.dated.isoformat()

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(entry.id for entry in self.entries)

    def resolve(self, model: str) -> str | None:
        names: dict[str, str] = {}
        for entry in self.entries:
            for listed in (entry.id, *entry.aliases):
                names[listed] = entry.id
        for entry in self.entries:
            for spelling in spellings(entry.id):
                names.setdefault(spelling, entry.id)
        return next((names[name] for name in spellings(model) if name in names), None)

    def prices(self, model: str, *, on: date, prompt_tokens: int = 0) -> Prices | None:
        model_id = self.resolve(model)
        listed = next((entry for entry in self.entries if entry.id == model_id), None)
        if listed is None:
            return None
        valid = [entry for entry in listed.entries if entry.since <= on]
        if not valid:
            return None
        entry, over_tokens = valid[-1], valid[-1].over_tokens
        if entry.long_prompt and over_tokens is not None and prompt_tokens > over_tokens:
            entry = entry.long_prompt
        standard = _standard(entry, listed.rules)
        return Prices(
            model=listed.id,
            display_name=listed.display_name,
            since=entry.since,
            source=entry.source,
            standard=standard,
            batch=_batch(entry, standard, listed.rules.batch),
            long_prompt_tokens=over_tokens,
        )


def spellings(model: str) -> Iterable[str]:
    """Give the names under which a model may be listed, the most exact first.

    A dated id (`-20251001`, `@20251001`, `-2025-10-01`) and `-latest` mean the model itself, and
    versions may be written with a dot.
    """
    name = model.strip().lower().removeprefix("anthropic/")
    undated = re.sub(r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|[-@]latest)$", "", name)
    return dict.fromkeys((name, undated, undated.replace(".", "-")))


def near(model: str, book: PriceBook) -> tuple[str, ...]:
    """Give up to three models of the book whose ids look like the name, the closest first."""
    # Costs 5 ms to import, and only a mistake needs it.
    from difflib import get_close_matches

    name = list(spellings(model))[-1]
    families = {word for listed in book.models for word in _words(listed)}
    meant = {
        family for word in _words(name) for family in get_close_matches(word, families, cutoff=0.75)
    }
    same_family = [listed for listed in book.models if meant & _words(listed)]
    close = get_close_matches(name, book.models, n=3, cutoff=0.7)
    return tuple(dict.fromkeys([*close, *reversed(same_family)]))[:3]


def _words(model: str) -> set[str]:
    """Give the words that tell models apart: `haiku`, without versions and the maker."""
    return {word for word in re.split(r"[-.@:/ ]", model) if word.isalpha()} - {"claude"}


def _standard(entry: Entry, rules: Rules) -> Rates:
    rates = dict(entry.standard)
    base = rates[TokenClass.INPUT].usd
    for token_class in CACHE_CLASSES:
        if token_class not in rates and rules.cache:
            factor = rules.cache.factor(token_class)
            rates[token_class] = Rate(
                usd=EXACT.multiply(base, factor),
                steps=f"{base} × {factor} ({token_class.label})",
            )
    return rates


def _batch(entry: Entry, standard: Rates, rule: BatchRule | None) -> Rates:
    rates = dict(entry.batch)
    for token_class, rate in standard.items():
        if token_class in rates or rule is None:
            continue
        covered = token_class in rule.applies_to
        rates[token_class] = (
            Rate(
                usd=EXACT.multiply(rate.usd, rule.factor),
                steps=f"{rate.steps} × {rule.factor} (batch)",
            )
            if covered
            else rate
        )
    return rates
