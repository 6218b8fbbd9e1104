"""What a peer's program is given and what it prints; needs the standard library alone."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Work(NamedTuple):
    """What every peer has to do."""

    url: str
    # The params of each request, as the Messages API takes them.
    bodies: list[dict[str, Any]]
    concurrency: int

    @property
    def conversations(self) -> list[list[dict[str, Any]]]:
        """Give the messages of each request: peers write the rest of the body themselves."""
        return [body["messages"] for body in self.bodies]

    @property
    def prompts(self) -> list[str]:
        """Give the text of each request, for peers that take nothing else."""
        return [body["messages"][0]["content"] for body in self.bodies]

    @property
    def model(self) -> str:
        return str(self.bodies[0]["model"])

    @property
    def max_tokens(self) -> int:
        return int(self.bodies[0]["max_tokens"])


def given() -> Work:
    """Read what the command line names."""
    url, path, concurrency = sys.argv[1:]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return Work(url, [json.loads(line) for line in lines], int(concurrency))


def report(seconds: float, answers: int) -> None:
    """Print a `bench.bare.Report` on a line of its own, whatever the peer itself prints."""
    print("\n" + json.dumps({"seconds": seconds, "answers": answers}), flush=True)
