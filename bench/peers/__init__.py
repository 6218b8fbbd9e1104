"""Other ways to get the same work done, each run beside us in the same benchmark.

One module per peer, listed in `bench.peers.peer`. It is a program,
`python -m bench.peers.NAME URL BODIES CONCURRENCY`, that sends the bodies of the file to the
upstream at URL and prints a `bench.bare.Report`; it has its own process, so that what it imports
costs nobody else, and it is warm when its time begins. Most have an environment of their own, made
of `requirements/` when it is first needed: their programs import nothing of ours but
`bench.peers.work`, and nothing may be imported here.
"""
