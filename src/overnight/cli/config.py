"""`overnight config`."""

import os
from pathlib import Path

import click

from overnight.cli.output import Output, output_options
from overnight.cli.settings_flags import config_flag, setting_flags
from overnight.setting import shown
from overnight.settings import TABLE, load


@click.group()
def config() -> None:
    """Show the settings in force.

    \b
    Example:
      overnight config show
    """


@config.command()
@setting_flags
@config_flag
@output_options
def show(out: Output, /, config: Path | None, **flags: object) -> None:
    """Print each setting with its value and where it came from; secrets are masked.

    Order: flag, OVERNIGHT_* variable, overnight.toml, default.
    """
    settings, origins = load(flags, os.environ, config)
    values = {name: shown(row, getattr(settings, name)) for name, row in TABLE.items()}
    if out.as_json:
        out.document(
            {name: {"value": value, "origin": origins[name]} for name, value in values.items()}
        )
        return
    texts = {name: _text(value) for name, value in values.items()}
    name_width = max(map(len, texts))
    value_width = min(40, max(map(len, texts.values())))
    for name, text in texts.items():
        out.data(f"{name:{name_width}}  {text:{value_width}}  {origins[name]}")


def _text(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
