"""What a command prints: data on stdout, talk on stderr; the options every command takes."""

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import click

from overnight.errors import InvalidRequest

P = ParamSpec("P")
R = TypeVar("R")


class Output(NamedTuple):
    """How one call of a command prints."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: bool = True

    def data(self, text: str) -> None:
        """Print what was asked for."""
        click.echo(text)

    def document(self, value: object) -> None:
        """Print the one JSON document of a call with `--json`."""
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))

    def note(self, text: str) -> None:
        """Say something about the work; silent with `-q`."""
        if not self.quiet:
            click.echo(text, err=True)

    @property
    def lively(self) -> bool:
        """Tell whether stderr is a terminal that takes colour and a line drawn again."""
        return (
            self.color
            and sys.stderr.isatty()
            and "NO_COLOR" not in os.environ
            and os.environ.get("TERM") != "dumb"
        )


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; anywhere else the flag is needed. Raises: InvalidRequest, Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidRequest(f"{question} Nobody can answer here", hint="add --yes")
    click.confirm(question, abort=True, err=True)


def output_options(command: Callable[Concatenate[Output, P], R]) -> Callable[P, R]:
    """Add the options of every command; the function gets them as its first argument."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        output = Output(
            as_json=bool(kwargs.pop("as_json")),
            quiet=bool(kwargs.pop("quiet")),
            verbose=bool(kwargs.pop("verbose")),
            color=not kwargs.pop("no_color"),
        )
        return command(output, *args, **kwargs)

    for option in (
        click.option("--no-color", is_flag=True, help="Plain text, no line drawn again."),
        click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a defect."),
        click.option("-q", "--quiet", is_flag=True, help="No notes on stderr; data stays."),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    ):
        wrapped = option(wrapped)
    return wrapped
