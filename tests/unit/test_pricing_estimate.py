"""Estimates: every request counted once, ranges that hold, mistakes with their line."""

import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import overnight
from overnight.errors import InvalidRequest
from overnight.pricing import estimate, shelf
from overnight.pricing.automatic import Saved
from overnight.pricing.estimate import Estimate, band
from overnight.tokens import prompt_tokens

ON = date(2026, 11, 22)
SONNET = "claude-sonnet-4-6"


def params(text: str, **more: Any) -> dict[str, Any]:
    return {
        "model": SONNET,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
    } | more


def jsonl(path: Path, requests: Iterable[dict[str, Any]]) -> Path:
    lines = (json.dumps({"custom_id": f"r-{n}", "params": one}) for n, one in enumerate(requests))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def estimated(path: Path, **more: Any) -> Estimate:
    return overnight.estimate(path, on=ON, **more)


@given(
    texts=st.lists(st.text(max_size=300), min_size=1, max_size=20),
    system=st.one_of(st.none(), st.text(min_size=1, max_size=50)),
    tools=st.booleans(),
)
def test_tokens_are_the_sum_of_the_rule_over_requests(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], system: str | None, tools: bool
) -> None:
    tool = {"name": "look_up", "input_schema": {"type": "object"}}
    more = ({"system": system} if system else {}) | ({"tools": [tool]} if tools else {})
    requests = [params(text, **more) for text in texts]
    found = estimated(jsonl(tmp_path_factory.mktemp("x") / "r.jsonl", requests)).models[0]
    assert found.input_tokens == sum(map(prompt_tokens, requests))
    assert found.output_tokens_high == 100 * len(texts)


def test_the_range_brackets_what_is_expected(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", [params("word " * 50)] * 10)
    found = estimated(path, output_tokens=40)
    model = found.models[0]
    assert model.expected and model.low.usd and model.high.usd and model.expected.usd
    assert model.low.usd < model.expected.usd < model.high.usd
    assert (found.low_usd, found.high_usd) == (model.low.usd, model.high.usd)
    assert model.expected.lines[1].count == 400


def test_each_model_of_a_file_is_priced_by_itself(tmp_path: Path) -> None:
    mixed = [params("a"), params("b", model="claude-haiku-4-5"), params("c")]
    found = estimated(jsonl(tmp_path / "r.jsonl", mixed))
    assert [(m.model, m.requests) for m in found.models] == [(SONNET, 2), ("claude-haiku-4-5", 1)]


def test_a_file_can_be_priced_on_other_models(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", [params("a"), params("b", model="llama")])
    found = estimated(path, model=["claude-haiku-4-5", "claude-opus-4-7"])
    assert [(m.model, m.requests) for m in found.models] == [
        ("claude-haiku-4-5", 2),
        ("claude-opus-4-7", 2),
    ]


def test_bare_params_and_a_whole_body_mean_the_same(tmp_path: Path) -> None:
    requests = [params(f"text {n}") for n in range(5)]
    wrapped = jsonl(tmp_path / "wrapped.jsonl", requests)
    bare = tmp_path / "bare.jsonl"
    bare.write_text("\n".join(map(json.dumps, requests)), encoding="utf-8")
    body = tmp_path / "body.json"
    items = [{"custom_id": str(n), "params": one} for n, one in enumerate(requests)]
    body.write_text(json.dumps({"requests": items}, indent=1), encoding="utf-8")
    assert estimated(wrapped).models == estimated(bare).models == estimated(body).models


def test_a_table_is_priced_by_its_template(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_text('id,text\n1,"hello, you"\n2,bye\n', encoding="utf-8")
    found = estimated(path, model=SONNET, prompt="Sum up: {text}", max_tokens=7).models[0]
    written = [params("Sum up: hello, you"), params("Sum up: bye")]
    assert found.input_tokens == sum(map(prompt_tokens, written))
    assert found.output_tokens_high == 14


def test_a_file_is_split_at_the_limits(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", [params("x")] * 20_001)
    assert estimated(path).batches == 3


def test_a_shared_system_prompt_is_found_and_priced(tmp_path: Path) -> None:
    system = "Answer as a careful lawyer would. " * 200
    requests = [params(f"{n} is the question", system=system) for n in range(50)]
    effect = estimated(jsonl(tmp_path / "r.jsonl", requests)).models[0].caching
    assert effect
    tokens = prompt_tokens({"system": system})
    assert (effect.sharing.beginnings, effect.sharing.requests) == (1, 50)
    assert (effect.sharing.write_tokens, effect.sharing.read_tokens) == (tokens, 49 * tokens)
    # 50 × 0.5 p without; 1.25 p + 49 × 0.1 p with.
    saved = tokens * 3 * (Decimal(25) - Decimal("1.25") - Decimal("4.9")) / 10**6
    assert effect.saving_usd == saved


def test_shared_documents_are_found_among_many(tmp_path: Path) -> None:
    documents = [f"Document {d}. " + f"clause {d} " * 900 for d in range(4)]
    requests = [params(f"{text}\nQuestion {q}?") for q in range(6) for text in documents]
    effect = estimated(jsonl(tmp_path / "r.jsonl", requests)).models[0].caching
    assert effect
    assert (effect.sharing.beginnings, effect.sharing.requests) == (4, 24)
    assert effect.saving_usd and effect.saving_usd > 0


def test_a_beginning_too_short_to_be_cached_is_not_offered(tmp_path: Path) -> None:
    requests = [params(f"{n}", system="Be brief.") for n in range(50)]
    assert estimated(jsonl(tmp_path / "r.jsonl", requests)).models[0].caching is None


def test_what_was_assumed_is_written_out(tmp_path: Path) -> None:
    marked = {"cache_control": {"type": "ephemeral"}}
    path = jsonl(tmp_path / "r.jsonl", [params("x", **marked)])
    told = " ".join(estimated(path, output_tokens=5).assumptions)
    for part in ("4 ASCII characters a token", "-15% and +35%", "max_tokens", "5 output tokens",
                 "1 requests ask for it", "10,000 requests"):  # fmt: skip
        assert part in told


@pytest.mark.parametrize(
    ("model", "widest"),
    [
        ("claude-haiku-4-5-20251001", "1.35"),
        ("claude-sonnet-4-6", "1.35"),
        ("claude-sonnet-4-20250514", "1.35"),
        ("claude-3-5-sonnet-20241022", "1.35"),
        ("claude-opus-4-7", "1.75"),
        ("claude-sonnet-5", "1.75"),
        ("claude-haiku-5-5", "1.75"),
        ("qwen-32b", "1.75"),
    ],
)
def test_the_band_follows_the_tokenizer(model: str, widest: str) -> None:
    assert band(model)[1] == Decimal(widest)


GOOD = json.dumps({"custom_id": "a", "params": params("x")})
BROKEN = [
    ("{bad", "r.jsonl:2: not JSON: JSON is malformed"),
    ("[1]", "r.jsonl:2: request: Expected `object`, got `array`"),
    ('{"params": {"max_tokens": 3}}', "r.jsonl:2: params.messages: missing"),
    ('{"params": {"messages": []}}', "r.jsonl:2: params.max_tokens: missing"),
    ('{"messages": [], "max_tokens": 0}', "r.jsonl:2: max_tokens: 0, at least 1"),
    ('{"params": {"messages": [], "max_tokens": 1e30}}', "r.jsonl:2: params.max_tokens: Expected"),
    ('{"params": {"messages": 4}}', "r.jsonl:2: params.messages: Expected"),
]


@pytest.mark.parametrize(("line", "message"), BROKEN)
def test_a_broken_line_is_told_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(InvalidRequest) as refused:
        estimated(path)
    assert message in refused.value.message


def test_twenty_problems_are_told_and_all_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("{\n" * 45, encoding="utf-8")
    with pytest.raises(InvalidRequest) as refused:
        estimated(path)
    lines = refused.value.message.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 25 more problems, 45 in all"


@pytest.mark.parametrize(
    ("name", "text", "more", "message"),
    [
        ("e.jsonl", "\n\n", {}, "no request in it"),
        ("e.csv", "a,b\n1,2\n", {"model": SONNET}, "no column 'prompt' among a, b"),
        ("e.csv", "a,b\n1\n", {"model": SONNET, "prompt": "{a}"}, "e.csv:2: has another number"),
        ("e.csv", "prompt\nhi\n", {}, "1 requests name no model: add --model"),
        ("e.csv", "prompt\nhi\n", {"model": "sonet"}, "'sonet' is not in price book"),
        ("e.json", '{"requests": [{"params": 3}]}', {}, "e.json:requests.0: params: Expected"),
    ],
)
def test_a_file_that_cannot_be_priced_says_why(
    tmp_path: Path, name: str, text: str, more: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRequest) as refused:
        estimated(path, **more)
    assert message in refused.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        estimated(tmp_path / "none.jsonl")


def document_of(letter: str) -> dict[str, Any]:
    return {"type": "text", "text": f"{letter} " * 6_000}


def asked_about(letter: str, number: int, **more: Any) -> dict[str, Any]:
    """Ask a question about one of the documents, after a system prompt that all share."""
    content = [document_of(letter), {"type": "text", "text": f"Question {number}?"}]
    return params("", system="Be brief. " * 1_000) | {
        "messages": [{"role": "user", "content": content}]
    } | more  # fmt: skip


def test_automatic_caching_would_save_what_its_breakpoints_bring(tmp_path: Path) -> None:
    requests = [asked_about(letter, n) for n in range(5) for letter in "abc"]
    path = jsonl(tmp_path / "in.jsonl", requests)
    (found,) = estimated(path).models
    system = prompt_tokens({"system": "Be brief. " * 1_000})
    document = prompt_tokens({"messages": [{"role": "user", "content": [document_of("a")]}]})

    def saving(tokens: int, requests: int) -> Decimal:
        """The system prompt's rates in a batch: 1.50 plain, 3.75 to write, 0.30 to read."""
        written = Decimal("3.75") + (requests - 1) * Decimal("0.30")
        return tokens * (requests * Decimal("1.50") - written) / 1_000_000

    expected = saving(system, 15) + 3 * saving(document, 5)
    assert found.automatic == Saved(expected, 15)
    # In two batches all is written twice.
    halves = jsonl(tmp_path / "two.jsonl", [asked_about("a", n) for n in range(8)])
    book = shelf.open_book(shelf.DEFAULT)
    (split,) = estimate.estimate(str(halves), book=book, on=ON, max_requests=4).models
    assert split.automatic == Saved(2 * saving(system + document, 4), 8)


@pytest.mark.parametrize(
    "requests",
    [
        # Shared within a text only.
        [params("All the same. " * 2_000 + str(n)) for n in range(10)],
        # Marked by their caller.
        [asked_about("a", n, cache_control={"type": "ephemeral"}) for n in range(10)],
        # Too few to pay.
        [asked_about("a", 1), asked_about("a", 2)],
        # Too short for the model.
        [params(str(n), system="Be brief.") for n in range(10)],
    ],
)
def test_automatic_caching_saves_nothing_where_the_server_sets_no_breakpoint(
    tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    (found,) = estimated(jsonl(tmp_path / "in.jsonl", requests)).models
    assert found.automatic == Saved(Decimal(0), 0)
