"""Find a price book by its name or its file."""

import os.path
from functools import cache

from overnight.errors import ConfigInvalid
from overnight.pricing import book_file
from overnight.pricing.book import PriceBook

DEFAULT = "published-2026"
VENDOR = "vendor"
# What `vendor` said on that day; quick to read, and the same for ever.
VENDOR_FROZEN = "vendor-2026-11-22"
# The books that come with Overnight, the default first.
NAMES = (DEFAULT, VENDOR, VENDOR_FROZEN)
_BOOKS = os.path.join(os.path.dirname(__file__), "books")


def open_book(name: str = DEFAULT) -> PriceBook:
    """Give the book of that name, or the one in that file (`rates.toml`, `./rates`).

    Raises: ConfigInvalid when there is none, or when the file is not a valid book.
    """
    if name in NAMES:
        return _built_in(name)
    if not name.endswith(".toml") and not os.path.isfile(name):
        raise ConfigInvalid(
            f"no price book {name!r}", hint=f"use {', '.join(NAMES)}, or the path of a .toml file"
        )
    return book_file.read(name)


@cache
def _built_in(name: str) -> PriceBook:
    if name == VENDOR:
        from overnight.pricing.vendor import VendorBook

        return VendorBook()
    return book_file.read(os.path.join(_BOOKS, f"{name}.toml"))
