"""The OpenAPI document says what the service does: schemathesis calls every operation by it.

OVERNIGHT_FUZZ_EXAMPLES makes the run long: random calls too, so many for each operation.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from litestar import get
from tests.conformance.test_messages_backend import MESSAGE
from tests.support.mutation import EXAMPLES
from tests.support.postgres import Cluster
from tests.support.process import Server
from tests.wire.caller import Caller
from tests.wire.organization import ADMIN
from tests.wire.served import Served

from overnight.http.admission import NEEDS, Open
from overnight.http.app import routes
from overnight.http.openapi import PATH, document
from overnight.http.operations import READS
from overnight.settings import Settings
from overnight.wire import results

ROOT = Path(__file__).parents[2]
CONFIG = "tests/wire/conformance.toml"


@pytest.fixture
def server(tmp_path: Path, postgres: Cluster) -> Iterator[Server]:
    """A real `overnight serve` with one key, which may do everything.

    On PostgreSQL, which takes fewer texts than SQLite.
    """
    config = tmp_path / "overnight.toml"
    config.write_text(f'api_keys = ["admin={ADMIN}"]\n')
    with postgres.database() as url:
        server = Server(tmp_path / "data", "--config", str(config), "--database-url", url)
        try:
            asyncio.run(server.start())
            yield server
        finally:
            server.kill()


def operations(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each operation of a document by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in shown["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_described_and_nothing_else() -> None:
    shown = operations(document(routes(Settings()), Settings()))
    assert shown.keys() == READS.keys() == NEEDS.keys()
    assert all(operation["summary"] for operation in shown.values())
    ids = [operation["operationId"] for operation in shown.values()]
    assert len(set(ids)) == len(ids)


def test_a_route_that_nobody_described_is_refused() -> None:
    @get("/v1/unknown")
    async def unknown() -> None:
        """Do nothing."""

    with pytest.raises(KeyError, match="GET /v1/unknown"):
        document([unknown], Settings())


def test_what_needs_a_key_says_so_and_what_is_public_does_not() -> None:
    shown = operations(document(routes(Settings()), Settings()))
    public = {name for name, operation in shown.items() if "security" not in operation}
    assert public == {name for name, need in NEEDS.items() if need is Open.TO_ALL}
    stream = shown["GET /v1/messages/batches/{batch_id}/results"]
    assert stream["description"] == "Needs a key with role `content`."


def test_the_document_is_public_and_knows_the_path_of_the_public_url(served: Served) -> None:
    answer = served.caller().get(PATH, without=["authorization", "anthropic-version"])
    assert (answer.status, answer.json["servers"]) == (200, [{"url": "/"}])
    behind = Settings(public_url="https://example.org/batches/")
    assert document(routes(behind), behind)["servers"] == [{"url": "/batches"}]


def test_a_line_of_results_and_an_error_have_their_schemas() -> None:
    shown = document(routes(Settings()), Settings())
    answers = shown["paths"]["/v1/messages/batches/{batch_id}/results"]["get"]["responses"]
    lines = answers["200"]["content"]["application/x-jsonl"]
    assert lines == {"itemSchema": {"$ref": "#/components/schemas/ResultLine"}}
    missing = shown["components"]["responses"][answers["404"]["$ref"].rpartition("/")[2]]
    assert missing["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/ErrorBody"
    }


@pytest.mark.parametrize(
    "line",
    [
        results.succeeded_line("a", MESSAGE),
        results.errored_line("a", "api_error", "no", {"error_code": "x"}, "req_01"),
        results.canceled_line("a"),
        results.expired_line("a"),
    ],
)
def test_each_line_of_results_is_as_its_schema_says(line: bytes) -> None:
    shown = document(routes(Settings()), Settings())
    schema = {"$ref": "#/components/schemas/ResultLine", "components": shown["components"]}
    found = json.loads(line)
    assert jsonschema_rs.is_valid(schema, found)
    assert not jsonschema_rs.is_valid(schema, found | {"result": {"type": "succeeded"}})


def test_options_names_every_method_of_a_path(caller: Caller) -> None:
    answer = caller.call("OPTIONS", "/v1/messages/batches/msgbatch_01")
    assert (answer.status, answer.header("allow")) == (204, "DELETE, GET, OPTIONS")


@pytest.mark.timeout(0 if EXAMPLES else 600)
def test_every_operation_passes_every_check(server: Server) -> None:
    # The same calls each time.
    short = ["--phases", "coverage,stateful", "--generation-deterministic"]
    phases = ["--max-examples", str(EXAMPLES)] if EXAMPLES else short
    call = [sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run"]
    done = subprocess.run(
        [*call, server.base_url + PATH, "--checks", "all", "--no-color", *phases],
        cwd=ROOT,
        env={**os.environ, "CONFORMANCE_KEY": ADMIN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    # It leaves out the document, which it has just read.
    assert f"Tested: {len(READS) - 1}" in done.stdout, done.stdout
