"""dispatch, latency-bound: from the create call to the last result line read.

Peers get the same bodies and send them to the same upstream; those that speak Chat Completions get
an answer with the same text. A peer that cannot run here is left out with a note.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from bench.bare import Report
from bench.body import create_body, params
from bench.figure import Figure, Pair, Target, figure
from bench.peers.peer import PEERS, Peer, PeerFailed
from bench.process import BenchFailed, module, output_of
from bench.run import Run, Upstream
from bench.service import POLL_S, check_results, service

_REQUEST_BYTES = 1_024
_MAX_PEER_PAIRS = 3
_LATENCY_S = 0.05


def dispatch(run: Run) -> Iterator[Figure]:
    """Send 10,000 requests to an upstream that answers at once."""
    requests = params(10_000, _REQUEST_BYTES)
    with run.folder() as folder, run.fast_upstream(folder) as upstream:
        work = _Work(run, folder, upstream, requests, run.concurrency)
        how = f"{upstream.describes}; concurrency {work.concurrency}; polled every {POLL_S:g} s"
        pairs = [Pair(work.ours_per_s(), work.bare_per_s()) for _ in range(run.pairs)]
        yield figure(
            "dispatch", "10,000 requests", pairs, unit="requests/s", floor="bare pyreqwest loop",
            target=Target(limit=0.5, of="ratio", best="high"), how=how,
        )  # fmt: skip
        yield from _beside_peers("dispatch", work, how)


def latency_bound(run: Run) -> Iterator[Figure]:
    """Send 1,000 requests, 100 at a time, to an upstream that takes 50 ms for each."""
    requests = params(1_000, _REQUEST_BYTES)
    with run.folder() as folder, run.upstream(folder, latency_ms=_LATENCY_S * 1000) as upstream:
        work = _Work(run, folder, upstream, requests, 100)
        how = f"{upstream.describes}; concurrency 100; polled every {POLL_S:g} s"
        ideal_s = len(requests) / work.concurrency * _LATENCY_S
        bare = [Pair(work.ours_s(), work.bare_s()) for _ in range(run.pairs)]
        ideal = [Pair(pair.ours, ideal_s) for pair in bare]
        yield figure(
            "latency-bound", "1,000 requests, 50 ms each", ideal, unit="s",
            floor="requests / concurrency × latency", target=Target(limit=1.3, of="ratio"), how=how,
        )  # fmt: skip
        yield figure(
            "latency-bound", "1,000 requests, 50 ms each", bare, unit="s",
            floor="bare pyreqwest loop", how=how,
        )  # fmt: skip
        yield from _beside_peers("latency-bound", work, how)


class _Work:
    """The same requests for everybody, and the upstream they go to."""

    def __init__(
        self, run: Run, folder: Path, upstream: Upstream, requests: list[bytes], concurrency: int
    ) -> None:
        self.run = run
        self.concurrency = concurrency
        self._folder = folder
        self._upstream = upstream
        self._requests = requests
        self._body = create_body(requests)

    def ours_s(self) -> float:
        """Measure a fresh service; each line of the results is checked afterwards."""
        flags = ("--concurrency", self.concurrency)
        with (
            self.run.folder() as folder,
            service(folder, *flags, backend=self._upstream.url) as ours,
        ):
            began = time.perf_counter()
            batch_id = ours.create(self._body)
            ours.wait_until_ended(batch_id)
            lines = ours.results(batch_id)
            took_s = time.perf_counter() - began
        check_results(lines, len(self._requests))
        return took_s

    def ours_per_s(self) -> float:
        return len(self._requests) / self.ours_s()

    def bare_s(self) -> float:
        count = len(self._requests)
        command = module("bench.bare", self._upstream.url, self._bodies(count), self.concurrency)
        report = msgspec.json.decode(output_of(command, folder=self._folder), type=Report)
        if report.answers != count:
            raise BenchFailed(f"bench.bare has {report.answers} answers to {count} requests")
        return report.seconds

    def bare_per_s(self) -> float:
        return len(self._requests) / self.bare_s()

    def peer_count(self, peer: Peer) -> int:
        return min(len(self._requests), peer.max_requests)

    def peer_per_s(self, peer: Peer) -> float:
        count = self.peer_count(peer)
        return count / peer.run(self._upstream.url, self._bodies(count), count, self.concurrency)

    def _bodies(self, count: int) -> Path:
        """Give a file with so many bodies."""
        bodies = self._folder / f"bodies-{count}.jsonl"
        if not bodies.exists():
            bodies.write_bytes(b"\n".join(self._requests[:count]))
        return bodies


def _beside_peers(id: str, work: _Work, how: str) -> Iterator[Figure]:
    for peer in PEERS:
        try:
            peer.prepare()
            pairs = [
                Pair(work.ours_per_s(), work.peer_per_s(peer))
                for _ in range(min(work.run.pairs, _MAX_PEER_PAIRS))
            ]
        except PeerFailed as error:
            print(f"note: {id}: {peer.name} is left out: {error}", file=sys.stderr)
            continue
        notes = [how, peer.describe(), f"{work.peer_count(peer):,} requests for the peer"]
        yield figure(
            id, "beside a peer", pairs, unit="requests/s", peer=peer.name,
            how="; ".join(note for note in notes if note),
        )  # fmt: skip
