"""Money as it is computed, written and read: exact, to the cent, with every digit.

Amounts are `Decimal` US dollars and never rounded before they are shown. Rounding is half up:
each shown amount is rounded once, from the exact one, so rounding errors cannot add up, and
half up is what a reader's calculator and spreadsheet give (docs/decisions/0021).
"""

from decimal import (
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

CENT = Decimal("0.01")
ZERO = Decimal(0)

# Refuses to round: a product or sum that did not fit would be an error, never a wrong digit.
EXACT = Context(prec=90, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_SHOWN = Context(prec=90, rounding=ROUND_HALF_UP, traps=[InvalidOperation])
# Amounts below a cent keep this many digits that say something.
_SMALL_DIGITS = 3
_SMALL_TOTAL = Decimal(1)


def to_cent(usd: Decimal) -> Decimal:
    """Round to the cent, half up."""
    return usd.quantize(CENT, context=_SHOWN)


def exact(usd: Decimal) -> str:
    """Write every digit and at least two decimals: `18.00`, `0.0001625`. The form of JSON."""
    if usd == usd.quantize(CENT, context=_SHOWN):
        return str(to_cent(usd))
    return f"{usd.normalize(_SHOWN):f}"


def shown(usd: Decimal | None, *, at_least: bool = False) -> str:
    """Write an amount to the cent for people: `$1,234.50`; unknown is a word, never 0.

    An amount that is not zero never shows as `$0.00`.
    """
    if usd is None:
        return "unknown"
    cents, sign = to_cent(abs(usd)), "-" if usd < 0 else ""
    figure = "<$0.01" if usd and not cents else f"{sign}${cents:,}"
    return f"at least {figure}" if at_least else figure


def shown_small(usd: Decimal | None) -> str:
    """Write the price of one thing, a request or a rate: cents, or three digits below that."""
    if usd is None:
        return "unknown"
    if usd == to_cent(usd) or abs(usd) >= 1:
        return shown(usd)
    places = max(2, _SMALL_DIGITS - 1 - usd.adjusted())
    rounded = usd.quantize(Decimal(1).scaleb(-places), context=_SHOWN).normalize(_SHOWN)
    text = f"{abs(rounded):f}"
    decimals = len(text.partition(".")[2])
    return f"{'-' if usd < 0 else ''}${text}{'0' * max(0, 2 - decimals) if '.' in text else ''}"


def shown_beside(usd: Decimal | None, total: Decimal | None) -> str:
    """Write an amount that stands in a sum: to the cent, finer when the whole sum is small."""
    small = total is not None and abs(total) < _SMALL_TOTAL
    return shown_small(usd) if small else shown(usd)


def percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """Give `part` of `whole` in percent, rounded to two decimals; None when there is no whole."""
    if not whole:
        return None
    rounded = _SHOWN.divide(part * 100, whole).quantize(CENT, context=_SHOWN)
    return Decimal(int(rounded)) if rounded == int(rounded) else rounded.normalize(_SHOWN)
