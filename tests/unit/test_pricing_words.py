"""Human numbers, links and advice."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.errors import InvalidRequest
from overnight.pricing import link
from overnight.pricing.advice import USE_CASES, Answers, advise
from overnight.pricing.quantity import about, compact, number, share, whole
from overnight.pricing.workload import Workload

MOST = 10**12


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", "200"),
        ("1.2k", "1200"),
        ("10K", "10000"),
        ("3M", "3000000"),
        ("1.5 B", "1500000000"),
        ("10_000", "10000"),
        ("1,234,567", "1234567"),
        ("1e6", "1000000"),
        (".5k", "500"),
        ("0", "0"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: str) -> None:
    assert number(text, name="--in", at_most=MOST) == Decimal(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-1", "must not be negative"),
        ("", "not a number"),
        ("ten", "not a number"),
        ("1,2", "not a number"),
        ("1__0", "not a number"),
        ("nan", "not a number"),
        ("inf", "not a number"),
        ("1e30", "more than 1,000,000,000,000"),
        ("1e999", "more than 1,000,000,000,000"),
        ("2T", "more than 1,000,000,000,000 tokens"),
        ("٣", "not a number"),
    ],
)
def test_a_bad_number_is_refused_with_its_flag(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        number(text, name="--in", at_most=MOST, unit="tokens")
    assert refused.value.message.startswith("--in: ")
    assert reason in refused.value.message
    assert refused.value.hint


def test_a_count_must_be_whole() -> None:
    assert whole("1.2k", name="n", at_most=MOST) == 1_200
    with pytest.raises(InvalidRequest, match="not a whole number"):
        whole("1.2345k", name="n", at_most=MOST)
    with pytest.raises(InvalidRequest, match="less than 1"):
        whole("0", name="n", at_most=MOST, at_least=1)


def test_a_share_is_a_part_of_one_or_of_a_hundred() -> None:
    assert share("0.8", name="s") == share("80%", name="s") == Decimal("0.8")
    for text in ("1.1", "101%", "-1%"):
        with pytest.raises(InvalidRequest):
            share(text, name="s")


@given(st.integers(0, 10**12))
def test_the_short_form_of_a_count_means_the_same(count: int) -> None:
    assert number(compact(count), name="n", at_most=MOST) == count


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10k"), (241_425, "241k"), (22_320_123, "22.3M")],
)
def test_a_large_count_is_told_in_three_digits(count: int, text: str) -> None:
    assert about(count) == text


tokens = st.decimals(0, 10**6, places=2)


@given(
    requests=st.integers(1, MOST),
    input_tokens=tokens,
    output_tokens=tokens,
    share_of_input=st.integers(0, 4),
    hit_rate=st.decimals(0, 1, places=2),
    ttl=st.sampled_from(["5m", "1h"]),
    unknown=st.dictionaries(st.from_regex(r"x[a-z]{1,5}", fullmatch=True), st.text(min_size=1)),
)
def test_a_link_brings_back_the_same_question(
    requests: int,
    input_tokens: Decimal,
    output_tokens: Decimal,
    share_of_input: int,
    hit_rate: Decimal,
    ttl: str,
    unknown: dict[str, str],
) -> None:
    shared = input_tokens * share_of_input / 4
    asked = link.Question(
        workload=Workload(
            requests=requests,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            shared_tokens=shared,
            ttl="1h" if ttl == "1h" and shared else "5m",
            hit_rate=hit_rate if shared else Decimal(1),
        ),
        models=("claude-haiku-4-5", "claude-opus-4-7"),
        tier="standard",
        book="published-2026",
        on=date(2026, 9, 1),
        unknown=unknown,
    )
    assert link.parse(link.fragment(asked)) == asked


def test_a_link_is_short_and_leaves_defaults_out() -> None:
    asked = link.Question(
        workload=Workload(requests=10_000, input_tokens=Decimal(1_200), output_tokens=Decimal(300)),
        models=("a", "b"),
        book="published-2026",
        on=date(2026, 9, 1),
    )
    assert link.fragment(asked) == "v=1&m=a,b&n=10k&i=1.2k&o=300&pb=published-2026&on=2026-09-01"


def test_a_cached_share_in_a_link_is_part_of_the_prompt() -> None:
    asked = link.parse("#v=1&m=a&n=10k&i=1200&o=300&cr=.8&pb=published-2026&on=2026-09-01")
    assert asked.workload.shared_tokens == 960


@pytest.mark.parametrize(
    "fragment",
    ["", "v=2&m=a&i=1&o=1&pb=x&on=2026-01-01", "m=a&i=-1&o=1&pb=x&on=2026-01-01",
     "m=a&i=1&o=1&pb=x&on=May", "m=a&i=1&o=1&pb=x&on=2026-01-01&t=fast", "m=" + "a" * 5_000],
)  # fmt: skip
def test_a_broken_link_is_refused(fragment: str) -> None:
    with pytest.raises(InvalidRequest):
        link.parse(fragment)


@pytest.mark.parametrize("case", USE_CASES, ids=lambda case: case.name)
def test_each_row_of_the_table_is_found_by_its_name(case: object) -> None:
    assert isinstance(case, type(USE_CASES[0]))
    advice = advise(case.name)
    assert advice.use_cases[0] == case
    assert advice.verdict == case.verdict


@pytest.mark.parametrize(
    ("description", "verdict"),
    [
        ("nightly reports", "batch"),
        ("a chatbot for our shop", "real-time"),
        ("label 100k emails", "batch"),
        ("eval of a new model", "batch"),
        ("check each pull request in CI", "either"),
        ("write poems", "either"),
    ],
)
def test_a_description_is_recognised(description: str, verdict: str) -> None:
    assert advise(description).verdict == verdict


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        (Answers(waiting=True), "real-time"),
        (Answers(waiting=True, deadline_h=48), "real-time"),
        (Answers(waiting=False), "batch"),
        (Answers(waiting=False, deadline_h=24), "batch"),
        (Answers(waiting=False, deadline_h=6), "either"),
        (Answers(waiting=False, deadline_h=0.5), "real-time"),
        (Answers(requests=3), "either"),
    ],
)
def test_answers_decide(answers: Answers, verdict: str) -> None:
    assert advise("", answers).verdict == verdict


def test_answers_count_more_than_the_description() -> None:
    assert advise("chatbot", Answers(waiting=False)).verdict == "batch"


def test_what_is_open_is_asked() -> None:
    assert len(advise("write poems").open_questions) == 2
    assert advise("nightly reports").open_questions == ()
