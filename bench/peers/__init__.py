"""Other ways to get the same work done, each run beside us in the same benchmark.

One module per peer. It is a program, `python -m bench.peers.NAME URL BODIES CONCURRENCY`, that
sends the bodies of the file to the upstream at URL and prints a `bench.bare.Report`; it has its own
process, so that what it imports costs nobody else. A peer with its own virtual environment or its
own server starts it from its program.
"""

import msgspec


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs beside us."""

    # In the table of results.
    name: str
    module: str
    # Slow peers get fewer requests: the rate is compared, not the time.
    max_requests: int


PEERS = (
    Peer(
        name="AsyncAnthropic with a semaphore",
        module="bench.peers.naive_anthropic",
        max_requests=2_000,
    ),
)
