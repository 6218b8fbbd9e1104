"""results: the download of 250 MB of results, beside nginx serving the same bytes."""

import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench import nginx
from bench.body import API_VERSION, create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.process import BenchFailed, free_port, process
from bench.run import Run
from bench.service import Service, check_results, service

_COUNT = 10_000
_TEXT_BYTES = 24_600
_BUFFER_BYTES = 1 << 20
_HEAD_END = b"\r\n\r\n"


class Download(NamedTuple):
    mb_per_s: float
    first_byte_ms: float


def results(run: Run) -> Iterator[Figure]:
    """Download the results of 10,000 requests, 25 kB each."""
    if run.nginx is None:
        raise BenchFailed("results needs nginx: Debian and Ubuntu have it as nginx-light")
    with run.folder() as folder, _ended(run, folder) as (ours, batch_id):
        root = folder / "files"
        root.mkdir()
        lines = ours.results(batch_id)
        check_results(lines, _COUNT)
        (root / "results.jsonl").write_bytes(lines)
        port = free_port()
        command = nginx.serving(run.nginx, folder / "nginx-files", port, root)
        with process(command, folder=folder, port=port, log="nginx-files.log"):
            floor_url = f"http://127.0.0.1:{port}/results.jsonl"
            downloads = [
                (
                    _download(f"{ours.batch_url(batch_id)}/results", len(lines)),
                    _download(floor_url, len(lines)),
                )
                for _ in range(run.pairs)
            ]
    size = f"{len(lines) / 1e6:.0f} MB"
    how = "a client that only receives, by socket; both files in the page cache"
    yield figure(
        "results", f"download of {size}", [Pair(a.mb_per_s, b.mb_per_s) for a, b in downloads],
        unit="MB/s", floor="nginx, sendfile", how=how,
        target=Target(limit=0.8, of="ratio", best="high"),
    )  # fmt: skip
    yield figure(
        "results", f"first byte of {size}",
        [Pair(a.first_byte_ms, b.first_byte_ms) for a, b in downloads],
        unit="ms", floor="nginx, sendfile", how=how, target=Target(limit=5, of="difference"),
    )  # fmt: skip


@contextmanager
def _ended(run: Run, folder: Path) -> Generator[tuple[Service, str]]:
    """Give a service with a batch that has ended, and the batch's id."""
    with (
        run.upstream(folder, text_bytes=_TEXT_BYTES) as upstream,
        service(folder, backend=upstream.url) as ours,
    ):
        batch_id = ours.create(create_body(params(_COUNT, 256)))
        ours.wait_until_ended(batch_id)
        yield ours, batch_id


def _download(url: str, size_bytes: int) -> Download:
    """Receive a whole answer and throw it away.

    Raises: BenchFailed for an answer that is no 200 or is shorter than `size_bytes`.
    """
    parts = urlsplit(url)
    ask = (
        f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n"
        f"anthropic-version: {API_VERSION}\r\n\r\n"
    )
    buffer = bytearray(_BUFFER_BYTES)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        began = time.perf_counter()
        connection.sendall(ask.encode())
        head = b""
        while not head.partition(_HEAD_END)[2]:
            received = connection.recv(_BUFFER_BYTES)
            if not received:
                raise BenchFailed(f"{url} answered nothing: {head!r}")
            head += received
        first_byte_s = time.perf_counter() - began
        total = len(head)
        while received_bytes := connection.recv_into(buffer):
            total += received_bytes
        took_s = time.perf_counter() - began
    if not head.startswith(b"HTTP/1.1 200") or total < size_bytes:
        raise BenchFailed(f"{url} answered {total} bytes of {size_bytes}: {head[:200]!r}")
    return Download(mb_per_s=size_bytes / took_s / 1e6, first_byte_ms=first_byte_s * 1000)
