"""`overnight serve`."""

import asyncio
import os
import sys
from pathlib import Path

import click

from overnight import logs
from overnight.cli.settings_flags import config_flag, setting_flags
from overnight.settings import Settings, load


@click.command(short_help="Run the service.")
@setting_flags
@config_flag
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a defect.")
def serve(config: Path | None, log_json: bool, verbose: bool, **flags: object) -> None:
    """Run the service: the Message Batches API, and a worker behind it.

    \b
    Example:
      overnight serve --backend http://127.0.0.1:8000 --data ./overnight-data

    Every setting can also be an OVERNIGHT_* variable or a line of overnight.toml.
    Secrets have no flag: OVERNIGHT_API_KEYS, OVERNIGHT_BACKEND_API_KEY, OVERNIGHT_SERVER_SECRET,
    OVERNIGHT_TLS_KEY_PASSWORD.
    """
    settings, _ = load(flags, os.environ, config)
    logs.start(level=settings.log_level, as_json=log_json)
    _run(settings)


def _run(settings: Settings) -> None:
    # The server's imports take most of a second: only this command pays for them.
    from overnight.serving import serve as serve_all

    if sys.platform == "win32":
        asyncio.run(serve_all(settings))
    else:
        import uvloop

        uvloop.run(serve_all(settings))
