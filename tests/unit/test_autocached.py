"""What automatic caching is said to have saved, against figures worked out by hand."""

from datetime import date
from decimal import Decimal
from typing import Any

from overnight.model import Usage
from overnight.pricing import shelf
from overnight.pricing.autocached import AutoCached, auto_cached, of_auto_cached
from overnight.pricing.tariff import Tariff

ON = date(2026, 11, 22)
# In a batch a million tokens plain 1.50, written 3.75, read 0.30 USD.
SONNET = "claude-sonnet-4-6"


def found(model: str = SONNET, *, callers: Usage | None = None, **ours: int) -> AutoCached:
    usage = {f"{model} (auto-cached)": Usage(**ours)}
    if callers:
        usage[model] = callers
    charges = Tariff(shelf.open_book(shelf.DEFAULT)).charges(usage, tier="batch", on=ON)
    return auto_cached(3, usage, charges)


def test_reads_save_and_writes_cost() -> None:
    saved = found(
        input_tokens=1_000_000, cache_write_5m_tokens=1_000_000, cache_read_tokens=9_000_000,
        output_tokens=5_000_000,
    )  # fmt: skip
    assert [(line.token_class, line.saving_usd) for line in saved.lines] == [
        ("input", Decimal(0)),
        ("cache_write_5m", Decimal("-2.25")),
        ("cache_read", Decimal("10.8")),
    ]
    assert (saved.usd, saved.uncached_usd) == (Decimal("7.95"), Decimal("16.5"))
    assert (saved.saving_usd, saved.saving_percent) == (Decimal("8.55"), Decimal("51.82"))


def test_writes_that_nobody_read_have_cost_more() -> None:
    saved = found(cache_write_5m_tokens=1_000_000, cache_write_1h_tokens=1_000_000)
    assert (saved.usd, saved.uncached_usd) == (Decimal("9.75"), Decimal("3.0"))
    assert (saved.saving_usd, saved.saving_percent) == (Decimal("-6.75"), Decimal(-225))


def test_what_callers_marked_themselves_is_no_saving_of_ours() -> None:
    callers = Usage(cache_read_tokens=7_000_000)
    saved = found(cache_read_tokens=1_000_000, callers=callers)
    assert [line.count for line in saved.lines] == [1_000_000]
    assert saved.saving_usd == Decimal("1.2")


def test_without_a_price_the_saving_is_unknown() -> None:
    saved = found("nobody", cache_read_tokens=1)
    assert (saved.usd, saved.saving_usd, saved.saving_percent) == (None, None, None)
    shown: Any = of_auto_cached(saved)
    assert (shown["saving_usd"], shown["lines"][0]["saving_usd"]) == (None, None)


def test_without_an_answer_nothing_is_saved() -> None:
    saved = found()
    assert (saved.lines, saved.saving_usd, saved.saving_percent) == ([], Decimal(0), None)
