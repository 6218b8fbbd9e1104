"""How a call of the program fails: one form for every error, on the terminal and as JSON."""

import difflib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import click

from overnight import logs
from overnight.errors import EXIT_UNEXPECTED, EXIT_USAGE, OvernightError

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


class PipeClosed(Exception):
    """The reader of our output has gone"""


def report(error: OvernightError, *, as_json: bool) -> int:
    """Print an error with its causes and its hint; give the exit code."""
    _print(
        error.message,
        hint=error.hint,
        causes=list(_causes(error)),
        kind=error.wire_type,
        exit_code=error.exit_code,
        as_json=as_json,
    )
    return error.exit_code


def report_usage(error: click.ClickException, *, as_json: bool) -> int:
    """Print what is wrong with the call itself."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "overnight"
    _print(
        error.format_message(),
        hint=f"{command} --help",
        kind="invalid_request_error",
        exit_code=EXIT_USAGE,
        as_json=as_json,
    )
    return EXIT_USAGE


def report_interrupt() -> int:
    click.echo("interrupted", err=True)
    return EXIT_INTERRUPTED


def report_unexpected(error: Exception, *, as_json: bool, verbose: bool) -> int:
    """Print one line about a defect of ours; the traceback goes to a file, or is shown.

    Both are to be passed on, so neither holds what the exception says: that may be content.
    """
    text = logs.trace(error) + "\n"
    if verbose:
        click.echo(text, err=True, nl=False)
        hint = "this is a defect of overnight: please report it with the traceback above"
    else:
        with tempfile.NamedTemporaryFile(
            "w", prefix="overnight-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        hint = f"this is a defect of overnight: please report it with {file.name}"
    _print(
        f"unexpected {logs.kind(error)}",
        hint=hint,
        kind="api_error",
        exit_code=EXIT_UNEXPECTED,
        as_json=as_json,
    )
    return EXIT_UNEXPECTED


def close_pipe() -> int:
    """End quietly when the reader of our output has gone."""
    # Python would report the pipe once more when it flushes stdout at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_PIPE_CLOSED


def no_such_command(name: str, known: Iterable[str]) -> click.UsageError:
    close = difflib.get_close_matches(name, list(known), n=2)
    suggestion = f"; did you mean {' or '.join(close)}?" if close else ""
    return click.UsageError(f"no such command: {name}{suggestion}")


def asked_for(args: Sequence[str], flag: str) -> bool:
    """Tell whether a flag stands among the arguments, also when the call cannot be parsed."""
    options = args[: args.index("--")] if "--" in args else args
    return flag in options


def _print(
    message: str,
    *,
    hint: str | None,
    causes: Sequence[str] = (),
    kind: str,
    exit_code: int,
    as_json: bool,
) -> None:
    if as_json:
        body: dict[str, object] = {"type": kind, "message": message, "exit_code": exit_code}
        body |= {"causes": list(causes)} if causes else {}
        body |= {"hint": hint} if hint else {}
        click.echo(json.dumps({"error": body}, ensure_ascii=False))
        return
    first, *rest = message.splitlines() or [""]
    lines = [f"error: {first}", *(f"  {line}" for line in rest)]
    lines += [f"  because: {cause}" for cause in causes]
    lines += ["", f"hint: {hint}"] if hint else []
    click.echo("\n".join(lines), err=True)


def _causes(error: OvernightError) -> Iterator[str]:
    """Give each cause in one line, without those that the message tells already."""
    told, cause = error.message, error.__cause__
    while cause is not None:
        text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        line = (text.strip().splitlines() or [type(cause).__name__])[0]
        # SQLAlchemy puts the driver's class before the driver's words.
        if re.sub(r"^\([\w.]+\) ", "", line) not in told:
            yield line
            told += line
        cause = cause.__cause__
