"""Whatever a batch holds: automatic caching makes it no dearer, and no other prompt."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.params_cases import BATCH as RULES
from tests.unit.params_cases import passes
from tests.unit.test_autocache import BATCH

from overnight import prompt
from overnight.backends.simulator.cache import PromptCache
from overnight.dispatch.order import Order
from overnight.model import Caching, Prefix, Usage
from overnight.pipeline.autocache import AutoCache
from overnight.pipeline.lanes import Cache
from overnight.pipeline.planned import PlannedRequest
from overnight.pricing import shelf
from overnight.pricing.cost import cost
from overnight.tokens import prompt_tokens
from overnight.wire.params.marking import marked

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MODEL = "claude-sonnet-4-6"
MIN_TOKENS = 40

Params = dict[str, Any]


def text_of(letter: str) -> str:
    """Give a text of 15 to 40 tokens, by its name."""
    return f"{letter} " * (30 + 10 * (ord(letter) - ord("a")))


def blocks_of(letters: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text_of(letter)} for letter in letters]


# Few different parts, so that much is shared.
contents = st.sampled_from("ab").map(text_of) | st.text("ab", min_size=1, max_size=4).map(blocks_of)
tools = st.builds(
    lambda letter: {"name": letter, "description": text_of(letter), "input_schema": {"type": "x"}},
    st.sampled_from("ab"),
)
requests = st.fixed_dictionaries(
    {"messages": st.lists(st.builds(lambda c: {"role": "user", "content": c}, contents),
                          min_size=1, max_size=3)},
    optional={"system": contents, "tools": tools.map(lambda tool: [tool])},
).map(lambda params: {"model": MODEL, "max_tokens": 16} | params)  # fmt: skip
batches = st.lists(requests, min_size=6, max_size=30)


def planned(batch: Sequence[Params], book: str) -> list[Params]:
    """Give the params as they would be sent, in the order of dispatch."""
    cache = Cache(MODEL, Caching(marked=True, min_tokens=MIN_TOKENS), 64)
    auto = AutoCache(book=shelf.open_book(book), caches_of=lambda model: [cache])
    choice, order = auto.choice(BATCH), Order()
    for number, params in enumerate(batch):
        found = [
            Prefix(int.from_bytes(prefix.key[:8]) >> 1, prefix.tokens)
            for prefix in prompt.prefixes(params, MODEL)
        ]
        order.add(found)
        request = PlannedRequest(
            custom_id="r",
            params=msgspec.Raw(msgspec.json.encode(params)),
            model=MODEL,
            input_tokens=prompt_tokens(params),
            max_tokens=16,
        )
        if choice.takes(request):
            choice.add(number, request, found, [])
    marks = choice.marks()
    sent = []
    for place in order.walk():
        params = batch[place.position]
        raw = marked(msgspec.json.encode(params), marks.get(place.position, ()))
        sent.append(msgspec.json.decode(raw))
    return sent


def used(sent: Sequence[Params]) -> Usage:
    """Send the requests one after the other to a prompt cache; sum up what it counts."""
    cache, total = PromptCache(), Usage()
    for params in sent:
        use = cache.plan(params, model=MODEL, min_tokens=MIN_TOKENS, now=NOW)
        cache.read(use)
        cache.begin(use)
        total += Usage(
            input_tokens=use.input_tokens,
            cache_write_5m_tokens=use.written_tokens("5m"),
            cache_write_1h_tokens=use.written_tokens("1h"),
            cache_read_tokens=use.read_tokens,
        )
    return total


@given(batches, st.sampled_from([shelf.DEFAULT, shelf.VENDOR_FROZEN]))
def test_automatic_caching_makes_no_batch_dearer(batch: list[Params], book: str) -> None:
    sent = planned(batch, book)
    plain = Usage(input_tokens=sum(map(prompt_tokens, batch)))
    with_caching = used(sent)
    # No token more or less.
    assert sum(map(prompt_tokens, sent)) == plain.input_tokens
    usd, plain_usd = (
        cost(
            usage, model=MODEL, tier="batch", book=shelf.open_book(book), on=date(2026, 11, 22)
        ).usd
        for usage in (with_caching, plain)
    )
    assert usd is not None and plain_usd is not None
    assert usd <= plain_usd
    if any(b"cache_control" in msgspec.json.encode(params) for params in sent):
        assert usd < plain_usd
    for params in sent:
        passes(params, RULES)
    assert planned(batch, book) == sent
