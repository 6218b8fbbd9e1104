"""Where the cursors of a list query stand."""

from collections.abc import Callable
from typing import NamedTuple

from overnight.errors import NotFound
from overnight.store.listing import Place
from overnight.wire.paging import PageQuery


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
