"""What a sample says about a file: exact where all was seen, a range where some was."""

import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from overnight.errors import InvalidRequest
from overnight.model import Usage
from overnight.pricing import document, estimate, sampling, shelf
from overnight.pricing.sampling import Exact, Params, Pilot, Range, Reservoir

ON = date(2026, 11, 22)
HAIKU = "claude-haiku-4-5"


def test_a_total_of_all_amounts_is_their_sum() -> None:
    amounts = [Decimal(1), Decimal("2.5"), Decimal(4)]
    assert sampling.total(amounts, of=3) == Range(Decimal("7.5"), Decimal("7.5"), Decimal("7.5"))


def test_a_total_is_projected_with_the_spread_of_its_sample() -> None:
    # Mean 2, variance 1 of the amounts; √(1 / 4 × (1 − 4 / 100)) × 100 × 2 = 97.9795897…
    amounts = [Decimal(1), Decimal(3), Decimal("1.5"), Decimal("2.5")]
    found = sampling.total(amounts, of=100)
    assert found
    variance = Decimal("2.5") / 3
    margin = 200 * (variance / 4 * Decimal("0.96")).sqrt()
    assert found.expected == 200
    assert abs(found.high - (200 + margin)) < Decimal("1e-8")
    assert abs(found.low - (200 - margin)) < Decimal("1e-8")


def test_one_amount_of_many_says_nothing() -> None:
    assert sampling.total([Decimal(1)], of=2) is None
    assert sampling.total([], of=2) is None
    assert sampling.ratio([(10, 11)], of=2) is None
    assert sampling.total([Decimal(1)], of=1) == Range(Decimal(1), Decimal(1), Decimal(1))


def test_a_rule_that_is_off_by_one_factor_is_corrected_without_a_margin() -> None:
    found = sampling.ratio([(10, 13), (100, 130), (1_000, 1_300)], of=1_000)
    assert found == Range(Decimal("1.3"), Decimal("1.3"), Decimal("1.3"))


def test_the_range_holds_in_most_samples() -> None:
    draw = Random(1)
    costs = [Decimal(draw.randrange(1, 1_000)) for _ in range(2_000)]
    held = 0
    for _ in range(300):
        found = sampling.total(draw.sample(costs, 50), of=len(costs))
        assert found
        held += found.low <= sum(costs) <= found.high
    assert 300 * 0.9 <= held < 300


def test_every_item_has_the_same_chance_to_be_sampled() -> None:
    reservoir = Reservoir[int](2_000)
    for item in range(20_000):
        reservoir.offer(item)
    drawn = reservoir.draw(2_000)
    assert len(set(drawn)) == 2_000
    halves = sum(item < 10_000 for item in drawn)
    assert 900 < halves < 1_100
    assert reservoir.draw(10) == reservoir.draw(10)


def a_file(folder: Path, count: int) -> str:
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            content = f"Row {number} " + "word " * (number % 7)
            params = {"model": HAIKU, "max_tokens": 50, "temperature": 0.5,
                      "messages": [{"role": "user", "content": content}]}  # fmt: skip
            file.write(json.dumps({"custom_id": f"r-{number}", "params": params}) + "\n")
    return str(path)


def test_exact_counts_replace_the_offline_band(tmp_path: Path) -> None:
    asked: list[Params] = []

    def count(params: Params) -> int:
        asked.append(params)
        return 1_000

    path = a_file(tmp_path, 40)
    found = estimate.estimate(
        path, book=shelf.open_book(), on=ON, exact=Exact(size=40, count=count)
    ).models[0]
    assert len(asked) == 40
    assert {params["max_tokens"] for params in asked} == {50}
    assert {bytes(params["temperature"]) for params in asked} == {b"0.5"}
    assert (found.input_tokens_low, found.input_tokens, found.input_tokens_high) == (40_000,) * 3
    assert found.counted.requests == 40
    some = estimate.estimate(path, book=shelf.open_book(), on=ON, exact=Exact(size=10, count=count))
    [model] = some.models
    assert model.input_tokens_low < model.input_tokens < model.input_tokens_high
    assert any("10 of 40 prompts" in line for line in some.assumptions)


def test_a_pilot_projects_what_its_requests_cost(tmp_path: Path) -> None:
    def run(sample: Sequence[Params]) -> list[Usage | None]:
        # 0.40 × 1,000 + 2.00 × 100 = 0.0006 USD each; the last one fails.
        used = Usage(input_tokens=1_000, output_tokens=100)
        return [*[used] * (len(sample) - 1), None]

    path = a_file(tmp_path, 100)
    found = estimate.estimate(path, book=shelf.open_book(), on=ON, pilot=Pilot(size=10, run=run))
    [model] = found.models
    assert model.pilot and model.pilot.total_usd
    assert (model.pilot.requests, model.pilot.succeeded) == (10, 9)
    assert model.pilot.usd == Decimal("0.0054")
    assert model.pilot.total_usd.expected == Decimal("0.054")
    assert found.pilot_usd == model.pilot.total_usd
    shown = document.of_estimate(found)["models"]
    assert isinstance(shown, list)
    assert shown[0]["pilot"]["expected_usd"] == "0.054"


def test_nothing_is_run_for_a_model_without_a_price(tmp_path: Path) -> None:
    def run(sample: Sequence[Params]) -> list[Usage | None]:
        raise AssertionError("it would have cost money")

    with pytest.raises(InvalidRequest, match="its price is unknown"):
        estimate.estimate(
            a_file(tmp_path, 3),
            book=shelf.open_book(),
            on=ON,
            models=[HAIKU, "claude-haiku-99"],
            pilot=Pilot(size=2, run=run),
        )


def test_a_table_is_sampled_with_the_prompt_filled_in(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\none\ntwo\n", encoding="utf-8")
    asked: list[Params] = []

    def count(params: Params) -> int:
        asked.append(params)
        return 10

    estimate.estimate(
        str(tmp_path / "t.csv"),
        book=shelf.open_book(),
        on=ON,
        models=[HAIKU],
        prompt="Sum up: {text}",
        exact=Exact(size=5, count=count),
    )
    assert sorted(params["messages"][0]["content"] for params in asked) == [
        "Sum up: one", "Sum up: two",
    ]  # fmt: skip
    assert {params["model"] for params in asked} == {HAIKU}
