"""The golden prices through the real application, which asks nobody for a key here."""

import json
from pathlib import Path
from typing import Any

import msgspec
from tests.support.service import serving, settings_for

from overnight.pricing import listing

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "prices.json").read_text(encoding="utf-8")
)


async def test_every_golden_case_has_the_same_digits_without_a_key(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, worker=False, api_keys=("sk-1",))) as service:
        for case in GOLDEN["cases"]:
            question = case["question"] | {"on": GOLDEN["on"], "book": GOLDEN["book"]}
            body = msgspec.json.encode(question)
            answer = await service.api.call("POST", "/overnight/v1/price", body)
            assert answer.status == 200, case["id"]
            shown, expected = answer.json["models"][0], case["expect"]
            found = {key: shown[key] for key in expected} | {
                "lines": [
                    {key: line[key] for key in expected["lines"][0]} for line in shown["lines"]
                ]
            }
            assert found == expected, case["id"]


async def test_the_books_are_public_with_their_schema(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, worker=False, api_keys=("sk-1",))) as service:
        books = await service.api.call("GET", "/overnight/v1/prices")
        schema = await service.api.call("GET", "/overnight/v1/prices/schema.json")
    assert msgspec.json.decode(books.body, type=listing.Books) == listing.all_books()
    assert schema.json["$ref"]
