"""Command-line flags made from the table of settings."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from overnight.setting import Setting
from overnight.settings import TABLE

F = TypeVar("F", bound=Callable[..., object])

METAVARS = {
    "text": "TEXT", "whole": "N", "number": "N", "path": "PATH", "choice": "WORD",
}  # fmt: skip


def setting_flags(command: F) -> F:
    """Add a flag for each setting that is no secret; `load` reads and checks the texts."""
    for row in reversed(list(TABLE.values())):
        if row.flag is not None:
            command = _option(row)(command)
    return command


def config_flag(command: F) -> F:
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="File with settings.  [default: overnight.toml here, if there is one]",
    )(command)


def _option(row: Setting) -> Callable[[F], F]:
    assert row.flag is not None
    note = ""
    if row.default is not None:
        note = f"  [default: {_default(row)}" + (f" {row.spec.unit}]" if row.spec.unit else "]")
    if row.kind == "switch":
        names = f"{row.flag}/--no-{row.flag.removeprefix('--')}"
        return click.option(names, row.name, default=None, help=row.spec.about + note)
    if row.kind == "list":
        help = f"{row.spec.about} May be given several times."
        return click.option(
            row.flag, row.name, metavar="TEXT", multiple=True, callback=_given, help=help
        )
    metavar = "|".join(row.choices) or METAVARS[row.kind]
    return click.option(row.flag, row.name, metavar=metavar, help=row.spec.about + note)


def _given(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[str] | None:
    """Give None for a flag that is not there: the file or the environment may say."""
    return list(values) or None


def _default(row: Setting) -> str:
    match row.kind:
        case "switch":
            return str(row.default).lower()
        case "number":
            return f"{row.default:g}"
        case _:
            return str(row.default)
