"""makespan: from the create call to the end of a batch, under rate limits that headers tell.

The upstream is the simulator with limits for requests, input tokens and output tokens: buckets
that hold a minute's worth and begin full. No order and no pace can be faster than the lower bound:
for each limit (work - what the full bucket gives) / rate, the largest of them, and the latency of
the last answer. With faults one call in a hundred fails, a third each with 529, 500 and a reset,
and one in two thousand hangs; the bound stays that of the work alone.

All times are a small share of those of a real service, and so is the time after which ours and the
loop take a hung call for lost.
"""

import time
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import msgspec
from bench.bare import Report
from bench.body import MODEL, create_body
from bench.figure import Figure, Pair, Target, figure
from bench.process import BenchFailed, module, output_of
from bench.run import Run
from bench.service import check_results, service
from bench.simulator import Stats, simulator

from overnight.tokens import prompt_tokens

_COUNT = 4_000
_CONCURRENCY = 256
_TIMEOUT_S = 2
_MIN_CHARACTERS, _MAX_CHARACTERS = 1_000, 7_000
_MIN_ANSWER_TOKENS, _MAX_ANSWER_TOKENS = 100, 300
_BASE_S, _PER_TOKEN_S, _JITTER = 0.15, 0.001, 0.3
# How long each limit alone would hold up what the full bucket does not give: input is the tightest.
_REQUESTS_S, _INPUT_S, _OUTPUT_S = 20, 25, 22
_LOOP = "a loop that obeys retry-after"
_MAX_LOOP_PAIRS = 3

_FAULTS = """
[[rules]]
probability = 0.0005
fault = { type = "slow", seconds = 3600 }
[[rules]]
probability = 0.00333
fault = { type = "status", status = 529 }
[[rules]]
probability = 0.00333
fault = { type = "status", status = 500 }
[[rules]]
probability = 0.00333
fault = { type = "reset" }
"""


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int
    output_tokens: int


class _Message(msgspec.Struct):
    usage: _Usage


class _Result(msgspec.Struct):
    message: _Message


class _Line(msgspec.Struct):
    result: _Result


class Limits(NamedTuple):
    """What the upstream allows in a minute."""

    requests: int
    input_tokens: int
    output_tokens: int


class Outcome(NamedTuple):
    """How one contestant did."""

    seconds: float
    lower_bound_s: float
    stats: Stats

    @property
    def refused_percent(self) -> float:
        return 100 * self.stats.rate_limited / self.stats.calls


def makespan(run: Run) -> Iterator[Figure]:
    """Send 4,000 requests under three rate limits, without faults and with them."""
    work = _Work(run)
    yield from _figures(work, faults=False, limit=1.05)
    yield from _figures(work, faults=True, limit=1.1)


def lower_bound_s(demand: Limits, limits: Limits, latency_s: float) -> float:
    """Give the least time in which so much can be answered."""
    beyond_s = ((work - least) * 60 / least for work, least in zip(demand, limits, strict=True))
    return max(0.0, *beyond_s) + latency_s


def _figures(work: "_Work", *, faults: bool, limit: float) -> Iterator[Figure]:
    name = ", with faults" if faults else ""
    ours: list[Outcome] = []
    loops: list[Outcome] = []
    for number in range(work.run.pairs):
        ours.append(work.ours(number, faults=faults))
        if number < _MAX_LOOP_PAIRS:
            loops.append(work.loop(number, ours[-1].lower_bound_s, faults=faults))
    yield figure(
        "makespan", f"4,000 requests{name}", [Pair(one.seconds, one.lower_bound_s) for one in ours],
        unit="s", floor="lower bound by limits and work", target=Target(limit=limit, of="ratio"),
        how=work.how,
    )  # fmt: skip
    yield figure(
        "makespan", f"calls answered with 429{name}",
        [Pair(one.refused_percent) for one in ours], unit="%",
        target=Target(limit=0.1, of="ours"), how=work.how,
    )  # fmt: skip
    pairs = list(zip(ours, loops, strict=False))
    seconds = [Pair(one.seconds, loop.seconds) for one, loop in pairs]
    yield figure(
        "makespan", f"beside a loop{name}", seconds, unit="s", peer=_LOOP, how=work.how
    )  # fmt: skip
    yield figure(
        "makespan", f"calls answered with 429, beside a loop{name}",
        [Pair(one.refused_percent, loop.refused_percent) for one, loop in pairs],
        unit="%", peer=_LOOP, how=work.how,
    )  # fmt: skip


class _Work:
    """The requests and the limits that hold them up."""

    def __init__(self, run: Run) -> None:
        self.run = run
        requests = _requests(Random(0))
        self._bodies = [msgspec.json.encode(request) for request in requests]
        self._body = create_body(self._bodies)
        expected = Limits(
            requests=_COUNT,
            input_tokens=sum(prompt_tokens(request) for request in requests),
            output_tokens=_COUNT * (_MIN_ANSWER_TOKENS + _MAX_ANSWER_TOKENS) // 2,
        )
        beyond_s = Limits(_REQUESTS_S, _INPUT_S, _OUTPUT_S)
        self._limits = Limits(
            *(round(work / (1 + s / 60)) for work, s in zip(expected, beyond_s, strict=True))
        )
        self.how = (
            f"{self._limits.requests:,} requests, {self._limits.input_tokens:,} input and "
            f"{self._limits.output_tokens:,} output tokens a minute; concurrency {_CONCURRENCY}, "
            f"calls cut after {_TIMEOUT_S} s"
        )

    def ours(self, number: int, *, faults: bool) -> Outcome:
        """Measure a fresh service from the create call until the end is seen."""
        flags = ("--concurrency", _CONCURRENCY, "--request-timeout-s", _TIMEOUT_S)
        with (
            self.run.folder() as folder,
            simulator(folder, self._script(number, faults=faults)) as upstream,
            service(folder, *flags, backend=upstream.url) as ours,
        ):
            began = time.perf_counter()
            batch_id = ours.create(self._body)
            ours.wait_until_ended(batch_id)
            took_s = time.perf_counter() - began
            lines = ours.results(batch_id)
            stats = upstream.stats()
        check_results(lines, _COUNT)
        decode = msgspec.json.Decoder(_Line).decode
        usages = [decode(line).result.message.usage for line in lines.splitlines()]
        demand = Limits(
            requests=_COUNT,
            input_tokens=sum(usage.input_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
        )
        latency_s = _BASE_S + _PER_TOKEN_S * demand.output_tokens / _COUNT
        return Outcome(took_s, lower_bound_s(demand, self._limits, latency_s), stats)

    def loop(self, number: int, bound_s: float, *, faults: bool) -> Outcome:
        """Measure the loop on the same work."""
        with (
            self.run.folder() as folder,
            simulator(folder, self._script(number, faults=faults)) as upstream,
        ):
            bodies = folder / "bodies.jsonl"
            bodies.write_bytes(b"\n".join(self._bodies))
            command = module("bench.obedient", upstream.url, bodies, _CONCURRENCY, _TIMEOUT_S)
            report = msgspec.json.decode(output_of(command, folder=folder), type=Report)
            stats = upstream.stats()
        if report.answers != _COUNT:
            raise BenchFailed(f"the loop has {report.answers} answers to {_COUNT} requests")
        return Outcome(report.seconds, bound_s, stats)

    def _script(self, number: int, *, faults: bool) -> str:
        """Write the simulator's script; each pair draws other answers and other faults."""
        script = (
            f"seed = {number}\n"
            f"[latency]\nbase_s = {_BASE_S}\nper_output_token_s = {_PER_TOKEN_S}\n"
            f"jitter = {_JITTER}\n"
            f"[answer]\nmin_tokens = {_MIN_ANSWER_TOKENS}\nmax_tokens = {_MAX_ANSWER_TOKENS}\n"
            f"[[limits]]\nrequests_per_minute = {self._limits.requests}\n"
            f"input_tokens_per_minute = {self._limits.input_tokens}\n"
            f"output_tokens_per_minute = {self._limits.output_tokens}\n"
        )
        return script + (_FAULTS if faults else "")


def _requests(random: Random) -> list[dict[str, object]]:
    """Make params of mixed lengths, which share no beginning."""
    made: list[dict[str, object]] = []
    for number in range(_COUNT):
        length = random.randint(_MIN_CHARACTERS, _MAX_CHARACTERS)
        text = (f"{number}: " + "and so on " * (length // 10))[:length]
        message = {"role": "user", "content": text}
        made.append({"model": MODEL, "max_tokens": 512, "messages": [message]})
    return made
