"""Render docs/reference/json.md: the fields of every JSON document of our own."""

import contextlib
import functools
import io
import itertools
import json
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from script.json_fields import Field, of_examples, of_struct
from script.json_samples import variants

from overnight.cli import failure, watch
from overnight.cli.program import run
from overnight.errors import InvalidRequest
from overnight.http.costs import EstimateQuestion
from overnight.pricing import document, statement
from overnight.pricing.asked import PriceQuestion
from overnight.pricing.cost import Cost
from overnight.pricing.estimate import Estimate
from overnight.pricing.quote import Quote
from overnight.pricing.statement import Statement
from overnight.wire.audit import ActDocument
from overnight.wire.batches import DeletedMessageBatch, MessageBatch
from overnight.wire.events import DeliveryObject, EventEnvelope
from overnight.wire.keys import KeyDocument, KeyQuestion, LimitsChange, RevokedKey
from overnight.wire.organization import WorkspaceObject
from overnight.wire.progress import Progress
from overnight.wire.rate_limits import WorkspaceRateLimit
from overnight.wire.spend_limits import SpendLimit, SpendLimitDeleted, SpendSummary
from overnight.wire.webhooks import (
    DeletedEndpoint,
    Endpoint,
    RotateSecret,
    SigningSecret,
)

MEANINGS = Path(__file__).with_name("json_meanings.toml")

HEAD = """\
# JSON documents

Made by `script/docs` from the code; the meanings that no comment in the code tells stand in
`script/json_meanings.toml`.

These are the documents of our own. Those of the Messages API have the fields that Anthropic
documents. `models[].usd` is the field `usd` of each object in the list `models`; `<setting>.value`
is that of each setting. Money is text with every digit, null where a price is unknown. Moments are
text in ISO 8601. New fields may come with any release, so ignore those you do not know. Taking one
away is a breaking change: `script/docs` and the tests refuse it until its row is deleted here.
"""

_TABLE = "| field | type | unit | meaning |\n|---|---|---|---|\n"


class Document(NamedTuple):
    """One JSON document: what it is called, where it comes from, and how to learn its fields."""

    title: str
    about: str
    fields: Callable[[], Iterable[Field]]


@functools.cache
def page() -> str:
    """Give docs/reference/json.md. Raises: LookupError for a field without a meaning."""
    return render(DOCUMENTS, tomllib.loads(MEANINGS.read_text(encoding="utf-8")))


def render(documents: Iterable[Document], meanings: Mapping[str, Mapping[str, str]]) -> str:
    """Write the page; each field has to have a meaning, and each meaning a field.

    Shape of `meanings`: title → path → text; under `every` the last name of a path → text.
    Raises: LookupError that names the fields without a meaning, or the meanings without a field.
    """
    words = _Words(meanings)
    text = HEAD
    for title, about, fields in documents:
        rows = (_row(field, words.meaning(title, field)) for field in fields())
        text += f"\n## {title}\n\n{about}\n\n{_TABLE}" + "".join(rows)
    words.check()
    return text


def names(text: str) -> set[tuple[str, str]]:
    """Read the fields off a page: title and path of each."""
    found, title = set(), ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line[3:]
        elif row := re.match(r"\| `([^`]+)` \|", line):
            found.add((title, row[1]))
    return found


class _Words:
    """Finds meanings; notes the fields without one and the meanings that nobody asks for."""

    def __init__(self, meanings: Mapping[str, Mapping[str, str]]) -> None:
        self._meanings = meanings
        self._unused = {(title, path) for title, found in meanings.items() for path in found}
        self._missing: list[str] = []

    def meaning(self, title: str, field: Field) -> str:
        """Give what its document says, else the comment in the code, else what every one says."""
        name = field.path.rpartition(".")[2]
        return (
            self._find(title, field.path)
            or field.meaning
            or self._find("every", name)
            or self._miss(f"{title}: {field.path}")
        )

    def check(self) -> None:
        if self._missing or self._unused:
            raise LookupError(
                f"{MEANINGS.name}: fields without a meaning: {self._missing}; "
                f"meanings without a field: {sorted(self._unused)}"
            )

    def _find(self, title: str, path: str) -> str | None:
        found = self._meanings.get(title, {}).get(path)
        self._unused.discard((title, path))
        return found

    def _miss(self, field: str) -> str:
        self._missing.append(field)
        return "–"


def _row(field: Field, meaning: str) -> str:
    start = meaning[:1].upper() + meaning[1:]
    sentence = start if start.endswith(".") else f"{start}."
    cells = (f"`{field.path}`", field.kind, field.unit, sentence)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _struct(struct: type[msgspec.Struct]) -> Callable[[], Iterable[Field]]:
    return lambda: of_struct(struct)


def _examples(
    examples: Callable[[], Iterable[object]], **linked: str
) -> Callable[[], Iterable[Field]]:
    return lambda: of_examples(examples(), linked)


def _costs() -> Iterator[object]:
    own = {"id": "text", "prices_of": "text"}
    for made in variants(Statement):
        classes = itertools.cycle(["cache_read", "input", "cache_write_5m"])
        charges = [
            msgspec.structs.replace(charge, token_class=next(classes))
            for charge in [*made.charges, *made.charges[:1]]
        ]
        for charged in (charges, []):
            shown = statement.of_statement(msgspec.structs.replace(made, charges=charged))
            yield own | shown


def _quotes() -> Iterator[object]:
    return (document.of_quote(quote) | {"link": "text"} for quote in variants(Quote))


def _estimates() -> Iterator[object]:
    return itertools.chain(
        map(document.of_estimate, variants(Estimate)),
        (document.of_estimate(e) | {"estimate_id": "text"} for e in variants(Estimate)),
    )


def _kept() -> Iterator[object]:
    kept: dict[str, object] = {"id": "text", "low_usd": "1", "high_usd": "2"}
    yield from (kept | {"price": {}}, kept | {"price": None})


def _errors() -> Iterator[object]:
    caused = InvalidRequest("a.toml: not readable")
    caused.__cause__ = OSError(13, "permission denied")
    for error in (caused, InvalidRequest("no", hint="yes")):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            failure.report(error, as_json=True)
        yield json.loads(printed.getvalue())["error"]


def printed(*args: str) -> Any:
    """Run one call of the program and give the JSON that it prints."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        code = run([*args, "--json", "-q"])
    assert code == 0, out.getvalue()
    return json.loads(out.getvalue())


def _settings() -> Iterator[object]:
    return ({"<setting>": setting} for setting in printed("config", "show").values())


_QUOTE_TITLE, _COST_TITLE = "Price of a workload", "Price of a usage"
_MODELS = {f"models[].{name}": _COST_TITLE for name in ("low", "high", "expected")}

DOCUMENTS = (
    Document(
        "Live progress",
        "`GET /overnight/v1/batches/{id}/progress`, and each `progress` event of its stream.",
        _struct(Progress),
    ),
    Document(
        "Watch",
        "`overnight watch ID --json`, and each line of `--progress json` on stderr.",
        _struct(watch.Progress),
    ),
    Document(
        "Batch cost",
        "`GET /overnight/v1/batches/{id}/cost` and `overnight batches cost ID --json`.",
        _examples(_costs),
    ),
    Document(
        "Price question",
        "The body of `POST /overnight/v1/price`; every field may be left out.",
        _struct(PriceQuestion),
    ),
    Document(
        _QUOTE_TITLE,
        "`overnight price --json`, and the answer of `POST /overnight/v1/price` (without `link`).",
        _examples(_quotes),
    ),
    Document(
        _COST_TITLE,
        "The answer of `POST /overnight/v1/price` to a question with `usage`.",
        _examples(lambda: map(document.of_cost, variants(Cost))),
    ),
    Document(
        "Estimate question",
        "The body of `POST /overnight/v1/estimates`: `price`, or a range.",
        _struct(EstimateQuestion),
    ),
    Document(
        "Kept estimate",
        "The answer of `POST /overnight/v1/estimates`.",
        _examples(_kept, price=_QUOTE_TITLE),
    ),
    Document(
        "Estimate of a file",
        "`overnight estimate FILE --json`; `estimate_id` with `--keep`.",
        _examples(_estimates, **_MODELS),
    ),
    Document(
        "Batch",
        "The batch object of the Messages API: `overnight batches create|retrieve|cancel --json`; "
        "`batches list --json` prints an array of them.",
        _struct(MessageBatch),
    ),
    Document(
        "Deleted batch", "`overnight batches delete ID --json`.", _struct(DeletedMessageBatch)
    ),
    Document("New key question", "The body of `POST /overnight/v1/keys`.", _struct(KeyQuestion)),
    Document(
        "Key",
        "`GET /overnight/v1/keys/{id}`; `GET /overnight/v1/keys` lists them in `data`, "
        "`overnight keys list --json` in an array. The answer of `POST /overnight/v1/keys` and "
        "`overnight keys create --json` has `secret` too, this once.",
        _struct(KeyDocument),
    ),
    Document(
        "Key limits question",
        "The body of `POST /overnight/v1/keys/{id}`; the answer is the key, as that of "
        "`overnight keys limit ID --json`.",
        _struct(LimitsChange),
    ),
    Document(
        "Revoked key",
        "`POST /overnight/v1/keys/{id}/revoke` and `overnight keys revoke ID --json`.",
        _struct(RevokedKey),
    ),
    Document(
        "Act",
        "`GET /overnight/v1/audit` lists them in `data`, by `limit`, `after_id`, `before_id`, "
        "`action`, `outcome`, `key_id` and `subject_id`; `overnight audit list --json` prints an "
        "array of them.",
        _struct(ActDocument),
    ),
    Document(
        "Workspace",
        "The workspace of the Admin API: `overnight workspaces create|archive --json`; "
        "`workspaces list --json` prints an array of them.",
        _struct(WorkspaceObject),
    ),
    Document(
        "Workspace limits",
        "The limits of a workspace in the Admin API: `overnight workspaces limit --json`.",
        _struct(WorkspaceRateLimit),
    ),
    Document(
        "Budget",
        "A spend limit of the Admin API: `overnight budgets set --json`.",
        _struct(SpendLimit),
    ),
    Document(
        "Budget and spend",
        "A row of `GET /v1/organizations/spend_limits/effective`; `overnight budgets list --json` "
        "prints an array of them.",
        _struct(SpendSummary),
    ),
    Document("Removed budget", "`overnight budgets remove --json`.", _struct(SpendLimitDeleted)),
    Document(
        "Webhook endpoint",
        "`overnight webhooks retrieve|update|enable|disable --json`; `webhooks list --json` prints "
        "an array of them, and `webhooks create --json` one with its `signing_secret`.",
        _struct(Endpoint),
    ),
    Document(
        "Deleted webhook endpoint",
        "`overnight webhooks delete ID --json`.",
        _struct(DeletedEndpoint),
    ),
    Document("Signing secret", "`overnight webhooks rotate ID --json`.", _struct(SigningSecret)),
    Document(
        "Rotation",
        "The body of `POST /v1/organizations/webhooks/{id}/regenerate_signing_secret`, which may "
        "be left out.",
        _struct(RotateSecret),
    ),
    Document("Webhook event", "The body of a webhook.", _struct(EventEnvelope)),
    Document(
        "Delivery",
        "`GET /overnight/v1/webhooks/{id}/deliveries/{event_id}`, the answer of `POST` to its "
        "`/redeliver` and to `/overnight/v1/webhooks/{id}/test`, and `overnight webhooks "
        "redeliver|test --json`. `webhooks deliveries --json` prints an array of them, `GET "
        "/overnight/v1/webhooks/{id}/deliveries` gives a page of them, by `limit` (at most 100), "
        "`after_id`, `before_id` and `state`.",
        _struct(DeliveryObject),
    ),
    Document(
        "Results file",
        "`overnight batches results ID --out FILE --json`.",
        _examples(lambda: [{"file": "text", "results": 1}]),
    ),
    Document(
        "Error",
        '`{"error": {…}}` on stdout when a call with `--json` fails; the fields of `error`.',
        _examples(_errors),
    ),
    Document(
        "Settings",
        "`overnight config show --json`: an object per setting, under its name.",
        _examples(_settings),
    ),
    Document(
        "Advice",
        "`overnight advise --json`.",
        _examples(lambda: [printed("advise", what) for what in ("nightly reports", "poems")]),
    ),
    Document(
        "Known uses",
        "`overnight advise --list --json`: an array of these.",
        _examples(lambda: printed("advise", "--list")),
    ),
    Document(
        "Calculator page",
        "`overnight price --page FILE --json`.",
        _examples(lambda: [printed("price", "--page", "page.html")]),
    ),
    Document("Version", "`overnight version --json`.", _examples(lambda: [printed("version")])),
)
