"""The limits that a workspace or a key may get on the command line."""

from collections.abc import Callable
from typing import TypeVar

import click

from overnight.errors import InvalidRequest
from overnight.tenancy import LIMIT_NAMES, LimitName

F = TypeVar("F", bound=Callable[..., object])

_ABOUT = {
    "requests_per_minute": "Calls of batch endpoints each minute.",
    "queued_requests": "Requests that have no result yet.",
    "body_bytes_in_flight": "Bytes of creates under way at a time.",
    "uploads": "Creates under way at a time.",
}


def limit_flags(command: F) -> F:
    """Add a flag for each limit."""
    for name in reversed(LIMIT_NAMES):
        flag = "--" + name.replace("_", "-")
        command = click.option(flag, name, metavar="N", help=_ABOUT[name])(command)
    return command


def read(given: dict[str, str | None], *, default: bool) -> dict[LimitName, int | None]:
    """Read the flags that are there: a number, `none` for no limit, with `default` that word too.

    Raises: InvalidRequest.
    """
    return {
        name: _limit(name, text, default=default)
        for name in LIMIT_NAMES
        if (text := given[name]) is not None
    }


def _limit(name: str, text: str, *, default: bool) -> int | None:
    if text == "none":
        return 0
    if default and text == "default":
        return None
    digits = text.replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        words = "a whole number, none, or default" if default else "a whole number or none"
        raise InvalidRequest(f"--{name.replace('_', '-')} {text}: must be {words}")
    return int(digits)
