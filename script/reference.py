"""Render the generated pages of docs/reference and write them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from script import json_reference

from overnight.cli.program import program
from overnight.http import openapi
from overnight.http.admission import NEEDS, Open
from overnight.http.app import routes
from overnight.setting import Setting
from overnight.settings import OTHER_VARIABLES, TABLE, Settings
from overnight.telemetry.table import LABELS, SECTIONS, Metric
from overnight.tenancy import Role

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
JSON_PAGE = REFERENCE / "json.md"
WIDTH = 90

SETTINGS_HEAD = """\
# Settings

Made by `script/docs` from the table in `src/overnight/settings.py`.

A setting is looked for as a flag of `overnight serve`, then as a variable, then in
`overnight.toml` (or the file of `--config` or `OVERNIGHT_CONFIG`); else its default is in force.
`overnight config show` prints each value with its origin.
A relative path in the file is relative to the file.
The file holds one line per setting: `port = 8484`, `api_keys = ["team=sk-…"]`.

| setting | flag | variable | type | default | unit | allowed | what it is |
|---|---|---|---|---|---|---|---|
"""

CLI_HEAD = """\
# Command line

Made by `script/docs` from the commands themselves.

Data goes to stdout, everything else to stderr. With `--json` stdout holds one JSON document, also
when the call fails: `{"error": {"type", "message", "exit_code", "hint"}}`. `batches results` writes
JSON lines by nature. [JSON documents](json.md) lists the fields.
"""

METRICS_HEAD = """\
# Metrics

Made by `script/docs` from the table in `src/overnight/telemetry/table.py`.

`GET /metrics` gives them in the text format of Prometheus; the setting `metrics` says who may read
them. Counters begin at 0 when the process starts. Each process tells of itself, but for what is
said to be of the whole database. [Watching a service](../guides/metrics.md) shows how to use them.

Names end with their unit: seconds, tokens, requests, …; `_total` marks a counter. A histogram has
`_bucket` with label `le`, `_sum` and `_count`.
"""

HTTP_HEAD = """\
# HTTP

Made by `script/docs` from the OpenAPI document that every service gives at `/openapi.json`, no key
needed. There stands what each call reads and answers, with the schema of every body, of each line
of results and of the errors: for code generators, API clients and tests.

```sh
curl http://127.0.0.1:8484/openapi.json
```

It is OpenAPI 3.2, whose `itemSchema` says what one line or one event of a stream is. Tests call
every operation by it. What a Messages request may hold, and what each model allows, is too much
for a schema: `params` stand there as an object.
"""

_OPEN = {Open.TO_ALL: "none", Open.TO_ANY_KEY: "any"}

TYPES = {
    "text": "text", "whole": "whole number", "number": "number", "switch": "true or false",
    "path": "path", "list": "list of texts", "choice": "word",
}  # fmt: skip


def settings_page() -> str:
    """Give docs/reference/settings.md."""
    rows = "\n".join(_row(setting) for setting in TABLE.values())
    others = ", ".join(f"`{name}`" for name in sorted(OTHER_VARIABLES))
    return (
        f"{SETTINGS_HEAD}{rows}\n\nAny other `OVERNIGHT_*` variable is refused, but for those of "
        f"the clients: {others}.\n"
    )


def cli_page() -> str:
    """Give docs/reference/cli.md."""
    return CLI_HEAD + "".join(
        f"\n## {path}\n\n```text\n{text}\n```\n" for path, text in _commands(program, "overnight")
    )


def metrics_page() -> str:
    """Give docs/reference/metrics.md."""
    parts = [METRICS_HEAD]
    for title, metrics in SECTIONS.items():
        rows = "\n".join(map(_metric_row, metrics))
        parts.append(f"\n## {title}\n\n| metric | kind | labels | what it is |\n")
        parts.append(f"|---|---|---|---|\n{rows}\n")
    labels = "\n".join(f"| `{name}` | {about} |" for name, about in LABELS.items())
    parts.append("\n## Labels\n\nNo label ever holds a text that only a caller wrote: no ids, no ")
    parts.append("workspaces, no names of models that neither we nor the configuration know.\n\n")
    parts.append(f"| label | what it says |\n|---|---|\n{labels}\n")
    return "".join(parts)


def http_page() -> str:
    """Give docs/reference/http.md."""
    document = openapi.document(routes(Settings()), Settings())
    sections: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            call = f"{method.upper()} {path}"
            need = NEEDS[call]
            told = f"`{need}`" if isinstance(need, Role) else _OPEN[need]
            title = operation["tags"][0].replace("_", " ").capitalize()
            row = f"| `{call}` | {told} | {operation['summary']} |\n"
            sections.setdefault(title, []).append(row)
    head = "| call | needs a key with role | what it does |\n|---|---|---|\n"
    return HTTP_HEAD + "".join(
        f"\n## {title}\n\n{head}{''.join(rows)}" for title, rows in sections.items()
    )


def pages() -> dict[Path, str]:
    """Give every generated page by its path."""
    return {
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "metrics.md": metrics_page(),
        REFERENCE / "http.md": http_page(),
        JSON_PAGE: json_reference.page(),
    }


def removed_fields(page: str) -> list[str]:
    """Give the JSON fields that the committed page shows and a new one does not."""
    committed = JSON_PAGE.read_text(encoding="utf-8") if JSON_PAGE.exists() else ""
    gone = json_reference.names(committed) - json_reference.names(page)
    return sorted(f"{title}: {path}" for title, path in gone)


def write() -> None:
    """Write every page, or none when a JSON field is gone."""
    made = pages()
    if gone := removed_fields(made[JSON_PAGE]):
        sys.exit(
            f"error: these JSON fields are gone, which breaks callers: {', '.join(gone)}\n\n"
            f"hint: bring them back, or delete their rows in {JSON_PAGE.name} and tell it in "
            "CHANGELOG.md"
        )
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for file, text in made.items():
        file.write_text(text, encoding="utf-8")


def _row(setting: Setting) -> str:
    flag = f"`{setting.flag}`" if setting.flag else "none: secret"
    default = "–" if setting.default in (None, ()) else f"`{_literal(setting.default)}`"
    cells = (
        f"`{setting.name}`", flag, f"`{setting.variable}`", TYPES[setting.kind], default,
        setting.spec.unit or "–", setting.bound or "–", setting.spec.about,
    )  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _metric_row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.about} |"


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _commands(
    command: click.Command, path: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command, info_name=path.rpartition(" ")[2], parent=parent, terminal_width=WIDTH,
        help_option_names=["-h", "--help"],
    )  # fmt: skip
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield from _commands(child, f"{path} {name}", context)


if __name__ == "__main__":
    write()
