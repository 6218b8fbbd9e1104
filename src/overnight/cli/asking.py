"""What `overnight estimate` asks a server about a sample: token counts, or a pilot batch."""

import time
from collections.abc import Sequence

import msgspec

from overnight.cli.client import Client
from overnight.cli.output import Output
from overnight.model import Usage
from overnight.pricing import doors
from overnight.pricing.sampling import Exact, Params, Pilot
from overnight.wire.batches import MessageBatch
from overnight.wire.results import Succeeded, read_result

# What decides how many tokens a prompt has; the rest is refused by the endpoint.
_COUNTED = frozenset(
    {
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
_POLL_FIRST_S = 0.2
_POLL_CAP_S = 15.0


def exact(client: Client, size: int) -> Exact:
    """Count the prompts of a sample by the server's `count_tokens`."""

    def count(params: Params) -> int:
        return client.count_tokens({k: v for k, v in params.items() if k in _COUNTED})

    return Exact(size=size, count=count)


def pilot(client: Client, size: int, out: Output) -> Pilot:
    """Run a sample as a batch; it costs what such a batch costs."""

    def run(sample: Sequence[Params]) -> list[Usage | None]:
        rows = [
            {"custom_id": f"pilot-{number}", "params": params}
            for number, params in enumerate(sample)
        ]
        batch = client.create([msgspec.json.encode({"requests": rows})]).batch
        out.note(f"pilot: {len(rows):,} requests in {batch.id}, waiting for its end")
        _wait(client, batch)
        used = _usages(b"".join(client.results(batch.id)))
        return [used.get(f"pilot-{number}") for number in range(len(rows))]

    return Pilot(size=size, run=run)


def _wait(client: Client, batch: MessageBatch) -> None:
    pause_s = _POLL_FIRST_S
    while batch.processing_status != "ended":
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_CAP_S)
        batch = client.retrieve(batch.id)


def _usages(body: bytes) -> dict[str, Usage]:
    """Give the usage of each request that succeeded, by custom_id."""
    found = {}
    for line in body.splitlines():
        read = read_result(line)
        if isinstance(read.result, Succeeded):
            message = msgspec.json.decode(read.result.message, type=_Message)
            found[read.custom_id] = doors.usage_of(message.usage)
    return found


class _Message(msgspec.Struct, frozen=True):
    usage: dict[str, object]
