"""What every benchmark is given: how often to measure, where to work, which upstream to use."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from bench import nginx
from bench.body import answers
from bench.process import free_port, module, process

ROOT = Path(__file__).parents[1]
# On the disk of the checkout: a /tmp in memory would make every fsync free.
WORK = ROOT / "bench" / ".work"
# The text of the fixed message: with its usage about 600 bytes.
_TEXT_BYTES = 250


class Upstream(NamedTuple):
    url: str
    describes: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One call of script/bench."""

    # How often ours and the other are measured in turn.
    pairs: int
    concurrency: int
    nginx: str | None

    @contextmanager
    def folder(self) -> Generator[Path]:
        """Give an empty folder, removed when the block ends."""
        WORK.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WORK, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    @contextmanager
    def fast_upstream(self, folder: Path) -> Generator[Upstream]:
        """Answer at once: nginx, or where it is missing Python, which is then the limit."""
        if self.nginx is None:
            with self.upstream(folder) as upstream:
                yield Upstream(upstream.url, "upstream in Python: nginx is not installed")
            return
        port = free_port()
        command = nginx.answering(self.nginx, folder / "nginx", port, answers(_TEXT_BYTES))
        with process(command, folder=folder, port=port, log="nginx.log"):
            yield Upstream(f"http://127.0.0.1:{port}", "nginx as upstream")

    @contextmanager
    def upstream(
        self,
        folder: Path,
        *,
        latency_ms: float = 0,
        text_bytes: int = _TEXT_BYTES,
        parallel: int | None = None,
    ) -> Generator[Upstream]:
        """Answer after `latency_ms`, `parallel` calls at a time, and count them, in Python."""
        port = free_port()
        limit = () if parallel is None else ("--parallel", parallel)
        command = module(
            "bench.upstream", "--port", port, "--latency-ms", latency_ms,
            "--text-bytes", text_bytes, *limit,
        )  # fmt: skip
        with process(command, folder=folder, port=port, log="upstream.log"):
            at_once = "" if parallel is None else f", {parallel} calls at a time"
            yield Upstream(
                f"http://127.0.0.1:{port}", f"upstream with {latency_ms:g} ms latency{at_once}"
            )
