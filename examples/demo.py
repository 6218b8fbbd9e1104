"""Send 10,000 documents through a real Overnight server with the official SDK.

`script/demo` prepares the environment and runs this. Everything happens on this machine: the
server listens on a free loopback port, keeps its data in a temporary folder, and its simulator
answers, so that nothing is sent anywhere and nothing is paid.
"""

import argparse
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anthropic
from anthropic.types.beta.messages.batch_create_params import Request
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

import overnight
from overnight.pricing.money import shown

MODEL = "claude-sonnet-4-6"
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 40.0
POLL_S = 0.2
SHOWN_RESULTS = 5
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SUBJECTS = ("invoice", "support ticket", "meeting note", "product review", "news item")
PLACES = ("Lisbon", "Osaka", "Nairobi", "Bogotá", "Oslo", "Chennai", "Toronto")

console = Console(highlight=False, soft_wrap=True)
talk = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo", description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000, metavar="N")
    count = parser.parse_args().documents
    with (
        tempfile.TemporaryDirectory(prefix="overnight-demo-") as folder,
        server(Path(folder)) as url,
    ):
        began = time.monotonic()
        client = anthropic.Anthropic(base_url=url, api_key="demo")
        batch_id = submit(client, documents(count))
        follow(url, batch_id)
        outcomes = read_results(client, batch_id)
        tell(outcomes, usage=progress_of(url, batch_id)["usage"], took_s=time.monotonic() - began)
    return 0 if outcomes["succeeded"] == count else 3


def documents(count: int) -> list[str]:
    """Make short texts, all different."""
    kinds = itertools.cycle(itertools.product(SUBJECTS, PLACES))
    return [
        f"This {subject} number {number} from {place} is about delivery, price and quality."
        for number, (subject, place) in zip(range(count), kinds, strict=False)
    ]


def submit(client: anthropic.Anthropic, docs: list[str]) -> str:
    """Create the batch; these lines are those of Anthropic's own examples."""
    requests: list[Request] = [
        {
            "custom_id": f"doc-{i}",
            "params": {
                "model": MODEL,
                "max_tokens": 512,
                "messages": [{"role": "user", "content": f"Summarize: {docs[i]}"}],
            },
        }
        for i in range(len(docs))
    ]
    batch = client.beta.messages.batches.create(requests=requests)
    talk.print(f"Submitted batch {batch.id}, status: {batch.processing_status}")
    return batch.id


def follow(url: str, batch_id: str) -> None:
    """Show live progress, which the wire's own counts do not give, until the batch has ended."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=talk) as bar:
        task = bar.add_task("requests", total=None, rate="")
        while True:
            now = progress_of(url, batch_id)
            rate = f"{now['rate_per_s']:,.0f}/s" if now["rate_per_s"] else ""
            bar.update(task, completed=now["recorded"], total=now["total"], rate=rate)
            if now["status"] == "ended":
                return
            time.sleep(POLL_S)


def read_results(client: anthropic.Anthropic, batch_id: str) -> Counter[str]:
    """Stream all results, print the first few, and count them by type."""
    outcomes: Counter[str] = Counter()
    for entry in client.beta.messages.batches.results(batch_id):
        outcomes[entry.result.type] += 1
        if entry.result.type == "succeeded" and outcomes["succeeded"] <= SHOWN_RESULTS:
            block = entry.result.message.content[0]
            text = block.text if block.type == "text" else f"[{block.type}]"
            console.print(f"  {entry.custom_id}: {text[:90]}", markup=False)
    return outcomes


def tell(outcomes: Counter[str], *, usage: dict[str, int], took_s: float) -> None:
    """Print the counts, the time, the cost and what to type next."""
    counts = ", ".join(
        f"{outcomes[kind]:,} {kind}" for kind in ("succeeded", "errored", "canceled", "expired")
    )
    console.print(f"\n{counts} in {took_s:.1f} s (answers are simulated)")
    console.print(costs(usage))
    console.print(
        "\nNext:\n"
        "  .venv/bin/overnight serve                       # the same, to stay\n"
        "  export ANTHROPIC_BASE_URL=http://127.0.0.1:8484 ANTHROPIC_API_KEY=any\n"
        "  .venv/bin/overnight serve --backend URL         # real answers, from any /v1/messages\n"
        "  .venv/bin/overnight --help",
        markup=False,
    )


def costs(usage: dict[str, int]) -> str:
    """Say what these tokens would cost with real answers."""
    cost = overnight.cost(usage, MODEL, tier="batch")
    return (
        f"{usage['input_tokens']:,} input and {usage['output_tokens']:,} output tokens of "
        f"{MODEL}:\n"
        f"{shown(cost.usd)} as a batch, {shown(cost.standard_usd)} at the standard price, "
        f"{cost.saving_percent}% saved"
    )


@contextmanager
def server(folder: Path) -> Generator[str]:
    """Run `overnight serve` on a free port; give its URL; stop it in every case."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = Path(sys.executable).with_name("overnight")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("OVERNIGHT_")}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", "--port", str(port), "--data", folder / "data"],
            cwd=folder,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this process alone; it stops the server itself.
            start_new_session=True,
        )
    try:
        wait_until_ready(url, process, log)
        talk.print(f"Overnight runs at {url}, its data in {folder}")
        yield url
    finally:
        stop(process)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            get(f"{url}/healthz")
            return
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    raise SystemExit(f"error: overnight serve did not start\n{said}")


def stop(process: subprocess.Popen[bytes]) -> None:
    # A second Ctrl-C now would leave the server behind.
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def progress_of(url: str, batch_id: str) -> Any:
    return json.loads(get(f"{url}/overnight/v1/batches/{batch_id}/progress"))


def get(url: str) -> bytes:
    # A proxy of the machine is for other hosts than this one.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"x-api-key": "demo"})
    with direct.open(request, timeout=30) as answer:
        return bytes(answer.read())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    for ending in ENDINGS:
        signal.signal(ending, signal.default_int_handler)
    try:
        sys.exit(main())
    except (anthropic.APIError, urllib.error.URLError) as error:
        talk.print(f"error: {error}", markup=False)
        sys.exit(5)
    except KeyboardInterrupt:
        talk.print("interrupted; the server is stopped and its data removed")
        sys.exit(130)
