"""The nouns: batch, request, outcome, shard, lease, usage. Values only; no I/O."""

import os
import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, NamedTuple, NewType

import msgspec

BatchId = NewType("BatchId", str)
WorkspaceId = NewType("WorkspaceId", str)
WorkerId = NewType("WorkerId", str)
TabId = NewType("TabId", str)
WebhookId = NewType("WebhookId", str)
EventId = NewType("EventId", str)

# The alphabet of the wire's ids: no 0, O, I, l.
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

# Where the wire's reports draw the line between two context windows.
LONG_CONTEXT_TOKENS = 200_000
# Only numbers as `UsageKey` writes them: a model may be named like anything else.
_LONG_PROMPT = re.compile(r"(.+) > ([1-9][0-9]{0,8})", re.DOTALL)
_AUTO_CACHED = " (auto-cached)"

BatchStatus = Literal["in_progress", "canceling", "ended"]
OutcomeType = Literal["succeeded", "errored", "canceled", "expired"]
ServiceTier = Literal["batch", "standard"]
# Whose spending a budget limits.
BudgetScope = Literal["organization", "workspace", "key", "batch"]
# What a request ends as that was never sent, because its batch was stopped.
Unsent = Literal["canceled", "expired"]
# What becomes true of a batch, in the order in which it can.
BatchEvent = Literal[
    "message_batch.canceling",
    "message_batch.ended",
    "message_batch.archived",
    "message_batch.deleted",
]
EventType = BatchEvent | Literal["webhook_endpoint.test"]
WebhookState = Literal["enabled", "disabled"]
DeliveryState = Literal["pending", "acknowledged", "failed"]


def random_text(length: int) -> str:
    number = int.from_bytes(os.urandom(length))
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def new_batch_id() -> BatchId:
    return BatchId("msgbatch_01" + random_text(22))


def new_message_id() -> str:
    return "msg_01" + random_text(22)


def new_estimate_id() -> str:
    return "estimate_01" + random_text(22)


def new_request_id() -> str:
    return "req_011C" + random_text(20)


def new_worker_id() -> WorkerId:
    return WorkerId("worker_01" + random_text(22))


def new_tab_id() -> TabId:
    return TabId("tab_01" + random_text(22))


def new_webhook_id() -> WebhookId:
    return WebhookId("whep_01" + random_text(22))


def new_event_id() -> EventId:
    return EventId("whe_01" + random_text(22))


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one attempt, or their sum; classes do not overlap."""

    # After the last cache breakpoint: neither written to nor read from the cache.
    input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    # Server-side searches, billed per use and never discounted.
    web_searches: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cache_write_5m_tokens=self.cache_write_5m_tokens + other.cache_write_5m_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            web_searches=self.web_searches + other.web_searches,
        )


class UsageKey(NamedTuple):
    """What usage is summed up by: requests that have one rate per token class.

    Written as text, because usage sums are kept as JSON: `model`, or `model > 200000`, and
    ` (auto-cached)` behind it.
    """

    model: str
    # The prompt was longer than this; 0 where length changes nothing.
    over_tokens: int = 0
    # The breakpoints of the requests are ours: summed up apart, to say what they saved.
    auto_cached: bool = False

    def __str__(self) -> str:
        text = f"{self.model} > {self.over_tokens}" if self.over_tokens else self.model
        return text + _AUTO_CACHED if self.auto_cached else text

    @classmethod
    def read(cls, text: str) -> "UsageKey":
        """Read what `str` wrote."""
        auto_cached = text.endswith(_AUTO_CACHED)
        text = text.removesuffix(_AUTO_CACHED)
        found = _LONG_PROMPT.fullmatch(text)
        model, over_tokens = (found[1], int(found[2])) if found else (text, 0)
        return cls(model, over_tokens, auto_cached)


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger: tokens of one class × a rate. None is an unknown price, never 0."""

    # As the answers named it.
    model: str
    # Prompts longer than this; 0 where length changes nothing.
    over_tokens: int = 0
    token_class: str
    # Tokens, or web searches.
    count: int
    service_tier: ServiceTier
    # USD for a million tokens or a thousand searches.
    rate_usd: Decimal | None
    usd: Decimal | None
    standard_rate_usd: Decimal | None
    # What the standard tier would have charged.
    standard_usd: Decimal | None
    # What this tier charges for the same tokens neither written nor read; the rate itself for
    # what is no cached prompt. None also where it was not yet noted.
    uncached_rate_usd: Decimal | None = None
    book: str
    book_version: str


class Tab(msgspec.Struct, frozen=True, kw_only=True):
    """What real-time calls by one key came to: a sum that grows for up to a minute."""

    id: TabId
    workspace_id: WorkspaceId
    # None for a key of the settings, or where no key was needed.
    key_id: str | None = None
    begun_at: datetime
    charges: tuple[Charge, ...]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of a batch stand where; the sum is the batch's size at all times."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired

    @property
    def recorded(self) -> int:
        """How many have their outcome."""
        return self.total - self.processing


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller created. Fields that are set late say when."""

    id: BatchId
    workspace_id: WorkspaceId
    status: BatchStatus
    created_at: datetime
    # created_at + processing window, to the microsecond.
    expires_at: datetime
    # created_at + retention: results are readable until then.
    retain_until: datetime
    # Set together with status "ended", the final counts and the results.
    ended_at: datetime | None = None
    # Set by the first cancel; keeps its first value.
    cancel_initiated_at: datetime | None = None
    # Set once retain_until has passed after the end.
    archived_at: datetime | None = None
    # Set when the plan and its shards are stored.
    planned_at: datetime | None = None
    # `anthropic-version` of the create call; each row is validated by it.
    api_version: str
    # `anthropic-beta` of the create call; applies to every row.
    betas: tuple[str, ...] = ()
    user_profile_id: str | None = None
    # The estimate that the caller named at create, to compare the cost with.
    estimate_id: str | None = None
    # Breakpoints are to be set where they pay.
    auto_cache: bool = False
    # In how many requests they were; set with `planned_at`, in a batch with `auto_cache`.
    auto_cached_requests: int | None = None
    # The key that created it; None for one of the settings, or where no key was needed.
    key_id: str | None = None
    # Its own budget: it may not cost more.
    max_cost_usd: Decimal | None = None
    # What it costs at least; None where no budget held for it at create.
    least_usd: Decimal | None = None
    # The budget that was used up, and what the requests not sent by then end as; set together.
    stopped_by: BudgetScope | None = None
    stopped_as: Unsent | None = None
    request_count: int
    input_key: str
    input_bytes: int
    # Frozen at the end; all in `processing` before. Live counts are `store.batches.live`.
    counts: Counts


class Prefix(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A beginning of a prompt, to be computed once and read by all requests that begin so."""

    # Equal for equal model and content: 63 bits of BLAKE2b. A collision costs speed, nothing else.
    key: int
    # Of the prompt up to the end of the prefix; an estimate by `overnight.tokens`.
    tokens: int
    # How long an entry lives that a `cache_control` marker asks for; 0: the request has none here.
    ttl_s: int = 0


class Caching(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend does with equal beginnings of prompts."""

    # It keeps what a `cache_control` marker ends, and nothing else.
    marked: bool = False
    # It keeps every beginning, marked or not.
    automatic: bool = False
    # Requests under way share what one of them is just computing: nobody need wait for a leader.
    shares_in_flight: bool = False
    # Shortest prefix that is kept, for models whose minimum the catalogue does not know.
    min_tokens: int = 1024
    # From the first byte of the answer that wrote an entry until others find it.
    settle_s: float = 0.0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One Messages request as a backend receives it."""

    # The caller's JSON object, byte for byte but for what the pipeline had to change.
    params: bytes
    api_version: str
    betas: tuple[str, ...] = ()
    user_profile_id: str | None = None
    # Which request of a batch this is; None on the real-time endpoint.
    custom_id: str | None = None
    # Seconds the backend may take in all; None leaves it to the backend's own timeouts.
    timeout_s: float | None = None


class Need(NamedTuple):
    """What one call takes of a backend's limits; estimates."""

    # Uncached and cache-written input: reads of the cache are free.
    input_tokens: int
    output_tokens: int


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One rate limit as a backend's answer states it."""

    of: Literal["requests", "input_tokens", "output_tokens"]
    per_minute: int
    # What may still be taken now; told in thousands for tokens by some.
    remaining: int
    # When all of it is there again; None when not told.
    full_at: datetime | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A backend's answer: one Messages object and what it used."""

    # Compact JSON of the message object, without any line break.
    message: bytes
    usage: Usage
    # The model that answered, as the message names it.
    model: str
    # The rate limits that the answer states.
    limits: tuple[Limit, ...] = ()


class FailureKind(StrEnum):
    """Why a call failed: a closed set; `dispatch.retry` says what is done about each."""

    UNREACHABLE = "unreachable"  # no connection: nothing was sent
    RESET = "reset"  # the connection broke before the answer was whole
    TIMEOUT = "timeout"
    MALFORMED = "malformed"  # the answer is not a Messages object
    RATE_LIMITED = "rate_limited"  # 429
    OVERLOADED = "overloaded"  # 529
    SERVER_ERROR = "server_error"  # other 5xx
    CONFLICT = "conflict"  # 408, 409
    INVALID_REQUEST = "invalid_request"  # 400, 422 and other 4xx
    AUTHENTICATION = "authentication"  # 401
    BILLING = "billing"  # 402
    PERMISSION = "permission"  # 403
    NOT_FOUND = "not_found"  # 404
    TOO_LARGE = "too_large"  # 413
    INTERNAL = "internal"  # a defect of ours, caught by the dispatcher's guard


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A call that brought no message. `message` is for the request's owner, never for logs."""

    kind: FailureKind
    # The inner error type of the wire: invalid_request_error, api_error, overloaded_error, …
    error_type: str
    message: str
    # HTTP status of the backend's answer; None when there was no answer.
    status: int | None = None
    # The backend's own `retry-after`, in seconds.
    retry_after_s: float | None = None
    # The backend's request id, when it gave one.
    request_id: str | None = None
    # The wire's `details` object as JSON, when the backend gave one.
    details: msgspec.Raw | None = None
    # The rate limits that the answer states.
    limits: tuple[Limit, ...] = ()


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's time-limited right to a shard. A write with an older fence is refused."""

    owner: WorkerId
    fence: int
    expires_at: datetime


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A run of consecutive requests of one batch's plan: the unit of work."""

    batch_id: BatchId
    number: int
    # Where the shard lies in the plan object.
    offset: int
    length_bytes: int
    request_count: int
    lease: Lease


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that a workspace wants to be told its events at."""

    id: WebhookId
    workspace_id: WorkspaceId
    url: str
    events: tuple[BatchEvent, ...]
    name: str = ""
    description: str = ""
    state: WebhookState = "enabled"
    # Why the service disabled it; empty while enabled, and when its owner did it.
    disabled_reason: str = ""
    created_at: datetime
    updated_at: datetime
    # The first attempt that failed since the last one that did not.
    failing_since: datetime | None = None
    # What its signing secret is derived from; the secret itself is kept nowhere.
    seed: bytes
    # Of the secret before the last rotation, which still signs until then.
    previous_seed: bytes | None = None
    previous_until: datetime | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that became true. Of one subject the later event has the higher number."""

    number: int
    id: EventId
    type: EventType
    # The batch, or for a test the webhook.
    subject_id: str
    workspace_id: WorkspaceId
    created_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one webhook: a row of the delivery log."""

    webhook_id: WebhookId
    event: Event
    state: DeliveryState
    # Attempts so far, the one under way included.
    attempts: int = 0
    # Those that ended since it was last put on its way: the place in the back-off.
    tries: int = 0
    # When the next attempt is due; None when there is none, and while the webhook is disabled.
    next_attempt_at: datetime | None = None
    # An attempt is under way.
    under_way: bool = False
    # Of the last attempt; status and time are None where no answer came.
    last_attempt_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    last_duration_ms: int | None = None
    acknowledged_at: datetime | None = None
