"""Structured logs on stderr: an event in words and its fields, never bodies, prompts or keys."""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Level = Literal["debug", "info", "warning", "error"]
Field = str | int | float | bool | None


class Logger:
    """Writes events of one part of the service: `log.warning("lease lost", shard=3)`."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"overnight.{part}")

    def debug(self, event: str, **fields: Field) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Field) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, *, exception: BaseException | None = None, **fields: Field) -> None:
        self._write(logging.ERROR, event, fields, exception)

    def _write(
        self,
        level: int,
        event: str,
        fields: dict[str, Field],
        exception: BaseException | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields}, exc_info=exception)


def start(*, level: Level, as_json: bool, stream: TextIO | None = None) -> None:
    """Send all logs from `level` up to stderr, for people or as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _Plain())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def trace(error: BaseException) -> str:
    """Write where an exception came from and of which kind it is, and so for its causes.

    Not what it says: that may quote a body or a key.
    """
    return "\n\n".join(_traces(error))


def kind(error: BaseException) -> str:
    """Name the class of an exception, and of one by the system what it says itself."""
    name = type(error).__qualname__
    if type(error).__module__ != "builtins":
        name = f"{type(error).__module__}.{name}"
    return f"{name}: {error.strerror}" if isinstance(error, OSError) and error.strerror else name


def report_to_log(_loop: object, context: dict[str, Any]) -> None:
    """Log what a loop's tasks and callbacks raised; the loop itself would quote the exception."""
    logging.getLogger("asyncio").error(context["message"], exc_info=context.get("exception"))


def _traces(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _traces(cause)
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _traces(part)
    lines = "".join(traceback.format_tb(error.__traceback__))
    yield f"Traceback (most recent call last):\n{lines}{kind(error)}"


def _fields(record: logging.LogRecord) -> dict[str, Field]:
    return getattr(record, "fields", {})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _Traced(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        return trace(ei[1]) if ei[1] is not None else ""


class _Plain(_Traced):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonLines(_Traced):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Field] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= _fields(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
