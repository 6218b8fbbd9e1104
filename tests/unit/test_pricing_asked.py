"""Prices asked for as JSON: the golden cases through HTTP, and what is refused."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import create_test_client

from overnight.errors import InvalidRequest
from overnight.http import prices
from overnight.pricing import asked, listing, shelf

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "prices.json").read_text(encoding="utf-8")
)
CASES = [pytest.param(case, id=case["id"]) for case in GOLDEN["cases"]]


@pytest.mark.parametrize("case", CASES)
def test_every_golden_case_has_the_same_digits_over_http(case: dict[str, Any]) -> None:
    question = case["question"] | {"on": GOLDEN["on"], "book": GOLDEN["book"]}
    with create_test_client(prices.routes) as client:
        answer = client.post("/overnight/v1/price", json=question)
    assert answer.status_code == 200
    shown, expected = answer.json()["models"][0], case["expect"]
    assert {key: shown[key] for key in expected if key != "lines"} == {
        key: value for key, value in expected.items() if key != "lines"
    }
    lines = [{key: line[key] for key in expected["lines"][0]} for line in shown["lines"]]
    assert lines == expected["lines"]


def test_the_books_fit_their_published_schema() -> None:
    with create_test_client(prices.routes) as client:
        books = client.get("/overnight/v1/prices")
        schema = client.get("/overnight/v1/prices/schema.json").json()
    read = msgspec.json.decode(books.content, type=listing.Books)
    assert read == listing.all_books()
    assert [book.name for book in read.books] == [shelf.DEFAULT, shelf.VENDOR_FROZEN]
    described = schema["$defs"]
    assert set(described["DatedPrices"]["required"]) == set(
        books.json()["books"][0]["models"][0]["prices"][0]
    )


def test_numbers_may_be_written_as_people_do() -> None:
    body = {"model": "claude-haiku-4-5", "requests": "100k", "input_tokens": 200}
    found: Any = asked.answer(json.dumps(body | {"output_tokens": "0.05k"}).encode())
    assert found["models"][0]["batch_usd"] == "18.00"


def test_the_usage_of_a_message_is_priced_as_it_is() -> None:
    usage = {"input_tokens": 10**6, "output_tokens": 0, "service_tier": "batch"}
    body = {"model": "claude-haiku-4-5", "usage": usage}
    found: Any = asked.answer(json.dumps(body).encode())
    assert (found["usd"], found["standard_usd"], found["complete"]) == ("0.40", "0.80", True)


def test_a_usage_of_an_unknown_model_has_no_price() -> None:
    body = {"model": "claude-haiku-9", "usage": {"input_tokens": 1, "output_tokens": 1}}
    found: Any = asked.answer(json.dumps(body).encode())
    assert found["usd"] is None
    assert found["complete"] is False
    assert found["near_models"] == ["claude-haiku-4-5"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "unexpected end of data"),
        (b"[]", "Expected `object`"),
        (b'{"modell": 1}', "unknown field `modell`"),
        (b'{"model": "claude-haiku-4-5", "input_tokens": -1}', "input_tokens: '-1': must not be"),
        (b'{"model": "claude-haiku-4-5", "input_tokens": 1e30}', "input_tokens: 1e+30 is more"),
        (b'{"model": "claude-haiku-4-5", "input_tokens": NaN}', "not valid JSON"),
        (b'{"model": "claude-haiku-4-5", "requests": 0}', "requests: 0 is less than 1"),
        (b'{"model": "claude-haiku-4-5", "hit_rate": 1.5}', "hit_rate: 1.5 is more than"),
        (b'{"model": "claude-haiku-4-5", "shared_tokens": 5}', "shared_tokens: 5 is more than"),
        (b'{"model": "sonet"}', "model 'sonet' is not in price book"),
        (b'{"tier": "fast"}', "'fast' - at `$.tier`"),
        (b'{"on": "May"}', "at `$.on`"),
        (b'{"book": "/etc/passwd"}', "book: no price book '/etc/passwd'"),
        (b'{"book": "../books/published-2026.toml"}', "book: no price book"),
        (b'{"usage": {}}', "usage: of one model, but models names 0"),
        (b'{"models": ["' + b"a" * 300 + b'"]}', "a name of 300 characters"),
        (b'{"models": [' + b",".join([b'"m"'] * 60) + b"]}", "models: 60 of them"),
        (b" " * 70_000, "body: 70,000 bytes, at most 64,000"),
    ],
)
def test_a_bad_question_is_refused_with_field_and_value(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked.answer(body)
    assert message in refused.value.message
