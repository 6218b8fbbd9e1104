"""Breakpoints are set where they are cheaper, and nowhere else."""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.breakpoints import OUTPUT_TOKENS_PER_S, Mark, Sharing, writes
from overnight.model import Prefix
from overnight.pricing import caching, shelf
from overnight.pricing.book import Rates, TokenClass
from overnight.pricing.workload import Ttl
from overnight.wire.params.caching import MAX_BREAKPOINTS

ON = date(2026, 11, 22)
SENDERS = 8
BLOCK_TOKENS = 1_000
WRITES: dict[Ttl, TokenClass] = {"5m": TokenClass.CACHE_WRITE_5M, "1h": TokenClass.CACHE_WRITE_1H}
# Answers that may take longer than five minutes, and longer than an hour.
LONG, ENDLESS = 301 * OUTPUT_TOKENS_PER_S, 3_601 * OUTPUT_TOKENS_PER_S
# A prompt as the names of its blocks; the length of its answer.
Request = tuple[str, int]
REQUESTS = st.lists(
    st.tuples(st.text("ab", min_size=1, max_size=7), st.sampled_from([1, LONG, ENDLESS])),
    max_size=24,
)
BOOKS = st.sampled_from([shelf.DEFAULT, shelf.VENDOR_FROZEN])


def rates_of(book: str) -> Rates:
    prices = shelf.open_book(book).prices("claude-sonnet-4-6", on=ON)
    assert prices
    return prices.batch


def saving(book: str, ttl: Ttl, requests: int, writes: int) -> Decimal:
    found = caching.saving(rates_of(book), ttl, requests=requests, writes=writes)
    assert found is not None
    return found


def prefixes(prompt: str) -> list[Prefix]:
    """Give the beginnings of a prompt of one-letter blocks."""
    return [Prefix(hash(prompt[:end]), BLOCK_TOKENS * end) for end in range(1, len(prompt) + 1)]


def choose(
    requests: Iterable[Request],
    *,
    book: str = shelf.DEFAULT,
    min_tokens: int = 0,
    barred: str = "",
) -> dict[int, tuple[Mark, ...]]:
    """Choose for prompts; blocks named in `barred` may carry no breakpoint."""
    sharing = Sharing()
    for number, (prompt, max_tokens) in enumerate(requests):
        places = [place for place, name in enumerate(prompt) if name in barred]
        sharing.add(number, prefixes(prompt), max_tokens=max_tokens, barred=places)

    def priced(ttl: Ttl, requests: int, writes: int) -> Decimal:
        return saving(book, ttl, requests, writes)

    return sharing.choose(priced, min_tokens=min_tokens, senders=SENDERS)


def shown(chosen: dict[int, tuple[Mark, ...]], prompts: Sequence[str]) -> dict[str, Ttl]:
    """Give each marked beginning with its time to live."""
    return {
        prompts[request][: mark.block + 1]: mark.ttl
        for request, marks in chosen.items()
        for mark in marks
    }


def marked(
    *prompts: str,
    max_tokens: int = 1,
    book: str = shelf.DEFAULT,
    min_tokens: int = 0,
    barred: str = "",
) -> dict[str, Ttl]:
    requests = [(prompt, max_tokens) for prompt in prompts]
    return shown(choose(requests, book=book, min_tokens=min_tokens, barred=barred), prompts)


def saved(requests: Sequence[Request], marks: dict[str, Ttl], book: str) -> Decimal:
    """Price the prompts with these beginnings marked, against none, beginning by beginning.

    Each is written as often as the plan expects, and read by the other requests.
    """
    rates = {token_class: rate.usd for token_class, rate in rates_of(book).items()}
    total = Decimal(0)
    for beginning, ttl in marks.items():
        shorter = [m for m in marks if beginning.startswith(m) and m != beginning]
        limits = [limit for prompt, limit in requests if prompt.startswith(beginning)]
        times = writes(len(limits), ttl=ttl, max_tokens=max(limits), senders=SENDERS)
        tokens = (len(beginning) - max(map(len, shorter), default=0)) * BLOCK_TOKENS
        uncached = len(limits) * rates[TokenClass.INPUT]
        cached = times * rates[WRITES[ttl]] + (len(limits) - times) * rates[TokenClass.CACHE_READ]
        total += tokens * (uncached - cached)
    return total


@pytest.mark.parametrize(
    ("book", "requests", "ttl"),
    [
        (shelf.DEFAULT, 2, None),
        (shelf.DEFAULT, 3, "5m"),
        (shelf.VENDOR_FROZEN, 1, None),
        (shelf.VENDOR_FROZEN, 2, "5m"),
    ],
)
def test_a_beginning_is_marked_from_its_break_even_on(
    book: str, requests: int, ttl: str | None
) -> None:
    prompts = [f"a{name}" for name in "bcd"[:requests]]
    assert marked(*prompts, book=book) == ({"a": ttl} if ttl else {})


def test_system_and_documents_are_marked_each() -> None:
    prompts = [f"s{document}{question}" for document in "xy" for question in "123"]
    assert marked(*prompts) == {"s": "5m", "sx": "5m", "sy": "5m"}


def test_a_document_of_too_few_questions_is_not_marked() -> None:
    assert marked("sx1", "sx2", "sy1", "sy2") == {"s": "5m"}


def test_of_blocks_that_the_same_requests_share_only_the_last_is_marked() -> None:
    assert marked("abcx", "abcy", "abcz") == {"abc": "5m"}


def test_a_block_that_takes_no_breakpoint_leaves_it_to_the_one_before() -> None:
    assert marked("abcx", "abcy", "abcz", barred="c") == {"ab": "5m"}
    assert marked("abcx", "abcy", "abcz", barred="abc") == {}


def test_what_is_too_short_to_be_cached_is_not_marked() -> None:
    prompts = [f"s{document}{question}" for document in "xy" for question in "123"]
    assert marked(*prompts, min_tokens=1_001) == {"sx": "5m", "sy": "5m"}
    assert marked(*prompts, min_tokens=2_001) == {}


def test_equal_prompts_are_marked_at_their_end() -> None:
    assert marked("ab", "ab", "ab") == {"ab": "5m"}


@pytest.mark.parametrize(
    ("requests", "max_tokens", "ttl"),
    [
        (SENDERS, LONG, "5m"),  # all are under way before the first is answered
        (SENDERS + 1, LONG - OUTPUT_TOKENS_PER_S, "5m"),
        (SENDERS + 1, LONG, "1h"),  # two rounds: 2 × 1.25 + 7 × 0.1 > 1 × 2 + 8 × 0.1
        (SENDERS + 1, ENDLESS, "5m"),  # an hour is too short too, and dearer
    ],
)
def test_an_hour_is_for_groups_whose_answers_outlast_five_minutes(
    requests: int, max_tokens: int, ttl: str
) -> None:
    prompts = [f"a{chr(ord('b') + number)}" for number in range(requests)]
    assert marked(*prompts, max_tokens=max_tokens) == {"a": ttl}


def test_nothing_that_lives_an_hour_comes_after_what_lives_five_minutes() -> None:
    long = [(f"ab{number}", LONG) for number in range(SENDERS + 1)]
    requests = [*long, *((f"a{number}", ENDLESS) for number in range(SENDERS + 1))]
    prompts = [prompt for prompt, _ in requests]
    assert shown(choose(long), prompts) == {"ab": "1h"}
    assert shown(choose(requests), prompts) == {"a": "5m", "ab": "5m"}


def test_of_a_growing_conversation_four_turns_are_marked_nearly_the_best_ones() -> None:
    """Each request goes on where the last one ended: twelve beginnings would pay."""
    prompts = ["abcdefghijklmn"[:turns] for turns in range(1, 15)]
    requests = [(prompt, 1) for prompt in prompts]
    ours = shown(choose(requests), prompts)
    assert len(ours) == MAX_BREAKPOINTS
    best = max(
        saved(requests, dict.fromkeys(chosen, "5m"), shelf.DEFAULT)
        for chosen in combinations(prompts, MAX_BREAKPOINTS)
    )
    assert saved(requests, ours, shelf.DEFAULT) >= best * Decimal("0.95")


@given(REQUESTS, BOOKS)
def test_what_is_chosen_is_cheaper_and_within_the_rules_of_the_wire(
    requests: list[Request], book: str
) -> None:
    chosen = choose(requests, book=book)
    prompts = [prompt for prompt, _ in requests]
    marks: dict[str, Ttl] = {}
    for request, found in chosen.items():
        assert 1 <= len(found) <= MAX_BREAKPOINTS
        assert [mark.block for mark in found] == sorted({mark.block for mark in found})
        ttls = [mark.ttl for mark in found]
        assert ttls == sorted(ttls, key=["1h", "5m"].index)
        marks |= {prompts[request][: mark.block + 1]: mark.ttl for mark in found}
    if marks:
        assert saved(requests, marks, book) > 0
    # Whoever shares a beginning marks it too: one of them leads, the others can read.
    for request, prompt in enumerate(prompts):
        mine = {prompt[: mark.block + 1] for mark in chosen.get(request, ())}
        assert mine == {beginning for beginning in marks if prompt.startswith(beginning)}
    assert choose(requests, book=book) == chosen


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=16), BOOKS)
def test_no_other_choice_is_cheaper_where_four_are_enough(prompts: list[str], book: str) -> None:
    requests = [(prompt, 1) for prompt in prompts]
    marks = shown(choose(requests, book=book), prompts)
    beginnings = sorted({p[:end] for p in prompts for end in range(1, len(p) + 1)})
    ours = saved(requests, marks, book)
    for beginning in beginnings:
        other = dict(marks)
        if other.pop(beginning, None) is None:
            other[beginning] = "5m"
        assert saved(requests, other, book) <= ours
