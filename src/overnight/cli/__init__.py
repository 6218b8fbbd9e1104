"""The command line. Commands are imported only when they are called."""

from overnight.cli.program import main

__all__ = ["main"]
