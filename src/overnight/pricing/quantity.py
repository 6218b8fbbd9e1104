"""Numbers as people write them: `10k`, `1.2M`, `80%`. One reader for every door."""

import re
from decimal import Context, Decimal, InvalidOperation

from overnight.errors import InvalidRequest

MAX_REQUESTS = 10**12
MAX_TOKENS_PER_REQUEST = 10**9
FORMS = "write it as 200, 1.2k or 3M"
_SCALES = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
_FORM = re.compile(
    r"(\d[\d_,]*(?:\.\d+)?|\.\d+)(e\+?\d{1,3})?\s*([kmbgt]?)", re.IGNORECASE | re.ASCII
)
_GROUPED = re.compile(r"\d{1,3}(?:[,_]\d{3})+(?:\.\d+)?", re.ASCII)
_EXACT = Context(prec=60)


def number(text: str, *, name: str, at_most: int, unit: str = "", hint: str = FORMS) -> Decimal:
    """Read a number that is not negative: `200`, `1.2k`, `10_000`, `10,000`, `3M`, `1e6`.

    `name` is what the message calls it (`--in`), `at_most` the limit it states, `hint` how to
    write it.

    Raises: InvalidRequest.
    """
    written = text.strip()
    found = _FORM.fullmatch(written)
    if found is None or (re.search("[,_]", found[1]) and not _GROUPED.fullmatch(found[1])):
        reason = "must not be negative" if written.startswith(("-", "−")) else "not a number"
        raise InvalidRequest(f"{name}: {text!r}: {reason}", hint=hint)
    try:
        digits = _EXACT.create_decimal(re.sub("[,_]", "", found[1]) + (found[2] or ""))
        value = _EXACT.scaleb(digits, _SCALES[found[3].lower()])
    except InvalidOperation:
        raise InvalidRequest(f"{name}: {text!r}: not a number", hint="use fewer digits") from None
    if value > at_most:
        raise InvalidRequest(
            f"{name}: {text} is more than {at_most:,}{f' {unit}' if unit else ''}",
            hint="split the work, or check the unit",
        )
    return value


def whole(text: str, *, name: str, at_most: int, at_least: int = 0, unit: str = "") -> int:
    """Read a whole number. Raises: InvalidRequest."""
    value = number(text, name=name, at_most=at_most, unit=unit)
    if value != int(value):
        raise InvalidRequest(f"{name}: {text} is not a whole number", hint="write 1200 or 1.2k")
    if value < at_least:
        raise InvalidRequest(f"{name}: {text} is less than {at_least}")
    return int(value)


def share(text: str, *, name: str) -> Decimal:
    """Read a share from 0 to 1, also as percent: `0.8`, `80%`. Raises: InvalidRequest."""
    percent = text.strip().endswith("%")
    value = number(text.strip().removesuffix("%"), name=name, at_most=10**9)
    value = value / 100 if percent else value
    if value > 1:
        raise InvalidRequest(
            f"{name}: {text} is more than the whole (1, or 100%)", hint="write it as 0.8 or 80%"
        )
    return value


def compact(count: int | Decimal) -> str:
    """Write a count the short way when that is exact: 10000 is `10k`, 1234 stays `1234`."""
    for letter, power in (("B", 9), ("M", 6), ("k", 3)):
        scaled = Decimal(count).scaleb(-power)
        if scaled >= 1 and len(plain(scaled)) <= 5:
            return plain(scaled) + letter
    return plain(Decimal(count))


def about(count: int) -> str:
    """Write a count to three digits: 22,320,123 is `22.3M`; small ones stay whole."""
    for letter, power in (("T", 12), ("B", 9), ("M", 6), ("k", 3)):
        scaled = Decimal(count).scaleb(-power)
        if scaled >= 10 or (scaled >= 1 and power > 3):
            places = 2 if scaled < 10 else 1 if scaled < 100 else 0
            return plain(round(scaled, places)) + letter
    return f"{count:,}"


def plain(value: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros: `0.8`, `1200`."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
