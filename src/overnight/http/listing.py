"""Pages of lists: where the cursors of a query stand, and what a page says of itself."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from overnight.errors import NotFound
from overnight.store.listing import Place
from overnight.wire.paging import PageQuery

Page = TypeVar("Page")


class Cursors(NamedTuple):
    after: Place | None
    before: Place | None


def cursors(
    query: PageQuery, find: Callable[[str], Place | None], unknown: Callable[[str], NotFound]
) -> Cursors:
    """Find the cursor that a query names. Raises: what `unknown` makes of its id."""

    def place(named: str | None) -> Place | None:
        if named is None:
            return None
        found = find(named)
        if found is None:
            raise unknown(named)
        return found

    return Cursors(after=place(query.after_id), before=place(query.before_id))


def page_of(kind: Callable[..., Page], shown: Sequence[Any], *, has_more: bool) -> Page:
    """Make a page of things that have an `id`."""
    return kind(
        data=list(shown),
        has_more=has_more,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )
