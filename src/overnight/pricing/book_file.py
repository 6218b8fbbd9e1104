"""Read a price book from TOML, and say every mistake with its line.

The form is described in docs/concepts/price-books.md. Numbers are read as `Decimal`, digit by
digit; a rate that follows from GPU-hours is rounded once, to 12 decimals.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from typing import Any, cast

from overnight.errors import ConfigInvalid
from overnight.parsing import read_toml
from overnight.pricing.book import (
    CACHE_CLASSES,
    BatchRule,
    CacheRule,
    Entry,
    ListedBook,
    ModelEntry,
    Rate,
    Rules,
    Source,
    TokenClass,
)

FORMAT = 1
MAX_PROBLEMS = 20
MAX_BYTES = 4_000_000
MAX_PRICE = Decimal(10) ** 9
MAX_DECIMALS = 12
_DIVIDE = Context(prec=60, rounding=ROUND_HALF_UP)
_PICO = Decimal(1).scaleb(-MAX_DECIMALS)
_HARDWARE = ("gpu_usd_per_hour", "gpus", "input_tokens_per_s", "output_tokens_per_s", "utilization")
_CLASSES = tuple(TokenClass)
_NO_SOURCE = Source(title="", read=date.min)
_HOSTED_RULES = Rules(batch=BatchRule(factor=Decimal(1), applies_to=frozenset()))

Place = tuple[str | int, ...]
Table = Mapping[str, Any]


def read(path: str) -> ListedBook:
    """Read a book.

    Raises: ConfigInvalid with one `file:line: key: problem` per line, at most 20.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: {error.strerror}", hint="name a book, or the path of a TOML file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigInvalid(f"{path}: not UTF-8", hint="save the book as UTF-8 text") from None
    if len(data) > MAX_BYTES:
        raise ConfigInvalid(f"{path}: more than {MAX_BYTES:,} bytes", hint="split the book")
    return parse(text, file=path)


def parse(text: str, *, file: str) -> ListedBook:
    """Read a book from its text; `file` stands before each problem. Raises: ConfigInvalid."""
    try:
        document = read_toml(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        reason = str(error)[: place.start()] if place else str(error)
        raise ConfigInvalid(
            f"{file}:{line}: {reason}", hint="numbers without quotes, dates as 2026-01-31"
        ) from None
    reader = _Reader()
    book = reader.book(document)
    if reader.problems:
        raise _invalid(reader.problems, file=file, lines=_lines(text))
    return book


class _Missing(Exception):
    """A value that the rest needs is not there; its problem is already noted."""


class _Reader:
    """Turns tables into values and notes every problem with the path of its key."""

    def __init__(self) -> None:
        self.problems: list[tuple[Place, str]] = []

    def book(self, document: Table) -> ListedBook:
        """Give the book; it is whole only when there are no problems."""
        self._known(document, (), ("format", "name", "title", "dated", "source", "rules", "models"))
        if document.get("format", FORMAT) != FORMAT:
            self.problems.append((("format",), f"{document['format']}, only {FORMAT} is known"))
        name, dated, source, rules = "", date.min, _NO_SOURCE, Rules()
        with suppress(_Missing):
            name = self._text(document, (), "name")
        with suppress(_Missing):
            dated = self._date(document, (), "dated")
        with suppress(_Missing):
            source = self._source(document, ())
        with suppress(_Missing):
            rules = self._rules(document.get("rules"), ("rules",))
        entries: list[ModelEntry] = []
        with suppress(_Missing):
            for table, path in self._tables(document, (), "models"):
                if (model := self._model(table, path, rules, source)) is not None:
                    entries.append(model)
        self._unique(entries)
        return ListedBook(
            name=name,
            title=str(document.get("title", name)),
            dated=dated,
            source=source,
            entries=tuple(entries),
        )

    def _model(self, table: Table, path: Place, rules: Rules, source: Source) -> ModelEntry | None:
        self._known(table, path, ("id", "name", "aliases", "rules", "prices"))
        try:
            model_id = self._text(table, path, "id").lower()
            own = table.get("rules")
            hosted = any(
                key in prices
                for prices, _ in self._tables(table, path, "prices")
                for key in _HARDWARE
            )
            if own is not None:
                rules = self._rules(own, (*path, "rules"))
            elif hosted:
                # What a provider charges says nothing about one's own machines.
                rules = _HOSTED_RULES
            entries = [
                self._prices(prices, place, source)
                for prices, place in self._tables(table, path, "prices")
            ]
        except _Missing:
            return None
        aliases = table.get("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(a, str) and a for a in aliases):
            self.problems.append(((*path, "aliases"), "must be a list of names"))
            aliases = []
        listed = sorted((e for e in entries if e), key=lambda entry: entry.since)
        for earlier, later in pairwise(listed):
            if earlier.since == later.since:
                self.problems.append(
                    ((*path, "prices"), f"two entries from {later.since}: prices never change")
                )
        return ModelEntry(
            id=model_id,
            display_name=str(table.get("name", model_id)),
            aliases=tuple(alias.lower() for alias in cast(list[str], aliases)),
            rules=rules,
            entries=tuple(listed),
        )

    def _prices(self, table: Table, path: Place, source: Source) -> Entry | None:
        self._known(table, path, ("from", "source", "batch", "long_prompt", *_HARDWARE, *_CLASSES))
        try:
            since = self._date(table, path, "from")
            if "source" in table:
                source = self._source(table, path)
            return self._entry(table, path, since, source)
        except _Missing:
            return None

    def _entry(self, table: Table, path: Place, since: date, source: Source) -> Entry:
        hosted = any(key in table for key in _HARDWARE)
        standard = self._hosted(table, path) if hosted else {}
        standard |= self._rates(table, path, required=not hosted)
        batch_table = table.get("batch", {})
        self._known(batch_table, (*path, "batch"), _CLASSES)
        batch = self._rates(batch_table, (*path, "batch"), required=False)
        for token_class, rate in batch.items():
            if token_class in standard and rate.usd > standard[token_class].usd:
                reason = f"{rate.usd}, at most the standard {standard[token_class].usd}"
                self.problems.append(((*path, "batch", token_class), reason))
        long_prompt, over_tokens = None, None
        if (longer := table.get("long_prompt")) is not None:
            place = (*path, "long_prompt")
            self._known(longer, place, ("over_tokens", "batch", *_CLASSES))
            over_tokens = int(self._number(longer, place, "over_tokens", positive=True))
            long_prompt = self._entry(longer, place, since, source)
        return Entry(
            since=since,
            standard=standard,
            batch=batch,
            source=source,
            long_prompt=long_prompt,
            over_tokens=over_tokens,
        )

    def _rates(self, table: Table, path: Place, *, required: bool) -> dict[TokenClass, Rate]:
        rates = {}
        needed = (TokenClass.INPUT, TokenClass.OUTPUT) if required else ()
        for token_class in _CLASSES:
            if token_class in table or token_class in needed:
                with suppress(_Missing):
                    usd = self._number(table, path, token_class)
                    rates[token_class] = Rate(usd=usd, steps=f"{usd} ({token_class.label})")
        return rates

    def _hosted(self, table: Table, path: Place) -> dict[TokenClass, Rate]:
        """Turn GPU-hours and tokens per second into the price of a million tokens."""
        for listed in (TokenClass.INPUT, TokenClass.OUTPUT):
            if listed in table:
                self.problems.append(((*path, listed), "follows from gpu_usd_per_hour: drop one"))
        usd_per_hour = self._number(table, path, "gpu_usd_per_hour")
        gpus = self._number(table, path, "gpus", default=Decimal(1), positive=True)
        utilization = self._number(table, path, "utilization", default=Decimal(1), positive=True)
        if utilization > 1:
            self.problems.append(((*path, "utilization"), f"{utilization}, at most 1"))
        rates = {}
        for token_class in (TokenClass.INPUT, TokenClass.OUTPUT):
            speed = self._number(table, path, f"{token_class}_tokens_per_s", positive=True)
            tokens_per_hour = speed * utilization * 3_600
            usd = _DIVIDE.divide(usd_per_hour * gpus * token_class.per, tokens_per_hour)
            rates[token_class] = Rate(
                usd=usd.quantize(_PICO, context=_DIVIDE).normalize(),
                steps=f"{gpus} × {usd_per_hour}/h at {speed * utilization:f} tokens/s",
            )
        base = rates[TokenClass.INPUT]
        # A prompt token costs its computation whether or not the result is kept.
        return rates | {c: base for c in CACHE_CLASSES}

    def _rules(self, table: Any, path: Place) -> Rules:
        if table is None:
            return Rules()
        if not isinstance(table, dict):
            self.problems.append((path, "must be a table"))
            raise _Missing
        self._known(table, path, ("batch", "cache"))
        batch, cache = None, None
        if (given := table.get("batch")) is not None:
            batch = self._batch_rule(given, (*path, "batch"))
        if (given := table.get("cache")) is not None:
            place = (*path, "cache")
            self._known(given, place, ("write_5m", "write_1h", "read"))
            cache = CacheRule(
                write_5m=self._number(given, place, "write_5m"),
                write_1h=self._number(given, place, "write_1h"),
                read=self._number(given, place, "read"),
            )
        return Rules(batch=batch, cache=cache)

    def _batch_rule(self, table: Table, path: Place) -> BatchRule:
        self._known(table, path, ("factor", "applies_to"))
        factor = self._number(table, path, "factor")
        if factor > 1:
            self.problems.append(((*path, "factor"), f"{factor}, at most 1"))
        listed = table.get("applies_to")
        names = [str(c) for c in _CLASSES]
        if not isinstance(listed, list) or not all(c in names for c in listed):
            self.problems.append(((*path, "applies_to"), f"must be a list of {', '.join(names)}"))
            raise _Missing
        return BatchRule(factor=factor, applies_to=frozenset(TokenClass(c) for c in listed))

    def _source(self, table: Table, path: Place) -> Source:
        given, place = table.get("source"), (*path, "source")
        if not isinstance(given, dict):
            self.problems.append((place, "missing: each price says where it was read, and when"))
            raise _Missing
        self._known(given, place, ("title", "url", "read"))
        return Source(
            title=self._text(given, place, "title"),
            url=self._text(given, place, "url") if "url" in given else None,
            read=self._date(given, place, "read"),
        )

    def _unique(self, entries: list[ModelEntry]) -> None:
        seen: dict[str, str] = {}
        for position, entry in enumerate(entries):
            for name in (entry.id, *entry.aliases):
                if name in seen:
                    place = ("models", position, "id")
                    self.problems.append((place, f"{name} already names {seen[name]}"))
                seen[name] = entry.id

    def _known(self, table: Table, path: Place, names: tuple[str, ...]) -> None:
        if not isinstance(table, dict):
            self.problems.append((path, "must be a table"))
            raise _Missing
        for key in table:
            if key not in names:
                allowed = ", ".join(names)
                self.problems.append(((*path, key), f"unknown key; known are {allowed}"))

    def _tables(self, table: Table, path: Place, key: str) -> list[tuple[Table, Place]]:
        value = table.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            self.problems.append(((*path, key), f"missing: write at least one [[…{key}]]"))
            raise _Missing
        return [(item, (*path, key, i)) for i, item in enumerate(value)]

    def _text(self, table: Table, path: Place, key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            self._wrong(table, path, key, "text in quotes")
            raise _Missing
        return value.strip()

    def _date(self, table: Table, path: Place, key: str) -> date:
        value = table.get(key)
        if type(value) is not date:
            self._wrong(table, path, key, "a date such as 2026-01-31")
            raise _Missing
        return value

    def _number(
        self,
        table: Table,
        path: Place,
        key: str,
        *,
        default: Decimal | None = None,
        positive: bool = False,
    ) -> Decimal:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self._wrong(table, path, key, "a number without quotes")
            raise _Missing
        number = Decimal(value)
        exponent = number.as_tuple().exponent
        if not number.is_finite() or not 0 <= number <= MAX_PRICE or (positive and not number):
            least = "more than 0" if positive else "at least 0"
            self.problems.append(((*path, key), f"{value}: {least}, at most {MAX_PRICE:,}"))
            raise _Missing
        if isinstance(exponent, int) and -exponent > MAX_DECIMALS:
            self.problems.append(((*path, key), f"{value}: at most {MAX_DECIMALS} decimals"))
            raise _Missing
        return number

    def _wrong(self, table: Table, path: Place, key: str, wanted: str) -> None:
        reason = f"{table[key]!r}: must be {wanted}" if key in table else f"missing: give {wanted}"
        self.problems.append(((*path, key), reason))


def _invalid(
    problems: list[tuple[Place, str]], *, file: str, lines: Mapping[Place, int]
) -> ConfigInvalid:
    placed = []
    for path, reason in problems:
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in lines), ())
        placed.append((lines.get(known, 1), ".".join(map(str, path)), reason))
    # A table may be looked at twice; its problem is told once.
    placed = sorted(dict.fromkeys(placed))
    listed = [f"{file}:{line}: {key}: {reason}" for line, key, reason in placed[:MAX_PROBLEMS]]
    if len(placed) > MAX_PROBLEMS:
        listed.append(f"and {len(placed) - MAX_PROBLEMS} more problems, {len(placed)} in all")
    return ConfigInvalid("\n".join(listed), hint="docs/concepts/price-books.md shows a whole book")


def _lines(text: str) -> dict[Place, int]:
    """Find the line of each key; tomllib does not tell. The first mention counts."""
    found: dict[Place, int] = {}
    for path, line in _keys(text):
        found.setdefault(path, line)
    return found


def _keys(text: str) -> Iterator[tuple[Place, int]]:
    header = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?")
    key = re.compile(r"""\s*["']?([\w.-]+)["']?\s*=""")
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if opened := header.fullmatch(line):
            table = _table_path(opened[2], array=opened[1] == "[[", counts=counts)
            yield from ((table[:n], number) for n in range(1, len(table) + 1))
        elif assigned := key.match(line):
            yield (*table, *assigned[1].split(".")), number


def _table_path(name: str, *, array: bool, counts: dict[Place, int]) -> Place:
    path: Place = ()
    parts = [part.strip(" \"'") for part in name.split(".")]
    for position, part in enumerate(parts):
        path = (*path, part)
        if array and position == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path
