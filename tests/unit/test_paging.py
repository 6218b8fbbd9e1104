"""List queries: defaults, bounds, and the words of each refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.errors import InvalidRequest
from overnight.wire.paging import DEFAULT_LIMIT, MAX_LIMIT, PageQuery, read_page_query


def refusal(query: dict[str, str]) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read_page_query(query)
    return refused.value.message


def test_without_a_query_the_page_has_twenty_items_from_the_newest_on() -> None:
    assert read_page_query({}) == PageQuery(limit=20, after_id=None, before_id=None)


def test_the_query_is_read_and_other_keys_are_ignored() -> None:
    query = {"limit": "7", "after_id": "msgbatch_1", "beta": "true"}
    assert read_page_query(query) == PageQuery(limit=7, after_id="msgbatch_1")
    assert read_page_query({"before_id": "x"}).before_id == "x"


def test_empty_values_count_as_absent() -> None:
    query = {"limit": "", "after_id": "", "before_id": "x"}
    assert read_page_query(query) == PageQuery(before_id="x")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("0", "limit: Input should be greater than or equal to 1"),
        ("-3", "limit: Input should be greater than or equal to 1"),
        ("1001", "limit: Input should be less than or equal to 1000"),
        ("9" * 3000, "limit: Input should be less than or equal to 1000"),
    ],
)
def test_a_limit_out_of_bounds_is_refused_with_its_bound(limit: str, message: str) -> None:
    assert refusal({"limit": limit}) == message


@pytest.mark.parametrize("limit", ["ten", "1.5", "1_0", "٣", "0x10", "- 1", "9" * 5000])
def test_a_limit_that_is_no_integer_is_refused(limit: str) -> None:
    assert refusal({"limit": limit}) == (
        "limit: Input should be a valid integer, unable to parse string as an integer"
    )


@pytest.mark.parametrize("limit", [1, DEFAULT_LIMIT, MAX_LIMIT])
def test_limits_within_the_bounds_are_taken(limit: int) -> None:
    assert read_page_query({"limit": f" {limit} "}).limit == limit


def test_both_cursors_at_once_are_refused() -> None:
    assert refusal({"after_id": "a", "before_id": "b"}) == (
        "after_id, before_id: only one of the two cursors may be given"
    )


@given(st.text())
def test_any_text_as_limit_is_read_or_refused(text: str) -> None:
    try:
        limit = read_page_query({"limit": text}).limit
    except InvalidRequest as refused:
        assert refused.message.startswith("limit: ")
    else:
        assert 1 <= limit <= MAX_LIMIT
