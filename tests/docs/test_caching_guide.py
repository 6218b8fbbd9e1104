"""The figures of the guide on caching are those of the calculator and of the plan."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

from overnight.dispatch.breakpoints import OUTPUT_TOKENS_PER_S
from overnight.pricing import caching, shelf
from overnight.pricing.caching import CachingAdvice
from overnight.pricing.money import shown_beside
from overnight.pricing.workload import Workload
from overnight.prompt import TTL_S

ON = date(2026, 11, 22)
MODEL = "claude-sonnet-4-6"
BOOKS = (shelf.DEFAULT, shelf.VENDOR_FROZEN)
PAGE = (Path(__file__).parents[2] / "docs/guides/caching.md").read_text(encoding="utf-8")


def advice(requests: int, book: str) -> CachingAdvice:
    tokens = Decimal(8_000)
    work = Workload(requests=requests, input_tokens=tokens, shared_tokens=tokens)
    return caching.advise(work, model=MODEL, tier="batch", book=shelf.open_book(book), on=ON)


def test_the_table_is_what_the_calculator_says() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for shown, *amounts in rows:
        found = [advice(int(shown.replace(",", "")), book) for book in BOOKS]
        uncached = found[0].usd_without
        assert found[1].usd_without == uncached
        usd = [uncached, *(one.usd_leader_first for one in found)]
        assert amounts == [shown_beside(one, uncached) for one in usd]


def test_the_smallest_numbers_of_requests_are_those_of_the_books() -> None:
    said = re.search(
        r"pays from (\d) requests .* from (\d) by the second; .* from (\d) and (\d)\.", PAGE
    )
    assert said
    found = []
    for ttl in TTL_S:
        for book in BOOKS:
            prices = shelf.open_book(book).prices(MODEL, on=ON)
            assert prices
            found.append(caching.break_even(prices.batch, "1h" if ttl == "1h" else "5m"))
    assert [int(number) for number in said.groups()] == found


def test_the_longest_answer_that_five_minutes_are_enough_for_is_that_of_the_plan() -> None:
    assert f"`max_tokens` of more than {TTL_S['5m'] * OUTPUT_TOKENS_PER_S:,}" in PAGE
