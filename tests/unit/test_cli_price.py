"""`overnight price`, `estimate` and `advise`, as a user calls them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from overnight.cli.program import program, run
from overnight.errors import InvalidRequest, OvernightError
from overnight.pricing import link

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "prices.json").read_text(encoding="utf-8")
)
CASES = [pytest.param(case, id=case["id"]) for case in GOLDEN["cases"]]
EXAMPLE = ["--model", "claude-haiku-4-5", "--requests", "100k", "--in", "200", "--out", "50"]


def called(command: str, *args: str, width: int = 80, **more: Any) -> Result:
    result = CliRunner().invoke(program, [command, *args], env={"COLUMNS": str(width)}, **more)
    if isinstance(result.exception, OvernightError):
        raise result.exception
    assert result.exception is None, result.output
    return result


def document(command: str, *args: str, **more: Any) -> Any:
    return json.loads(called(command, *args, "--json", **more).stdout)


def flags(question: dict[str, Any]) -> list[str]:
    names = {"input_tokens": "in", "output_tokens": "out", "shared_tokens": "shared"}
    names |= {key: key.replace("_", "-") for key in question if key not in names}
    return [part for key, value in question.items() for part in (f"--{names[key]}", str(value))]


@pytest.mark.parametrize("case", CASES)
def test_the_command_gives_the_digits_of_every_golden_case(case: dict[str, Any]) -> None:
    shown = document("price", *flags(case["question"]), "--on", GOLDEN["on"])["models"][0]
    expected = case["expect"]
    assert {key: shown[key] for key in expected if key != "lines"} == {
        key: value for key, value in expected.items() if key != "lines"
    }
    lines = [{key: line[key] for key in expected["lines"][0]} for line in shown["lines"]]
    assert lines == expected["lines"]


def test_the_table_shows_lines_totals_and_saving() -> None:
    shown = called("price", *EXAMPLE).stdout
    for part in ("100,000 requests · 200 in, 50 out each", "20,000,000", "$0.40/M", "$8.00",
                 "$18.00", "$36.00", "Batch saves $18.00 (50%). $0.00018 a request"):  # fmt: skip
        assert part in shown


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    shown = called(
        "price", "--requests", "1M", "--in", "8k", "--out", "2k", "--cache-read", "50%", width=width
    ).stdout
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown


def test_figures_too_wide_for_the_terminal_are_never_cut() -> None:
    shown = called("price", "--requests", "10B", "--in", "8k", "--out", "2k", width=40).stdout
    assert "$1,350,000,000.00" in shown
    assert "…" not in shown


def test_all_models_of_the_book_stand_side_by_side() -> None:
    models = document("price", "--in", "1k", "--out", "1k")["models"]
    assert [model["model"] for model in models] == [
        "claude-haiku-4-5",
        "claude-sonnet-4-6",
        "claude-opus-4-7",
    ]
    assert [model["times_cheapest"] for model in models] == [1, 3.75, 18.75]


def test_other_books_that_disagree_are_named_on_stderr_and_in_json() -> None:
    result = called("price", *EXAMPLE)
    assert "batch $18.00 or $22.50, standard $36.00 or $45.00" in result.stderr
    assert "genai-prices" in result.stderr and "2026-10-14" in result.stderr
    assert "vendor" not in result.stdout
    other = document("price", *EXAMPLE)["models"][0]["other_books"]
    assert [(book["batch_usd"], book["standard_usd"]) for book in other] == [("22.50", "45.00")]


def test_quiet_leaves_the_data_and_drops_the_notes() -> None:
    loud, quiet = called("price", *EXAMPLE), called("price", *EXAMPLE, "-q")
    assert (quiet.stdout, quiet.stderr) == (loud.stdout, "")


def test_a_shared_prompt_brings_caching_advice() -> None:
    args = ["--requests", "10k", "--in", "8.4k", "--out", "300", "--cache-read", "0.8"]
    advice = document("price", "--model", "claude-sonnet-4-6", *args)["models"][0]["caching"]
    assert advice["verdict"] == "pays"
    assert advice["break_even_requests"] == 3
    assert advice["min_cacheable_tokens"] == 1_024
    assert float(advice["usd_leader_first"]) < float(advice["usd_all_at_once"])


def test_a_shared_prompt_too_short_to_be_cached_is_told() -> None:
    result = called("price", "--model", "claude-haiku-4-5", "--in", "1.2k", "--out", "300",
                    "--requests", "10k", "--cache-read", "0.8")  # fmt: skip
    assert "caches from 4,096 tokens on; 960 are silently not cached" in result.stderr


def test_the_link_holds_the_question() -> None:
    args = [*EXAMPLE, "--tier", "standard", "--on", "2026-09-01"]
    printed = called("price", *args, "--link").stdout.strip()
    base, _, fragment = printed.partition("#")
    assert base == "http://127.0.0.1:8484/price"
    asked = link.parse(fragment)
    assert (asked.workload.requests, asked.tier, str(asked.on)) == (
        100_000,
        "standard",
        "2026-09-01",
    )
    assert document("price", *args)["link"] == printed


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["--in", "-1", "--out", "1"], "--in: '-1': must not be negative", "1.2k"),
        (["--in", "1e30", "--out", "1"], "--in: 1e30 is more than 1,000,000,000 tokens", "split"),
        (["--in", "1", "--out", "1", "--requests", "0"], "--requests: 0 is less than 1", None),
        (["--in", "1", "--out", "1", "--requests", "1.5"], "--requests: 1.5 is not", "1200"),
        (["--in", "1", "--out", "1", "--model", "sonnet"], "model 'sonnet' is not", "sonnet-4-6"),
        (["--in", "1", "--out", "1", "--model", "claude-opus-5"], "model 'claude-opus-5' is not",
         "price book vendor-2026-11-22"),
        (["--in", "1", "--out", "1", "--price-book", "x"], "no price book 'x'", "published-2026"),
        (["--in", "1", "--out", "1", "--shared", "2"], "--shared: 2 is more than", "--in counts"),
        (["--in", "1", "--out", "1", "--cache-read", "2"], "--cache-read: 2 is more than", "80%"),
        (["--in", "1", "--out", "1", "--on", "2020-01-01"], "model 'claude-haiku-4-5' has no price",
         "later --on"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_flag_value_and_hint(
    args: list[str], message: str, hint: str | None
) -> None:
    with pytest.raises(OvernightError) as refused:
        called("price", *args)
    assert refused.value.message.startswith(message)
    assert refused.value.exit_code == 2
    assert hint is None or hint in str(refused.value.hint)


def test_errors_are_json_on_stdout_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["price", "--in", "1", "--out", "1", "--model", "sonnet", "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert code == error["exit_code"] == 2
    assert "sonnet" in error["message"]
    assert "claude-sonnet-4-6" in error["hint"]


def test_an_unknown_tier_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "--in", "1", "--out", "1", "--tier", "fast"]) == 2
    assert "'fast' is not one of 'batch', 'standard'" in capsys.readouterr().err


def test_a_users_own_book_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        'name = "ours"\ndated = 2026-11-01\n[source]\ntitle = "contract"\nread = 2026-11-01\n'
        '[[models]]\nid = "m"\n[[models.prices]]\nfrom = 2026-01-01\ninput = 1\noutput = 2\n',
        encoding="utf-8",
    )
    shown = document("price", "--in", "1M", "--out", "1M", "--price-book", str(path))["models"][0]
    assert (shown["standard_usd"], shown["batch_usd"]) == ("3.00", None)
    assert shown["saving_usd"] is None
    assert shown["complete"] is False


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "r.jsonl"
    params = {"model": "claude-sonnet-4-6", "max_tokens": 100}
    params |= {"messages": [{"role": "user", "content": "word " * 100}]}
    path.write_text((json.dumps({"custom_id": "a", "params": params}) + "\n") * 10)
    return path


def test_an_estimate_shows_range_and_assumptions(requests: Path) -> None:
    result = called("estimate", str(requests), "--out", "50")
    assert "10 requests in 1 batch" in result.stdout
    assert "Claude Sonnet 4.6" in result.stdout
    assert "within -15% and +35%" in result.stderr
    assert "…" not in result.stdout
    shown = document("estimate", str(requests), "--out", "50")
    assert shown["models"][0]["input_tokens"] == 10 * 129
    assert shown["models"][0]["output_tokens_high"] == 1_000
    assert shown["high_usd"] == "0.0101115"


def test_an_estimate_reads_stdin() -> None:
    line = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []})
    assert document("estimate", "-", input=line)["requests"] == 1


def test_an_estimate_names_the_broken_line(requests: Path) -> None:
    lines = requests.read_text().splitlines() * 15
    lines[142] = "{"
    requests.write_text("\n".join(lines))
    with pytest.raises(InvalidRequest, match=r"r\.jsonl:143: not JSON"):
        called("estimate", str(requests))


def test_advice_is_given_in_words_and_as_json() -> None:
    assert "a batch" in called("advise", "nightly", "reports").stdout
    assert document("advise", "nightly reports")["verdict"] == "batch"
    assert document("advise", "--waiting")["verdict"] == "real-time"
    assert document("advise", "--not-waiting", "--deadline", "30m")["verdict"] == "real-time"
    assert document("advise", "--not-waiting", "--deadline", "2d")["verdict"] == "batch"


@pytest.mark.parametrize("written", ["soon", "5x", "-1h"])
def test_a_deadline_that_is_no_time_says_how_to_write_one(written: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        called("advise", "--deadline", written)
    assert refused.value.hint == "write it as 30m, 6h or 2d"


def test_the_ten_uses_are_listed() -> None:
    assert len(document("advise", "--list")) == 10
    assert "Offline content moderation" in called("advise", "--list").stdout


def test_advice_never_asks_where_nobody_can_answer() -> None:
    with pytest.raises(InvalidRequest, match="no terminal"):
        called("advise")


@pytest.mark.parametrize("command", ["price", "estimate", "advise"])
def test_help_begins_with_an_example_and_fits_a_screen(command: str) -> None:
    shown = called(command, "--help").stdout
    assert "Example:" in shown
    assert len(shown.splitlines()) <= 30
