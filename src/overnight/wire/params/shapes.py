"""Checks of one JSON value each: they give the fault as the wire words it, or None."""

from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

FIELD_REQUIRED = "Field required"
NOT_AN_OBJECT = "Input should be a valid dictionary"
EXTRA = "Extra inputs are not permitted"


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell a JSON object; its keys are always strings."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def string(value: Any, path: str) -> str | None:
    return None if isinstance(value, str) else f"{path}: Input should be a valid string"


def boolean(value: Any, path: str) -> str | None:
    return None if isinstance(value, bool) else f"{path}: Input should be a valid boolean"


def integer(value: Any, path: str) -> str | None:
    """Take whole numbers, 1024.0 among them."""
    if isinstance(value, float) and value.is_integer():
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    return f"{path}: Input should be a valid integer"


def dictionary(value: Any, path: str) -> str | None:
    return None if is_object(value) else f"{path}: {NOT_AN_OBJECT}"


def array(value: Any, path: str) -> str | None:
    return None if is_array(value) else f"{path}: Input should be a valid list"


def one_of(value: Any, path: str, options: tuple[str, ...]) -> str | None:
    if isinstance(value, str) and value in options:
        return None
    *most, last = [f"'{option}'" for option in options]
    choice = f"{', '.join(most)} or {last}" if most else last
    return f"{path}: Input should be {choice}"


def member(owner: Mapping[str, Any], key: str, path: str) -> str | None:
    """Ask that a key is there."""
    return None if key in owner else f"{path}.{key}: {FIELD_REQUIRED}"


def text_member(owner: Mapping[str, Any], key: str, path: str) -> str | None:
    """Ask that a key is there and has a string."""
    return member(owner, key, path) or string(owner[key], f"{path}.{key}")


def only_keys(owner: Mapping[str, Any], keys: Collection[str], path: str) -> str | None:
    """Refuse the first key that is not among `keys`."""
    for key in owner:
        if key not in keys:
            return f"{path}.{key}: {EXTRA}"
    return None
