"""The page as a document, before any script runs: what it says, and how it is served."""

import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.service import Service, serving, settings_for

from overnight.console import assets, calculator, render
from overnight.pricing import advice, listing
from overnight.settings import Settings

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "prices.json").read_text(encoding="utf-8")
)
ON = date.fromisoformat(GOLDEN["on"])


class _Text(HTMLParser):
    """The words of a document, without scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


def words(html: str) -> str:
    parser = _Text()
    parser.feed(html)
    return " ".join(" ".join(parser.words).split())


@pytest.fixture(scope="module")
def html() -> str:
    return render.served(calculator.page(on=ON, is_served=True))


@pytest.mark.parametrize("rates", GOLDEN["rates"], ids=lambda rates: rates["model"])
def test_the_table_shows_every_published_rate(html: str, rates: dict[str, Any]) -> None:
    name = {"haiku": "Claude Haiku 4.5", "sonnet": "Claude Sonnet 4.6", "opus": "Claude Opus 4.7"}
    rows = re.findall(r'<tr role="row">\n<th scope="row".*?</tr>', html, re.DOTALL)
    row = words(next(r for r in rows if name[rates["model"].split("-")[1]] in r))
    standard, batch = rates["standard"], rates["batch"]
    for token_class in ("input", "output"):
        assert f"batch ${batch[token_class]} standard ${standard[token_class]}" in row
    assert " ".join(f"${standard[c]}" for c in standard if c.startswith("cache")) in row
    assert row.endswith(f"{rates['saving_percent']}%")


def test_the_four_examples_show_their_amounts_and_sums(html: str) -> None:
    text = words(html)
    for case in GOLDEN["cases"][:4]:
        expected = case["expect"]
        _, _, rest = text.partition(case["what"])
        shown = rest[:330]
        assert f"${expected['batch_usd']} instead of ${expected['standard_usd']}" in shown
        assert f"Saved ${expected['saving_usd']} ({expected['saving_percent']}%)" in shown
        for tier in ("batch", "standard"):
            first, second = (line[f"{tier}_rate_usd"] for line in expected["lines"])
            assert re.search(rf"\d+M × \${first} \+ \d+M × \${second}", shown), (tier, shown)


def test_the_answers_name_the_rates_limits_and_rules(html: str) -> None:
    text = words(html)
    for rates in GOLDEN["rates"]:
        batch = rates["batch"]
        assert f"${batch['input']} for a million tokens in, ${batch['output']} out." in text
    for said in (
        "Half of the standard price, on input tokens that are not cached and on all output tokens",
        "Standard rates are exactly twice these",
        "up to 10,000 requests",
        "200K tokens of context",
        "24 hours",
        "Cache writes and cache reads are not discounted",
        "far more than half on the input side",
    ):
        assert said in text, said


def test_the_guide_holds_the_ten_uses_and_the_rule(html: str) -> None:
    text = words(html)
    for use in advice.USE_CASES:
        assert f"{use.name} {use.real_time} {use.batch}" in text
    assert advice.RULE_OF_THUMB in text


def test_prices_name_their_source_and_where_another_book_differs(html: str) -> None:
    text = words(html)
    assert "Claude API Batch Pricing: 50% Off for Async Workloads , read 22 November 2026" in text
    assert "Claude Opus 4.7 batch input $7.50 $2.50" in text
    assert "genai-prices 0.2.3 , read 14 October 2026" in text


def test_nothing_on_the_page_comes_from_elsewhere(html: str) -> None:
    own = calculator.page(on=ON)
    for document in (html, render.self_contained(own)):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="([^"]+)"', document)
        assert all(not re.match(r"(?:https?:)?//", address) for address in loaded), loaded
    assert not re.search(r"@import|url\((?!data:)", assets.text(assets.STYLE))


def test_a_page_of_one_file_allows_only_its_own_scripts() -> None:
    html = render.self_contained(calculator.page(on=ON))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    assert "unsafe" not in policy[1]
    assert policy[1].startswith("default-src &#39;none&#39;") or "default-src 'none'" in policy[1]
    assert html.count("<script") == 3, "data, theme, calculator"
    assert 'src="' not in html.replace("data:image", "")


@pytest.mark.parametrize("address", ['http://a.test/"><script>', "javascript:alert(1)", "//a", ""])
def test_an_address_that_is_none_is_not_shown(address: str) -> None:
    page = calculator.page(on=ON, base_url=address)
    assert page.base_url == calculator.DEFAULT_BASE_URL


def test_names_of_a_price_book_cannot_become_markup() -> None:
    page = calculator.page(on=ON)
    data = page.data | {"books": [{"name": "</script><script>alert(1)</script>"}]}
    html = render.served(msgspec.structs.replace(page, data=data, book_title="<b>Mine</b>"))
    assert "<script>alert" not in html
    assert "<b>Mine" not in html


@pytest.mark.parametrize("path", ["/", "/price"])
async def test_the_page_is_served_with_a_strict_policy(service: Service, path: str) -> None:
    answer = await service.api.call("GET", path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "private" in answer.headers["cache-control"]
    assert service.base_url in answer.body.decode()


async def test_files_are_kept_for_a_year_under_their_own_digest(service: Service) -> None:
    for name, asset in assets.assets().items():
        answer = await service.api.call("GET", f"/static/{assets.digest()}/{name}")
        assert answer.body == asset.content
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].startswith(asset.media_type)
    other = await service.api.call("GET", "/static/0000000000000000/main.js")
    assert (other.status, other.headers["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fassets.py", "calculator.html"])
async def test_other_files_are_not_served(service: Service, name: str) -> None:
    answer = await service.api.call("GET", f"/static/{assets.digest()}/{name}")
    assert answer.status == 404


async def test_the_price_books_are_public_data(service: Service) -> None:
    answer = await service.api.call("GET", "/prices.json")
    assert msgspec.json.decode(answer.body, type=listing.Books) == listing.all_books()


async def test_the_page_needs_no_key_where_the_service_does(tmp_path: Path) -> None:
    settings: Settings = settings_for(tmp_path, api_keys=("secret-key",))
    async with serving(settings) as service:
        for path in ("/", "/price", "/prices.json", f"/static/{assets.digest()}/main.js"):
            assert (await service.api.call("GET", path)).status == 200, path
        assert (await service.api.call("GET", "/v1/messages/batches")).status == 401
