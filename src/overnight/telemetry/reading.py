"""What all counters stand at now, read from the parts that count."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, get_args

from overnight import __version__
from overnight.catalogue import known_models
from overnight.clock import Clock
from overnight.dispatch.breaker import State
from overnight.dispatch.gate import Gate
from overnight.dispatch.queue import RouteId
from overnight.dispatch.retry import POLICIES
from overnight.dispatch.routing import Routing
from overnight.dispatch.tally import Calls, Histogram
from overnight.pipeline.lanes import Lane, Lanes
from overnight.pipeline.progress import Meter
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.worker import Worker
from overnight.telemetry.table import TABLE
from overnight.webhooks.tally import Tally

# In the order of the metric's labels.
Values = tuple[str, ...]


class Reading:
    """Numbers and histograms by metric and by the values of its labels."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[Values, float]] = {name: {} for name in TABLE}
        self.histograms: dict[str, dict[Values, Histogram]] = {name: {} for name in TABLE}

    def add(self, name: str, number: float, *values: str) -> None:
        """Add to a number, or begin it. Raises: KeyError when the table does not have it."""
        numbers = self.numbers[name]
        numbers[values] = numbers.get(values, 0) + number

    def add_histogram(self, name: str, histogram: Histogram, *values: str) -> None:
        """Add to a histogram, or begin it. Raises: KeyError when the table does not have it."""
        histograms = self.histograms[name]
        found = histograms.get(values)
        if found is None:
            found = histograms[values] = Histogram(histogram.bounds)
        pairs = zip(found.counts, histogram.counts, strict=True)
        found.counts = [one + other for one, other in pairs]
        found.sum += histogram.sum


class _Numbered(NamedTuple):
    lane: Lane
    # Backend and number.
    values: Values


class Reader:
    """Reads the counters of one process. To be used on its event loop, which changes them."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        meter: Meter,
        treasury: Treasury,
        clock: Clock,
        worker: Worker | None = None,
        webhooks: Tally | None = None,
    ) -> None:
        self._lanes = _numbered(lanes)
        self._routing = lanes.routing
        self._meter = meter
        self._treasury = treasury
        self._clock = clock
        self._worker = worker
        self._webhooks = webhooks

    def read(self) -> Reading:
        """Read everything; nothing waits, and nothing is asked of database or backends."""
        reading = Reading()
        now_s = self._clock.seconds()
        for lane, values in self._lanes:
            self._read_calls(reading, lane.gate, values)
            _read_attempts(reading, lane.gate, values)
            _read_gate(reading, lane.gate, values, now_s)
            self._read_limits(reading, lane.gate, values, now_s)
        if self._worker is not None:
            _read_worker(reading, self._worker)
        if self._webhooks is not None:
            _read_webhooks(reading, self._webhooks, self._clock.now())
        _read_budgets(reading, self._treasury)
        reading.add("overnight_batches_running", self._meter.running)
        reading.add("overnight_requests_open", self._meter.open_requests)
        reading.add("overnight_build_info", 1, __version__)
        return reading

    def _read_calls(self, reading: Reading, gate: Gate, values: Values) -> None:
        realtime = gate.realtime_in_flight
        reading.add("overnight_calls_in_flight", gate.in_flight - realtime, *values, "batch")
        reading.add("overnight_calls_in_flight", realtime, *values, "real_time")
        for traffic, groups in (("batch", gate.tally.batch), ("real_time", gate.tally.realtime)):
            for group, calls in groups.items():
                model = _model(self._routing, group)
                _read_group(reading, calls, (*values, model, traffic))

    def _read_limits(self, reading: Reading, gate: Gate, values: Values, now_s: float) -> None:
        scarcest: dict[Values, tuple[float, float]] = {}
        for group, level in gate.paces(now_s):
            model = "" if group is None else _model(self._routing, group)
            key = (*values, model, level.of)
            # Of limits that share their labels the one that is used up most.
            found = (level.remaining, float(level.per_minute))
            scarcest[key] = min(scarcest.get(key, found), found, key=lambda one: one[0] / one[1])
        for key, (remaining, per_minute) in scarcest.items():
            reading.add("overnight_rate_limit_per_minute", per_minute, *key)
            reading.add("overnight_rate_limit_remaining", remaining, *key)
        for limit, waits in gate.tally.waits.items():
            seconds = gate.tally.waited_s[limit]
            reading.add("overnight_rate_limit_waits_total", waits, *values, limit)
            reading.add("overnight_rate_limit_wait_seconds_total", seconds, *values, limit)


def _read_group(reading: Reading, calls: Calls, values: Values) -> None:
    for outcome, count in (
        ("succeeded", calls.succeeded), ("abandoned", calls.abandoned), *calls.failed.items()
    ):  # fmt: skip
        reading.add("overnight_calls_total", count, *values, outcome)
    for cache, tokens in (
        ("read", calls.read_tokens),
        ("written", calls.written_tokens),
        ("uncached", calls.uncached_tokens),
    ):
        reading.add("overnight_prompt_tokens_total", tokens, *values, cache)
    reading.add("overnight_output_tokens_total", calls.output_tokens, *values)
    reading.add_histogram("overnight_call_seconds", calls.seconds, *values)
    reading.add_histogram("overnight_first_byte_seconds", calls.first_byte_s, *values)


def _read_attempts(reading: Reading, gate: Gate, values: Values) -> None:
    tally = gate.tally
    for (kind, charged), count in tally.retries.items():
        if POLICIES[kind].retriable:
            reading.add("overnight_retries_total", count, *values, kind, _word(charged))
    for kind, count in tally.given_up.items():
        reading.add("overnight_given_up_total", count, *values, kind)
    reading.add("overnight_fallback_calls_total", tally.fallbacks, *values)
    reading.add("overnight_stragglers_cut_total", tally.stragglers_cut, *values)
    reading.add("overnight_leaders_sent_total", tally.leaders_sent, *values)
    reading.add("overnight_leaders_failed_total", tally.leaders_failed, *values)


def _read_gate(reading: Reading, gate: Gate, values: Values, now_s: float) -> None:
    concurrency, breaker = gate.concurrency, gate.breaker
    reading.add("overnight_concurrency_limit", int(concurrency.limit), *values)
    reading.add("overnight_concurrency_ceiling", concurrency.ceiling, *values)
    for cut, count in concurrency.cuts.items():
        reading.add("overnight_concurrency_cuts_total", count, *values, cut)
    reading.add("overnight_concurrency_growths_total", concurrency.growths, *values)
    current = breaker.state(now_s)
    for state in get_args(State):
        reading.add("overnight_breaker_state", state == current, *values, state)
    reading.add("overnight_breaker_opens_total", breaker.opens, *values)
    reading.add("overnight_breaker_probes_total", breaker.probes, *values)
    for kind, count in breaker.cooldowns.items():
        seconds = breaker.cooldown_s[kind]
        reading.add("overnight_cooldowns_total", count, *values, kind)
        reading.add("overnight_cooldown_seconds_total", seconds, *values, kind)


def _read_worker(reading: Reading, worker: Worker) -> None:
    workload, journal, leaser = worker.workload, worker.journal, worker.leaser
    held_back = len(workload) - workload.sendable
    for state, count in (
        ("sendable", workload.sendable), ("held_back", held_back), ("retry", worker.retrying)
    ):  # fmt: skip
        reading.add("overnight_requests_waiting", count, state)
    turns = workload.turns
    reading.add("overnight_turns_total", turns.urgent, _word(True))
    reading.add("overnight_turns_total", turns.all - turns.urgent, _word(False))
    reading.add("overnight_batches_at_risk", len(workload.urgent))
    reading.add("overnight_followers_released_total", workload.released)
    for outcome, count in journal.outcomes.items():
        reading.add("overnight_outcomes_total", count, outcome)
    reading.add_histogram("overnight_journal_group_outcomes", journal.group_sizes)
    reading.add_histogram("overnight_journal_commit_seconds", journal.commit_s)
    reading.add("overnight_journal_failures_total", journal.failures)
    reading.add("overnight_shards_held", len(workload.held))
    reading.add("overnight_shards_claimed_total", leaser.claimed_first, "first")
    reading.add("overnight_shards_claimed_total", leaser.claimed_again, "again")
    reading.add("overnight_shards_freed_total", leaser.freed)
    reading.add("overnight_leases_lost_total", worker.lost)


def _read_webhooks(reading: Reading, tally: Tally, now: datetime) -> None:
    for outcome, count in tally.attempts.items():
        reading.add("overnight_webhook_attempts_total", count, outcome)
    reading.add("overnight_webhook_given_up_total", tally.given_up)
    reading.add("overnight_webhook_endpoints_disabled_total", tally.disabled)
    due, since = tally.backlog
    reading.add("overnight_webhook_deliveries_due", due)
    age_s = 0.0 if since is None else (now - since).total_seconds()
    reading.add("overnight_webhook_due_age_seconds", max(0.0, age_s))


def _read_budgets(reading: Reading, treasury: Treasury) -> None:
    reading.add("overnight_budget_refusals_total", treasury.refusals)
    reading.add("overnight_budget_stops_total", treasury.stops)
    for percent, count in treasury.warnings.items():
        reading.add("overnight_budget_warnings_total", count, str(percent))


def _numbered(lanes: Lanes) -> Sequence[_Numbered]:
    """Number the lanes of each backend, in the order of its URLs."""
    counted: dict[str, int] = {}
    numbered = []
    for lane in lanes:
        number = counted[lane.name] = counted.get(lane.name, 0) + 1
        numbered.append(_Numbered(lane, (lane.name, str(number))))
    return numbered


def _model(routing: Routing, route: RouteId) -> str:
    """Name the model of a route; what only a caller wrote is not repeated."""
    found = routing.routes[route]
    known = known_models().find(found.model) if found.model is not None else None
    return found.rule if known is None else known.id


def _word(yes: object) -> str:
    return "true" if yes else "false"
