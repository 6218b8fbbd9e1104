"""Price books: what a file may say, how mistakes are told, and that the vendor's copy is true."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import Usage as VendorUsage

from overnight.errors import ConfigInvalid
from overnight.model import Usage
from overnight.pricing import book_file, shelf
from overnight.pricing.book import ListedBook, TokenClass
from overnight.pricing.compare import disagreements
from overnight.pricing.cost import cost
from overnight.pricing.freeze import freeze
from overnight.pricing.money import shown
from overnight.pricing.vendor import VendorBook

ON = date(2026, 11, 22)
DOCS = Path(__file__).parents[2] / "docs"
CLAUDE = [
    model.id for provider in providers if provider.id == "anthropic" for model in provider.models
]

OWN = """
name = "ours"
dated = 2026-11-01
[source]
title = "our contract"
read = 2026-10-30
[rules.batch]
factor = 0.4
applies_to = ["input", "output", "cache_read"]
[rules.cache]
write_5m = 1.25
write_1h = 2
read = 0.1

[[models]]
id = "claude-haiku-4-5"
[[models.prices]]
from = 2026-01-01
input = 0.70
output = 3.50
cache_read = 0.05
[[models.prices]]
from = 2026-12-01
input = 0.60
output = 3.00
[models.prices.batch]
output = 1
[models.prices.long_prompt]
over_tokens = 100_000
input = 1.2
output = 6

[[models]]
id = "qwen3-32b"
name = "Qwen3 32B on our H100"
[[models.prices]]
from = 2026-01-01
gpu_usd_per_hour = 2.50
gpus = 2
input_tokens_per_s = 10_000
output_tokens_per_s = 1_500
utilization = 0.8
"""


def own(text: str = OWN) -> ListedBook:
    return book_file.parse(text, file="my.toml")


def rate(model: str, token_class: TokenClass, *, batch: bool = True, on: date = ON) -> Decimal:
    prices = own().prices(model, on=on)
    assert prices
    return prices.rates("batch" if batch else "standard")[token_class].usd


def test_a_negotiated_book_applies_its_own_rule() -> None:
    assert rate("claude-haiku-4-5", TokenClass.INPUT) == Decimal("0.28")
    assert rate("claude-haiku-4-5", TokenClass.CACHE_READ) == Decimal("0.02")
    assert rate("claude-haiku-4-5", TokenClass.CACHE_WRITE_5M) == Decimal("0.875")


def test_prices_change_on_their_day_and_not_before() -> None:
    december = date(2026, 12, 1)
    assert rate("claude-haiku-4-5", TokenClass.INPUT, batch=False) == Decimal("0.70")
    assert rate("claude-haiku-4-5", TokenClass.INPUT, batch=False, on=december) == Decimal("0.60")
    assert rate("claude-haiku-4-5", TokenClass.OUTPUT, on=december) == 1


def test_a_long_prompt_costs_what_the_book_says() -> None:
    prices = own().prices("claude-haiku-4-5", on=date(2026, 12, 1), prompt_tokens=100_001)
    assert prices and prices.long_prompt_tokens == 100_000
    assert prices.standard[TokenClass.INPUT].usd == Decimal("1.2")
    assert prices.batch[TokenClass.INPUT].usd == Decimal("0.48")


def test_gpu_hours_and_speed_give_the_price_of_a_token() -> None:
    # 5 $/h over 8,000 tokens/s × 3,600 s = 28.8 M tokens/h.
    assert rate("qwen3-32b", TokenClass.INPUT) == Decimal("0.173611111111")
    assert rate("qwen3-32b", TokenClass.OUTPUT) == Decimal("1.157407407407")


def test_ones_own_machines_give_no_batch_discount() -> None:
    prices = own().prices("qwen3-32b", on=ON)
    assert prices and prices.batch == prices.standard


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "rates.toml"
    path.write_text(OWN, encoding="utf-8")
    assert shelf.open_book(str(path)).models == ("claude-haiku-4-5", "qwen3-32b")


MISTAKES = [
    ("input = 0.70\n", "", "my.toml:17: models.0.prices.0.input: missing: give a number"),
    ("output = 3.50", 'output = "3.50"', "my.toml:20: models.0.prices.0.output: '3.50': must be"),
    ("input = 0.70", "input = -1", "my.toml:19: models.0.prices.0.input: -1: at least 0"),
    ("input = 0.70", "input = 1e30", "my.toml:19: models.0.prices.0.input: 1E+30: at least 0"),
    ("input = 0.70", "input = nan", "my.toml:19: models.0.prices.0.input: NaN: at least 0"),
    ("input = 0.70", "inputs = 1", "my.toml:19: models.0.prices.0.inputs: unknown key"),
    ("factor = 0.4", "factor = 1.4", "my.toml:8: rules.batch.factor: 1.4, at most 1"),
    ('"cache_read"]', '"reads"]', "my.toml:9: rules.batch.applies_to: must be a list of input"),
    ("from = 2026-12-01", "from = 2026-01-01", "my.toml:17: models.0.prices: two entries from"),
    ("output = 1\n", "output = 9\n", "my.toml:27: models.0.prices.1.batch.output: 9, at most the"),
    ("dated = 2026-11-01\n", "", "my.toml:1: dated: missing: give a date"),
    ("read = 2026-10-30\n", "", "my.toml:4: source.read: missing: give a date"),
    ('id = "qwen3-32b"', 'id = "claude-haiku-4-5"', "my.toml:34: models.1.id: claude-haiku-4-5 al"),
    ("gpus = 2", "gpus = 0", "my.toml:39: models.1.prices.0.gpus: 0: more than 0"),
    ("gpus = 2", "gpus = ", "my.toml:39: Invalid value"),
    ("utilization = 0.8", "utilization = 8", "my.toml:42: models.1.prices.0.utilization: 8, at"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES)
def test_a_mistake_is_told_with_file_line_and_key(right: str, wrong: str, message: str) -> None:
    assert right in OWN
    with pytest.raises(ConfigInvalid) as refused:
        own(OWN.replace(right, wrong, 1))
    assert any(line.startswith(message) for line in refused.value.message.splitlines()), (
        refused.value.message
    )


def test_all_mistakes_are_told_at_once_but_only_twenty() -> None:
    with pytest.raises(ConfigInvalid) as refused:
        own(OWN + "".join(f"extra_{i} = 1\n" for i in range(30)))
    lines = refused.value.message.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 10 more problems, 30 in all"


@pytest.mark.parametrize("document", ["", "models = 3", "[[models]]\nprices = 1", "rules = []"])
def test_a_file_that_is_no_book_is_refused(document: str) -> None:
    with pytest.raises(ConfigInvalid):
        own(document)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe")
    for path in (str(tmp_path / "none.toml"), str(binary)):
        with pytest.raises(ConfigInvalid) as refused:
            shelf.open_book(path)
        assert path in refused.value.message


@pytest.mark.parametrize("model", CLAUDE)
@pytest.mark.parametrize("book", [shelf.VENDOR, shelf.VENDOR_FROZEN])
@pytest.mark.parametrize("on", [date(2026, 3, 1), date(2026, 10, 1), date(2026, 10, 14), ON])
def test_the_vendor_books_agree_with_genai_prices(model: str, book: str, on: date) -> None:
    moment = datetime.combine(on, time(12), tzinfo=UTC)
    for prompt in (1_000, 150_000, 250_000):
        usage = Usage(
            input_tokens=prompt - 600,
            cache_write_5m_tokens=300,
            cache_write_1h_tokens=200,
            cache_read_tokens=100,
            output_tokens=777,
            web_searches=3,
        )
        for tier in ("standard", "batch"):
            found = cost(usage, model=model, tier=tier, book=shelf.open_book(book), on=on)
            if not found.complete:
                continue
            expected = genai_prices.calc_price(
                VendorUsage(
                    input_tokens=prompt,
                    cache_write_tokens=500,
                    cache_write_1h_tokens=200,
                    cache_read_tokens=100,
                    output_tokens=777,
                    web_searches=3,
                ),
                model,
                provider_id="anthropic",
                genai_request_timestamp=moment,
                price_context={"processing": "batch"} if tier == "batch" else None,
            )
            assert found.usd == expected.total_price, (tier, prompt)


def test_every_active_claude_model_has_a_batch_price_in_the_vendor_book() -> None:
    book = shelf.open_book(shelf.VENDOR_FROZEN)
    for model in ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"):
        usage = Usage(input_tokens=1, cache_read_tokens=1, output_tokens=1)
        assert cost(usage, model=model, tier="batch", book=book, on=ON).complete


def test_the_frozen_copy_is_what_the_vendor_book_writes() -> None:
    live = VendorBook()
    written = freeze(live, name=shelf.VENDOR_FROZEN, dated=ON, days=live.days)
    path = Path(book_file.__file__).parent / "books" / f"{shelf.VENDOR_FROZEN}.toml"
    assert path.read_text(encoding="utf-8") == written


def test_books_that_disagree_are_both_quoted_with_source_and_day() -> None:
    found = disagreements(
        "claude-haiku-4-5",
        book=shelf.open_book(),
        others=[shelf.open_book(shelf.VENDOR_FROZEN)],
        on=ON,
    )
    ours, theirs = next(
        d.figures for d in found if d.tier == "batch" and d.token_class == TokenClass.CACHE_READ
    )
    assert (ours.rate_usd, theirs.rate_usd) == (Decimal("0.08"), Decimal("0.05"))
    assert ours.source.url and theirs.source.url
    assert ours.source.read and theirs.source.read


def test_books_that_agree_say_nothing() -> None:
    found = disagreements(
        "claude-sonnet-4-6",
        book=shelf.open_book(),
        others=[shelf.open_book(shelf.VENDOR_FROZEN), shelf.open_book()],
        on=ON,
    )
    # They agree on the base prices and on standard caching; the batch rule is what differs.
    assert {(d.tier, str(d.token_class)) for d in found} == {
        ("batch", "cache_write_5m"),
        ("batch", "cache_write_1h"),
        ("batch", "cache_read"),
    }


def test_the_book_in_the_documentation_is_valid_and_says_what_the_text_says() -> None:
    text = (DOCS / "concepts" / "price-books.md").read_text(encoding="utf-8")
    found = own(text.split("```toml\n")[1].split("```")[0])
    december = found.prices("claude-sonnet-4-6", on=date(2026, 12, 1))
    assert december and december.batch[TokenClass.OUTPUT].usd == 6
    assert december.batch[TokenClass.INPUT].usd == Decimal("1.25")
    hosted = found.prices("qwen3-32b", on=ON)
    assert hosted and hosted.batch == hosted.standard
    assert hosted.standard[TokenClass.CACHE_READ] == hosted.standard[TokenClass.INPUT]


def test_the_prices_compared_in_the_documentation_are_those_of_the_books() -> None:
    text = (DOCS / "concepts" / "price-books.md").read_text(encoding="utf-8")
    for model in shelf.open_book().models:
        cells = []
        for name in (shelf.DEFAULT, shelf.VENDOR_FROZEN):
            prices = shelf.open_book(name).prices(model, on=ON)
            assert prices
            cells.append(
                f"{shown(prices.standard[TokenClass.INPUT].usd)} / "
                f"{shown(prices.standard[TokenClass.OUTPUT].usd)}"
            )
        family, version = model.removeprefix("claude-").split("-", 1)
        label = f"{family.title()} {version.replace('-', '.')}"
        assert f"| {label} | {cells[0]} | {cells[1]} |" in text


def test_the_python_of_the_guide_prints_its_amounts(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "guides" / "price.md").read_text(encoding="utf-8")
    exec(text.split("```python\n")[1].split("```")[0], {})
    amounts = [Decimal(amount) for amount in capsys.readouterr().out.splitlines()[0].split()]
    assert amounts == [18, 36, 18]
