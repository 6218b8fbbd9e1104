"""Which server a command calls, and in which workspace."""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import click

from overnight.cli.client import Client, server_flag
from overnight.cli.organization import Organization

R = TypeVar("R")

_is_id = re.compile(r"wrkspc_01[0-9A-Za-z]{22}").fullmatch


class Server(NamedTuple):
    """Where to call; what is None is what variables say, or the default."""

    base_url: str | None
    # Name, id, or beginning of an id; None: that of the key.
    workspace: str | None

    def client(self) -> Client:
        """Make a client; a name is looked up. Raises: OvernightError."""
        found = self.workspace
        if found is not None and not _is_id(found):
            found = Organization(self.base_url).workspace(found).id
        return Client(self.base_url, workspace_id=found)


def server_flags(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--base-url` and `--workspace`; the function gets them as `server`."""

    @functools.wraps(command)
    def wrapped(*args: object, base_url: str | None, workspace: str | None, **more: object) -> R:
        return command(*args, server=Server(base_url, workspace or None), **more)

    flag = click.option(
        "--workspace",
        envvar="OVERNIGHT_WORKSPACE",
        metavar="NAME",
        help="Name or id.  [OVERNIGHT_WORKSPACE]",
    )
    return server_flag(flag(wrapped))
