"""List paging: order, limits, both directions, cursors that are gone.

Pins protocol.md §3.4, §4.4.
"""

from collections.abc import Iterator

import pytest
from tests.wire.caller import BATCHES, Caller, Object, request
from tests.wire.conftest import NewCaller
from tests.wire.served import Served

_COUNT = 25


@pytest.fixture(scope="module")
def listed(new_caller: NewCaller, served: Served) -> tuple[Caller, list[str]]:
    """A workspace of batches, their ids newest first; some of the same microsecond."""
    caller = new_caller()
    created: list[Object] = []
    for n in range(_COUNT):
        created.append(caller.create(request()))
        if n % 3:
            served.advance(0.001)
    # Within a microsecond the order is the service's own, but it must not change.
    ids = [batch["id"] for batch in caller.get(f"{BATCHES}?limit=1000").json["data"]]
    assert sorted(ids) == sorted(batch["id"] for batch in created)
    return caller, ids


def _pages(caller: Caller, cursor: str, start: str | None, limit: int) -> Iterator[Object]:
    """Page as the SDKs do: `after_id=last_id` or `before_id=first_id` while `has_more`."""
    edge = "last_id" if cursor == "after_id" else "first_id"
    at = start
    while True:
        query = f"?limit={limit}" + (f"&{cursor}={at}" if at else "")
        answer = caller.get(BATCHES + query)
        assert answer.status == 200, answer
        page: Object = answer.json
        yield page
        if not page["has_more"] or not page["data"]:
            return
        assert page[edge] != at, "the page does not advance"
        at = page[edge]


def test_the_newest_come_first(listed: tuple[Caller, list[str]]) -> None:
    caller, _ = listed
    moments = [b["created_at"] for b in caller.get(f"{BATCHES}?limit=1000").json["data"]]
    assert moments == sorted(moments, reverse=True)


def test_a_page_has_20_batches_unless_asked_otherwise(listed: tuple[Caller, list[str]]) -> None:
    caller, ids = listed
    page = caller.get(BATCHES).json
    assert [batch["id"] for batch in page["data"]] == ids[:20]
    assert list(page) == ["data", "has_more", "first_id", "last_id"]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, ids[0], ids[19])


@pytest.mark.parametrize("limit", [1, 2, 7, 24, 25, 26, 1000])
def test_paging_to_older_ones_gives_each_batch_once(
    listed: tuple[Caller, list[str]], limit: int
) -> None:
    caller, ids = listed
    pages = list(_pages(caller, "after_id", None, limit))
    assert [batch["id"] for page in pages for batch in page["data"]] == ids
    assert [page["has_more"] for page in pages] == [True] * (len(pages) - 1) + [False]
    assert len(pages) == -(-_COUNT // limit)


@pytest.mark.parametrize("limit", [1, 2, 7, 23, 24, 25, 1000])
def test_paging_to_newer_ones_gives_each_batch_once(
    listed: tuple[Caller, list[str]], limit: int
) -> None:
    caller, ids = listed
    pages = list(_pages(caller, "before_id", ids[-1], limit))
    found = [batch["id"] for page in reversed(pages) for batch in page["data"]]
    assert found == ids[:-1]
    assert [page["has_more"] for page in pages] == [True] * (len(pages) - 1) + [False]


def test_before_id_gives_the_adjacent_page_newest_first(listed: tuple[Caller, list[str]]) -> None:
    caller, ids = listed
    page = caller.get(f"{BATCHES}?before_id={ids[10]}&limit=3").json
    assert [batch["id"] for batch in page["data"]] == ids[7:10]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, ids[7], ids[9])


def test_has_more_is_about_the_direction_asked_for(listed: tuple[Caller, list[str]]) -> None:
    caller, ids = listed
    newest = caller.get(f"{BATCHES}?before_id={ids[3]}&limit=3").json
    assert [batch["id"] for batch in newest["data"]] == ids[:3] and not newest["has_more"]
    oldest = caller.get(f"{BATCHES}?after_id={ids[-4]}&limit=3").json
    assert [batch["id"] for batch in oldest["data"]] == ids[-3:] and not oldest["has_more"]


@pytest.mark.parametrize("cursor", ["after_id", "before_id"])
def test_beyond_the_last_batch_the_page_is_empty(
    listed: tuple[Caller, list[str]], cursor: str
) -> None:
    caller, ids = listed
    last = ids[-1] if cursor == "after_id" else ids[0]
    page = caller.get(f"{BATCHES}?{cursor}={last}").json
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_a_client_may_delete_while_it_pages(new_caller: NewCaller, served: Served) -> None:
    caller = new_caller()
    batches: list[str] = []
    for _ in range(9):
        batches.append(caller.run(request())["id"])
        served.advance(0.001)
    seen: list[str] = []
    for page in _pages(caller, "after_id", None, 2):
        for batch in page["data"]:
            seen.append(batch["id"])
            assert caller.call("DELETE", f"{BATCHES}/{batch['id']}").status == 200
    assert seen == batches[::-1]
    assert caller.get(BATCHES).json["data"] == []


def test_batches_that_come_while_a_client_pages_do_not_disturb_it(
    new_caller: NewCaller, served: Served
) -> None:
    caller = new_caller()
    batches: list[str] = []
    for _ in range(5):
        batches.append(caller.create(request())["id"])
        served.advance(0.001)
    seen: list[str] = []
    for page in _pages(caller, "after_id", None, 2):
        seen += [batch["id"] for batch in page["data"]]
        caller.create(request())
        served.advance(0.001)
    assert seen == batches[::-1]


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("0", "limit: Input should be greater than or equal to 1"),
        ("-3", "limit: Input should be greater than or equal to 1"),
        ("1001", "limit: Input should be less than or equal to 1000"),
        (
            "many",
            "limit: Input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_a_limit_out_of_range_is_refused(caller: Caller, limit: str, text: str) -> None:
    answer = caller.get(f"{BATCHES}?limit={limit}")
    assert answer.error == (400, "invalid_request_error", text)


@pytest.mark.parametrize("limit", ["1", "1000"])
def test_the_bounds_of_limit_are_accepted(caller: Caller, limit: str) -> None:
    assert caller.get(f"{BATCHES}?limit={limit}").status == 200


def test_both_cursors_together_are_refused(listed: tuple[Caller, list[str]]) -> None:
    caller, ids = listed
    answer = caller.get(f"{BATCHES}?after_id={ids[0]}&before_id={ids[2]}")
    assert answer.error[:2] == (400, "invalid_request_error")


@pytest.mark.parametrize("cursor", ["after_id", "before_id"])
def test_an_unknown_cursor_is_refused_with_its_value(caller: Caller, cursor: str) -> None:
    answer = caller.get(f"{BATCHES}?{cursor}=msgbatch_01nothing")
    assert answer.error[:2] == (404, "not_found_error")
    assert "msgbatch_01nothing" in answer.error[2]
