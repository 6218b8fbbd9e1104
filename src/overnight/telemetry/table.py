"""Every metric of the service, as one table: name, kind, labels, meaning. Pure data.

docs/reference/metrics.md is made from it, and nothing is exported that is not here.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric; counters begin at 0 when the process starts."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()


_LANE = ("backend", "number")
_CALLS = (*_LANE, "model", "traffic")

# What each label says and what its values are: none is taken from a request as it stands.
LABELS: Mapping[str, str] = {
    "backend": "The backend's name in the configuration; `backend` or `simulator` without a file.",
    "number": "Which of the backend's URLs, counted from 1; each has limits of its own.",
    "model": "A Claude model by its id; others by the glob of their route, `*` without routes; "
    "empty for limits that were configured.",
    "traffic": "`batch`, or `real_time` for `POST /v1/messages`.",
    "outcome": "Of a call `succeeded`, `abandoned` (broken off here: canceled, expired, the caller "
    "left) or why it failed: a word of `reason`. Of a request its type of result. "
    "Of an attempt at a webhook `acknowledged`, `failed` (to be repeated) or `refused` (not before "
    "its endpoint is mended).",
    "reason": "Why: `unreachable`, `reset`, `timeout`, `malformed`, `rate_limited` (429), "
    "`overloaded` (529), `server_error` (other 5xx), `conflict`, `invalid_request`, "
    "`authentication`, `billing`, `permission`, `not_found`, `too_large`, `internal`. Of a cut "
    "`trouble` (failed calls), `slow` (answers took far longer than usual) or `outage` (a start "
    "from one call after it).",
    "charged": "`true` when the attempt counts against `max_attempts`; `false` for what is no "
    "fault of the request.",
    "cache": "`read` from the backend's prompt cache, `written` into it, or `uncached`.",
    "limit": "`requests`, `input_tokens` or `output_tokens`.",
    "state": "Of a breaker `closed` (calls pass), `cooldown` (the backend said for how long to "
    "stay away), `open` (it is not there) or `half_open` (one call probes). Of requests "
    "`sendable`, `held_back` (for the leader of their prefix) or `retry` (for their next attempt).",
    "lease": "`first`, or `again` when the shard was somebody's before: of a worker that died, "
    "was stopped or lost it.",
    "percent": "Of a budget, how much is used: `50`, `80` or `100`.",
    "urgent": "`true` for a turn that a batch got because it may not end in time.",
    "version": "Of Overnight.",
}

SECTIONS: Mapping[str, tuple[Metric, ...]] = {
    "Calls to a backend": (
        Metric("overnight_calls_total", "counter", "Calls that came back, each one attempt.",
               (*_CALLS, "outcome")),
        Metric("overnight_calls_in_flight", "gauge", "Calls under way.", (*_LANE, "traffic")),
        Metric("overnight_call_seconds", "histogram",
               "Time from sending a call to its whole answer, of calls that succeeded.", _CALLS),
        Metric("overnight_first_byte_seconds", "histogram",
               "Time until an answer began, where that is seen: streamed real-time calls, and "
               "leaders, for whose first byte others wait.", _CALLS),
        Metric("overnight_prompt_tokens_total", "counter",
               "Tokens of prompts, as the answers count them.", (*_CALLS, "cache")),
        Metric("overnight_output_tokens_total", "counter",
               "Tokens of answers, as they count them.", _CALLS),
        Metric("overnight_fallback_calls_total", "counter",
               "Calls of batches that went to this backend as a fallback of their route.", _LANE),
    ),
    "Failed attempts": (
        Metric("overnight_retries_total", "counter",
               "Failed attempts after which another one was scheduled.",
               (*_LANE, "reason", "charged")),
        Metric("overnight_given_up_total", "counter",
               "Requests whose last attempt failed: errored results.", (*_LANE, "reason")),
        Metric("overnight_stragglers_cut_total", "counter",
               "Calls that took far longer than all others, given up and sent again.", _LANE),
    ),
    "How many calls at once": (
        Metric("overnight_concurrency_limit", "gauge", "Most calls at once, now.", _LANE),
        Metric("overnight_concurrency_ceiling", "gauge",
               "Most calls at once that the configuration allows.", _LANE),
        Metric("overnight_concurrency_cuts_total", "counter",
               "How often the limit was lowered.", (*_LANE, "reason")),
        Metric("overnight_concurrency_growths_total", "counter",
               "How often the limit was raised.", _LANE),
    ),
    "Staying away": (
        Metric("overnight_breaker_state", "gauge",
               "1 for the state that the breaker is in, 0 for the others.", (*_LANE, "state")),
        Metric("overnight_breaker_opens_total", "counter",
               "Outages noticed, and probes that failed within them.", _LANE),
        Metric("overnight_breaker_probes_total", "counter",
               "Calls sent to see whether the backend is back.", _LANE),
        Metric("overnight_cooldowns_total", "counter",
               "How often a backend said for how long to stay away, answers that came during a "
               "cooldown not counted.", (*_LANE, "reason")),
        Metric("overnight_cooldown_seconds_total", "counter",
               "Time for which cooldowns closed the backend to batches.", (*_LANE, "reason")),
    ),
    "Rate limits": (
        Metric("overnight_rate_limit_per_minute", "gauge",
               "The limit, as configured (`model` is empty) or as answers state it.",
               (*_LANE, "model", "limit")),
        Metric("overnight_rate_limit_remaining", "gauge",
               "What may still be taken of it now, as the backend is believed to count; below 0 "
               "when calls took more than was expected.", (*_LANE, "model", "limit")),
        Metric("overnight_rate_limit_waits_total", "counter",
               "How often requests waited for a limit.", (*_LANE, "limit")),
        Metric("overnight_rate_limit_wait_seconds_total", "counter",
               "Time that these waits take.", (*_LANE, "limit")),
    ),
    "Leaders and followers": (
        Metric("overnight_leaders_sent_total", "counter",
               "Requests sent ahead of others that begin alike.", _LANE),
        Metric("overnight_leaders_failed_total", "counter",
               "Leaders that came back before their answer began, so that another one leads.",
               _LANE),
        Metric("overnight_followers_released_total", "counter",
               "Requests that no longer waited for their leader, because it took too long."),
    ),
    "What waits": (
        Metric("overnight_requests_waiting", "gauge",
               "Requests in memory that are not under way.", ("state",)),
        Metric("overnight_turns_total", "counter",
               "Requests taken from those that wait.", ("urgent",)),
        Metric("overnight_batches_at_risk", "gauge",
               "Batches that may not end before they expire: they go first."),
    ),
    "Outcomes and leases": (
        Metric("overnight_outcomes_total", "counter",
               "Requests whose outcome became durable.", ("outcome",)),
        Metric("overnight_journal_group_outcomes", "histogram",
               "Outcomes committed together."),
        Metric("overnight_journal_commit_seconds", "histogram",
               "Time that a commit took, repeats after failures included."),
        Metric("overnight_journal_failures_total", "counter",
               "Commits that failed and were tried again."),
        Metric("overnight_shards_held", "gauge", "Shards that this process works on."),
        Metric("overnight_shards_claimed_total", "counter", "Shards claimed.", ("lease",)),
        Metric("overnight_shards_freed_total", "counter",
               "Shards taken from workers that are dead, for anyone to claim."),
        Metric("overnight_leases_lost_total", "counter",
               "Shards that another worker took over while this one worked on them."),
    ),
    "Webhooks": (
        Metric("overnight_webhook_attempts_total", "counter",
               "Attempts to deliver an event to an endpoint.", ("outcome",)),
        Metric("overnight_webhook_given_up_total", "counter",
               "Deliveries whose last attempt failed."),
        Metric("overnight_webhook_endpoints_disabled_total", "counter",
               "Endpoints that this process disabled for what their receiver did."),
        Metric("overnight_webhook_deliveries_due", "gauge",
               "Deliveries whose next attempt is due, in the whole database, at most seconds ago."),
        Metric("overnight_webhook_due_age_seconds", "gauge",
               "Time for which the first of them has been due; 0 where none is."),
    ),
    "Budgets": (
        Metric("overnight_budget_refusals_total", "counter",
               "Batches and real-time calls refused because of a budget."),
        Metric("overnight_budget_stops_total", "counter",
               "Batches of which nothing more was sent because a budget was used up."),
        Metric("overnight_budget_warnings_total", "counter",
               "Budgets that reached a level for the first time in their period.", ("percent",)),
    ),
    "The whole service": (
        Metric("overnight_batches_running", "gauge",
               "Batches that have not ended, in the whole database: alike in all processes."),
        Metric("overnight_requests_open", "gauge",
               "Requests of them without an outcome: alike in all processes."),
        Metric("overnight_build_info", "gauge", "Always 1.", ("version",)),
    ),
}  # fmt: skip

TABLE: Mapping[str, Metric] = {
    metric.name: metric for metrics in SECTIONS.values() for metric in metrics
}
