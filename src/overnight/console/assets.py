"""The page's style sheet and scripts: as files with a common digest, or as text to inline."""

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

STYLE = "calculator.css"
# Runs before the first paint; a classic script, so that it blocks.
THEME = "theme.js"
MAIN = "main.js"
_TYPES = {"css": "text/css", "js": "text/javascript"}
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([a-z_]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)


class Asset(NamedTuple):
    content: bytes
    media_type: str


@cache
def assets() -> dict[str, Asset]:
    """Read every file of `static/`, by name."""
    found = {}
    for file in files("overnight.console").joinpath("static").iterdir():
        media_type = _TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            found[file.name] = Asset(file.read_bytes(), media_type)
    return dict(sorted(found.items()))


@cache
def digest() -> str:
    """Name the state of all files together: modules import each other by relative names."""
    summed = hashlib.sha256()
    for name, asset in assets().items():
        summed.update(b"%s\0%d\0%b" % (name.encode(), len(asset.content), asset.content))
    return summed.hexdigest()[:16]


def text(name: str) -> str:
    return assets()[name].content.decode()


@cache
def script() -> str:
    """Join the modules into one script, for a page that is opened as a file.

    Browsers do not load modules from files. Each becomes a function that gives its exports, so
    names stay its own. A module imports with `import { … } from "./x.js";` and exports functions,
    classes and constants where they are declared; nothing else is understood.
    """
    bodies: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in bodies:
            return
        source = text(name)
        for _, imported in _IMPORT.findall(source):
            visit(imported)
        exported = ", ".join(_EXPORT.findall(source))
        body = _IMPORT.sub(lambda found: f"const {found[1]} = {_module(found[2])};\n", source)
        body = re.sub(r"^export ", "", body, flags=re.MULTILINE)
        bodies[name] = (
            f"const {_module(name)} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"
        )

    visit(MAIN)
    return "\n".join(bodies.values())


def _module(file: str) -> str:
    return f"module_{file.removesuffix('.js')}"
