"""`overnight version`."""

import platform

import click

from overnight import __version__
from overnight.cli.output import Output, output_options


@click.command()
@output_options
def version(out: Output) -> None:
    """Print the version.

    \b
    Example:
      overnight version --json
    """
    if out.as_json:
        out.document({"version": __version__, "python": platform.python_version()})
    else:
        out.data(f"overnight {__version__}")
