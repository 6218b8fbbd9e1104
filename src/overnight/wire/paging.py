"""The query of a list: how many, and from which cursor on.

Source: protocol notes §3.4, §4.4 (limits from SDK 2.12; texts marked INF there are ours).
"""

import re
from collections.abc import Mapping

import msgspec

from overnight.errors import InvalidRequest

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000

# What a lax integer field reads, in digits that stay far below any limit of the interpreter.
_is_integer = re.compile(r"[+-]?[0-9]{1,4000}").fullmatch


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list, newest first; at most one cursor is set."""

    limit: int = DEFAULT_LIMIT
    # The page of older items behind this one.
    after_id: str | None = None
    # The page of newer items next to this one.
    before_id: str | None = None


def read_page_query(query: Mapping[str, str], *, max_limit: int = MAX_LIMIT) -> PageQuery:
    """Read `limit`, `after_id` and `before_id`; other keys and empty values count as absent.

    Raises: InvalidRequest with the text of the wire.
    """
    after_id, before_id = query.get("after_id") or None, query.get("before_id") or None
    if after_id and before_id:
        raise InvalidRequest(
            "after_id, before_id: only one of the two cursors may be given",
            hint="give after_id for older items or before_id for newer ones",
        )
    return PageQuery(
        limit=_limit(query.get("limit"), max_limit), after_id=after_id, before_id=before_id
    )


def switch(query: Mapping[str, str], name: str) -> bool:
    """Read a key that is `true` or `false`; false when absent. Raises: InvalidRequest."""
    text = query.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise InvalidRequest(f"{name}: Input should be true or false, not {text!r}")
    return text == "true"


def _limit(text: str | None, max_limit: int) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not _is_integer(text.strip()):
        raise InvalidRequest(
            "limit: Input should be a valid integer, unable to parse string as an integer"
        )
    limit = int(text)
    if limit < 1:
        raise InvalidRequest("limit: Input should be greater than or equal to 1")
    if limit > max_limit:
        raise InvalidRequest(f"limit: Input should be less than or equal to {max_limit}")
    return limit
