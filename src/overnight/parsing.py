"""What readers of JSON and TOML raise for a text that is none, and what to tell of it."""

import tomllib
from collections.abc import Callable
from typing import Any

import msgspec

# Of JSON. The last one: arrays or objects nested deeper than the decoder goes.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_TOO_DEEP = "arrays or objects are nested too deeply"


def why(error: Exception) -> str:
    """Say in words why something cannot be read; `error` is one of `UNREADABLE`."""
    match error:
        case RecursionError():
            return _TOO_DEEP
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case _:
            return str(error)


def read_toml(text: str, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Read TOML. Raises: tomllib.TOMLDecodeError, also for what is beyond the interpreter."""
    try:
        return tomllib.loads(text, parse_float=parse_float)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError(_TOO_DEEP) from None
    except (ValueError, ArithmeticError):
        raise tomllib.TOMLDecodeError("a number has too many digits") from None
