"""The order of a batch: equal beginnings are neighbours, and nothing else moves."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from overnight.dispatch.order import MAX_PREFIXES, Order, Placed, cut
from overnight.model import Prefix

# A prompt as the names of its blocks.
PROMPTS = st.lists(st.text("abc", max_size=4), max_size=40)


def prefixes(prompt: str, marked: tuple[int, ...] = ()) -> list[Prefix]:
    """Give the beginnings of a prompt of one-letter blocks; a block has 1,000 tokens."""
    return [
        Prefix(hash(prompt[:end]), 1_000 * end, 300 if end in marked else 0)
        for end in range(1, len(prompt) + 1)
    ]


def walk(prompts: list[str]) -> list[Placed]:
    order = Order()
    for prompt in prompts:
        order.add(prefixes(prompt))
    return order.walk()


@given(PROMPTS)
def test_every_request_has_one_place(prompts: list[str]) -> None:
    assert sorted(place.position for place in walk(prompts)) == list(range(len(prompts)))


@given(PROMPTS)
def test_requests_that_begin_alike_are_neighbours(prompts: list[str]) -> None:
    ordered = [prompts[place.position] for place in walk(prompts)]
    for length in range(1, 5):
        beginnings = [prompt[:length] for prompt in ordered if len(prompt) >= length]
        runs = [beginning for beginning, _ in groupby(beginnings)]
        assert len(runs) == len(set(runs))


@given(st.lists(st.booleans(), max_size=40))
def test_requests_that_share_nothing_keep_their_places(with_prefix: list[bool]) -> None:
    order = Order()
    for number, has_one in enumerate(with_prefix):
        order.add([Prefix(number, 1_000)] if has_one else [])
    assert [place.position for place in order.walk()] == list(range(len(with_prefix)))


def test_groups_come_in_the_order_in_which_the_caller_named_them() -> None:
    ordered = [place.position for place in walk(["x1", "y1", "x2", "y2", "z1"])]
    assert ordered == [0, 2, 1, 3, 4]


def test_nested_beginnings_are_walked_depth_first() -> None:
    prompts = ["sa1", "sb1", "sa2", "ta1", "sb2", "ta2"]
    ordered = [prompts[place.position] for place in walk(prompts)]
    assert ordered == ["sa1", "sa2", "sb1", "sb2", "ta1", "ta2"]


def test_of_beginnings_that_the_same_requests_share_the_longest_is_kept() -> None:
    kept = {place.position: place.prefixes for place in walk(["abcx", "abcy", "abz"])}
    assert [prefix.tokens for prefix in kept[0]] == [2_000, 3_000]
    assert [prefix.tokens for prefix in kept[2]] == [2_000]


def test_what_is_marked_is_kept_though_nobody_shares_it() -> None:
    order = Order()
    order.add(prefixes("ab", marked=(1,)))
    assert [prefix.ttl_s for prefix in order.walk()[0].prefixes] == [300]


def test_no_request_keeps_more_prefixes_than_the_bound() -> None:
    order = Order()
    for length in range(1, 30):
        order.add(prefixes("a" * length))
    assert max(len(place.prefixes) for place in order.walk()) == MAX_PREFIXES


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_shards_hold_everything_within_their_bounds(
    requests: list[tuple[int, int]], max_requests: int
) -> None:
    depths, sizes = [depth for depth, _ in requests], [size for _, size in requests]
    ends = cut(depths, sizes, max_requests=max_requests, max_bytes=100)
    assert ends == sorted(set(ends))
    assert ends[-1] == len(requests)
    for start, end in zip([0, *ends], ends, strict=False):
        assert end - start <= max_requests
        assert sum(sizes[start:end]) <= 100 or end - start == 1


def test_a_shard_ends_between_groups_where_one_ends_in_its_second_half() -> None:
    depths = [0, 1, 1, 0, 1, 1, 0, 1, 1]
    assert cut(depths, [1] * 9, max_requests=4, max_bytes=100) == [3, 6, 9]


def test_a_group_larger_than_a_shard_is_cut_when_it_is_full() -> None:
    assert cut([0] + [1] * 9, [1] * 10, max_requests=4, max_bytes=100) == [4, 8, 10]


def test_a_mark_of_another_request_is_none_of_its_own() -> None:
    order = Order()
    order.add(prefixes("ab", marked=(1,)))
    order.add(prefixes("ac"))
    kept = {place.position: place.prefixes for place in order.walk()}
    assert [prefix.ttl_s for prefix in kept[0]] == [300]
    assert [prefix.ttl_s for prefix in kept[1]] == [0]


def test_a_breakpoint_that_is_set_later_counts_like_one_of_the_caller() -> None:
    order = Order()
    for prompt in ("sa1", "sa2", "sb1"):
        order.add(prefixes(prompt))
    for position in range(3):
        order.mark(position, [(0, 3600)])
    order.mark(0, [(0, 3600), (1, 300)])
    kept = {place.position: place.prefixes for place in order.walk()}
    assert [(prefix.tokens, prefix.ttl_s) for prefix in kept[0]] == [(1_000, 3600), (2_000, 300)]
    assert [(prefix.tokens, prefix.ttl_s) for prefix in kept[1]] == [(1_000, 3600), (2_000, 0)]
    assert [(prefix.tokens, prefix.ttl_s) for prefix in kept[2]] == [(1_000, 3600)]


def test_what_a_request_marks_is_kept_beside_longer_beginnings() -> None:
    order = Order()
    for length in range(1, 30):
        order.add(prefixes("a" * length, marked=(1, 3) if length > 3 else ()))
    longest = max((place.prefixes for place in order.walk()), key=lambda found: found[-1].tokens)
    assert len(longest) == MAX_PREFIXES
    assert [prefix.tokens for prefix in longest if prefix.ttl_s] == [1_000, 3_000]
