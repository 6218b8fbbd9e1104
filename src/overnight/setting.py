"""One setting: what it is for, what values it takes, how a value is read and shown."""

import difflib
import re
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from overnight.targets import read_networks

ENV_PREFIX = "OVERNIGHT_"
# Of the characters that `openssl rand -hex 16` makes, these hold 128 bits.
MIN_SECRET = 32

Kind = Literal["text", "whole", "number", "switch", "path", "list", "choice"]
Form = Literal[
    "any",
    "backend",
    "url",
    "database",
    "keys",
    "book",
    "ggufs",
    "weights",
    "networks",
    "hosts",
    "secret",
]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What checks and documentation need to know about a setting beside its type."""

    about: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    form: Form = "any"
    # Never printed, and no flag: other users of a machine can read its command lines.
    secret: bool = False


class Setting(NamedTuple):
    """One row of the table, as code that renders or checks it reads it."""

    name: str
    kind: Kind
    choices: tuple[str, ...]
    optional: bool
    default: object
    spec: Spec

    @property
    def flag(self) -> str | None:
        """Give the flag that sets it: `--max-attempts`; None for a secret."""
        return None if self.spec.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()

    @property
    def bound(self) -> str:
        """Say what values are allowed, or nothing when any of its type is."""
        if self.choices:
            return ", ".join(self.choices)
        if self.spec.low is None or self.spec.high is None:
            return ""
        return f"{_plain(self.spec.low)} to {_plain(self.spec.high)}"


def row(name: str, hint: Any, default: object) -> Setting:
    """Make the table's row of a class attribute annotated with its Spec."""
    declared, spec = get_args(hint)
    optional = isinstance(declared, types.UnionType)
    base = get_args(declared)[0] if optional else declared
    kinds: dict[object, Kind] = {
        str: "text", int: "whole", float: "number", bool: "switch", Path: "path", tuple: "list",
        Literal: "choice",
    }  # fmt: skip
    kind = kinds[get_origin(base) or base]
    choices = get_args(base) if kind == "choice" else ()
    return Setting(name, kind, choices, optional, default, spec)


def converted(setting: Setting, value: object, folder: Path | None) -> object:
    """Give the value in the setting's own type. Raises ValueError with what is allowed."""
    match setting.kind:
        case "whole" | "number":
            return _number(setting, value)
        case "switch":
            return _switch(value)
        case "choice":
            if value not in setting.choices:
                raise ValueError(
                    f"must be one of {setting.bound}{near(str(value), setting.choices)}"
                )
            return value
        case "list":
            return _listed(setting.spec.form, value, folder)
        case "path":
            return (folder or Path()) / Path(_text(value)).expanduser()
        case "text":
            text = _text(value)
            if setting.spec.form == "book" and (text.endswith(".toml") or "/" in text):
                return str((folder or Path()) / Path(text).expanduser())
            return _formed(setting.spec.form, text)


def shown(setting: Setting, value: object) -> object:
    """Give a value as it may be printed: secrets and passwords in URLs masked."""
    if setting.kind == "list" and isinstance(value, tuple):
        entries = msgspec.convert(value, tuple[str, ...])
        return [mask(key) for key in entries] if setting.spec.secret else list(entries)
    if setting.spec.secret and value is not None:
        return "***" if setting.kind == "list" else mask(str(value))
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and "://" in value:
        return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", value)
    return value


def mask(secret: str) -> str:
    """Hide a key but for its workspace and last four characters (none of a short one)."""
    workspace, equals, key = secret.rpartition("=")
    return workspace + equals + "***" + (key[-4:] if len(key) >= 16 else "")


def near(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """Give `; did you mean …?` when a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=2)
    return f"; did you mean {' or '.join(prefix + c for c in close)}?" if close else ""


def _text(value: object) -> str:
    if not isinstance(value, str | Path):
        raise ValueError("must be text in quotes")
    if not str(value).strip():
        raise ValueError("must not be empty")
    return str(value)


def _number(setting: Setting, value: object) -> int | float:
    whole = setting.kind == "whole"
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        if whole and isinstance(value, float):
            raise ValueError
        number = int(value) if whole else float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"must be a {'whole ' if whole else ''}number{_range(setting)}") from None
    low, high = setting.spec.low, setting.spec.high
    assert low is not None and high is not None, setting.name
    if not low <= number <= high:
        raise ValueError(f"must be from {setting.bound}{_unit(setting)}")
    return number


def _switch(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("must be true or false")


def _entries(value: object) -> list[str]:
    try:
        given = value.split(",") if isinstance(value, str) else value
        return [entry.strip() for entry in msgspec.convert(given, list[str])]
    except msgspec.ValidationError:
        raise ValueError("must be a list of texts") from None


def _listed(form: Form, value: object, folder: Path | None) -> tuple[str, ...]:
    match form:
        case "ggufs":
            return _ggufs(value, folder)
        case "networks":
            return _networks(value)
        case "weights":
            return _weights(value)
        case "hosts":
            return _hosts(value)
        case _:
            return _keys(value)


def _networks(value: object) -> tuple[str, ...]:
    entries = _entries(value)
    for position, entry in enumerate(entries):
        try:
            read_networks([entry])
        except ValueError:
            raise ValueError(
                f"entry {position} must be a network like 10.0.0.0/8 or fd00::/8, "
                "with all bits after its length 0, or one address"
            ) from None
    return tuple(entries)


def _hosts(value: object) -> tuple[str, ...]:
    entries = _entries(value)
    for position, entry in enumerate(entries):
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", entry):
            raise ValueError(f"entry {position} must be a host name without scheme and port")
    return tuple(entry.lower() for entry in entries)


def _ggufs(value: object, folder: Path | None) -> tuple[str, ...]:
    """Read `path` or `name=path` entries; a path is relative to the folder of its file."""
    found: list[str] = []
    for position, entry in enumerate(_entries(value)):
        name, equals, path = entry.rpartition("=")
        if not path or (equals and not re.fullmatch(r"[!-~]{1,256}", name)):
            raise ValueError(f"entry {position} must be `path` or `name=path`")
        found.append(f"{name}{equals}{(folder or Path()) / Path(path).expanduser()}")
    return tuple(found)


def _weights(value: object) -> tuple[str, ...]:
    """Read `workspace=number` entries."""
    entries = _entries(value)
    names = [entry.partition("=")[0] for entry in entries]
    for position, entry in enumerate(entries):
        found = re.fullmatch(r"[A-Za-z0-9_-]{1,64}=(\d{1,6}(?:\.\d{1,6})?)", entry)
        if found is None or not float(found[1]):
            raise ValueError(
                f"entry {position} must be `workspace=weight`, the weight a number above 0 and "
                "below 1,000,000"
            )
        if names.count(names[position]) > 1:
            raise ValueError(f"entry {position} repeats workspace {names[position]}")
    return tuple(entries)


def _keys(value: object) -> tuple[str, ...]:
    entries = _entries(value)
    keys: set[str] = set()
    for position, entry in enumerate(entries):
        if not re.fullmatch(r"(?:[A-Za-z0-9_-]{1,64}=)?[!-+\--<>-~]{1,256}", entry):
            raise ValueError(
                f"entry {position} must be `key` or `workspace=key`: visible ASCII characters "
                "without comma or further `=`, at most 256"
            )
        key = entry.rpartition("=")[2]
        if key in keys:
            raise ValueError(f"entry {position} repeats a key")
        keys.add(key)
    return tuple(entries)


def _formed(form: Form, text: str) -> str:
    if form == "backend" and "," in text:
        return ",".join(_formed("url", url.strip()) for url in text.split(","))
    if form == "url" or (form == "backend" and text != "simulator"):
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            choice = "simulator or " if form == "backend" else ""
            raise ValueError(f"must be {choice}an absolute http or https URL")
        return text.rstrip("/")
    if form == "secret" and len(text) < MIN_SECRET:
        raise ValueError(f"must have at least {MIN_SECRET} characters")
    if form == "database" and not re.match(r"(postgresql|postgres)(\+\w+)?://", text):
        raise ValueError("must begin with postgresql://")
    return text


def _range(setting: Setting) -> str:
    return f" from {setting.bound}{_unit(setting)}"


def _unit(setting: Setting) -> str:
    return f" {setting.spec.unit}" if setting.spec.unit else ""


def _plain(number: float) -> str:
    return f"{number:,}".removesuffix(".0")
