"""OGX: its server with its own message batches, from the create call to the last result line."""

import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers.work import Work, given, report
from bench.process import free_port, process

# Its event loop is busy while a batch runs: asking more often would cost it time.
_POLL_S = 0.05
_STARTED_WITHIN_S = 60.0

_CONFIG = """
version: 2
distro_name: bench
apis: [inference, messages]
providers:
  inference:
  - provider_id: vllm
    provider_type: remote::vllm
    config: {{base_url: "{url}/v1", api_token: bench}}
  messages:
  - provider_id: builtin
    provider_type: inline::builtin
    config:
      kvstore: {{namespace: message_batches, backend: kv_default}}
      max_concurrent_requests_per_batch: {concurrency}
storage:
  backends:
    kv_default: {{type: kv_sqlite, db_path: {folder}/kv.db}}
    sql_default: {{type: sql_sqlite, db_path: {folder}/sql.db}}
  stores:
    metadata: {{namespace: registry, backend: kv_default}}
    inference: {{table_name: inference_store, backend: sql_default, enabled: false}}
    conversations: {{table_name: openai_conversations, backend: sql_default}}
    prompts: {{table_name: prompts, backend: sql_default}}
    connectors: {{table_name: connectors, backend: sql_default}}
registered_resources: {{models: []}}
server: {{host: 127.0.0.1, port: {port}}}
"""


def run(work: Work) -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder, _server(work, Path(folder)) as url:
        _batch(url, work, work.bodies[:1])
        began = time.perf_counter()
        answers = _batch(url, work, work.bodies)
        report(time.perf_counter() - began, answers)


def _batch(url: str, work: Work, bodies: list[dict[str, Any]]) -> int:
    """Run a batch; give how many requests succeeded."""
    requests = [
        {"custom_id": f"doc-{number}", "params": body | {"model": f"vllm/{work.model}"}}
        for number, body in enumerate(bodies)
    ]
    created = json.loads(_call(url, json.dumps({"requests": requests}).encode()))
    batch = f"{url}/{created['id']}"
    while json.loads(_call(batch))["processing_status"] != "ended":
        time.sleep(_POLL_S)
    lines = _call(f"{batch}/results").splitlines()
    return sum(json.loads(line)["result"]["type"] == "succeeded" for line in lines)


def _call(url: str, body: bytes | None = None) -> bytes:
    headers = {
        "content-type": "application/json", "x-api-key": "bench", "anthropic-version": "2023-06-01",
    }  # fmt: skip
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request) as response:
        return bytes(response.read())


@contextmanager
def _server(work: Work, folder: Path) -> Generator[str]:
    """Run the server until the block ends; give the URL of its batches."""
    port = free_port()
    config = folder.absolute() / "config.yaml"
    text = _CONFIG.format(
        url=work.url, concurrency=work.concurrency, folder=config.parent, port=port
    )
    config.write_text(text, encoding="utf-8")
    program = Path(sys.executable).with_name("ogx")
    command: list[str | Path] = [program, "run", config, "--port", str(port), "--insecure"]
    with process(
        command, folder=config.parent, port=port, log="ogx.log", within_s=_STARTED_WITHIN_S
    ):
        yield f"http://127.0.0.1:{port}/v1/messages/batches"


if __name__ == "__main__":
    # Leave by way of every `with` block: no server stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run(given())
