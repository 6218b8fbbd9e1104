"""What each route reads beside its path, and what it answers where its return type does not say.

Handlers read queries, headers and bodies on their own; this is where it is written down, and the
tests call every route by it. Schemas hold what a schema can say, types of `wire` where one exists.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from overnight.audit import ACTIONS, OUTCOMES
from overnight.budget import RECURRING
from overnight.http.costs import EstimateQuestion
from overnight.model import DeliveryState
from overnight.pricing.asked import PriceQuestion
from overnight.telemetry.exposition import MEDIA_TYPE as METRICS
from overnight.wire.batches import Envelope
from overnight.wire.headers import API_VERSIONS, MAX_BETAS, MAX_PROFILE_ID
from overnight.wire.keys import KeyQuestion, LimitsChange
from overnight.wire.organization import STATUSES, ApiKeyQuestion, NewWorkspace, WorkspaceQuestion
from overnight.wire.paging import MAX_LIMIT
from overnight.wire.rate_limits import GROUP_TYPES, NewLimits
from overnight.wire.reports import (
    CONTEXT_WINDOWS,
    COST_GROUPS,
    SERVICE_TIERS,
    UNKEPT_FILTERS,
    USAGE_GROUPS,
    WIDTHS,
    CostReport,
    UsageReport,
)
from overnight.wire.results import ResultLine
from overnight.wire.spend_limits import SCOPE_TYPES, SpendLimitQuestion
from overnight.wire.webhooks import BETA, CreateEndpoint, RotateSecret, UpdateEndpoint
from overnight.wire.webhooks import MAX_LIMIT as MAX_WEBHOOKS

Object = dict[str, Any]
# A type, or a schema where no type says it.
Schema = type | Object

JSON = "application/json"
LINES = "application/x-jsonl"
EVENTS = "text/event-stream"
TEXT: Object = {"type": "string"}
_OBJECT: Object = {"type": "object"}


class Reads(NamedTuple):
    """What one route reads and answers."""

    parameters: Sequence[Object] = ()
    # Of the JSON in the body.
    body: Schema | None = None
    needs_body: bool = True
    # By media type; of streams the schema of one line or one event.
    answers: Mapping[str, Schema] = {}
    # A backend's failure is answered with the backend's own status.
    asks_backend: bool = False


def _query(name: str, about: str, schema: Object) -> Object:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _several(name: str, about: str, schema: Object = TEXT) -> Object:
    return _query(f"{name}[]", about, {"type": "array", "items": schema})


def _header(name: str, about: str, schema: Object = TEXT) -> Object:
    return {"name": name, "in": "header", "description": about, "schema": schema}


def _needed(parameter: Object) -> Object:
    return parameter | {"required": True}


def _words(words: Iterable[str]) -> Object:
    return {"enum": list(words)}


def _limit(at_most: int, *, at_least: int = 1) -> Object:
    schema = {"type": "integer", "minimum": at_least, "maximum": at_most}
    return _query("limit", "How many at most.", schema)


def _page(limit: Object) -> tuple[Object, ...]:
    return (
        limit,
        _query("after_id", "The older ones behind this one; not with `before_id`.", TEXT),
        _query("before_id", "The newer ones next to this one; not with `after_id`.", TEXT),
    )


_ONE_LINE: Object = {"type": "string", "minLength": 1, "maxLength": 255}
_MOMENT: Object = {"type": "string", "format": "date-time"}
_TRUE_OR_FALSE: Object = {"type": "boolean"}
_NAMES: Object = {"type": "string", "pattern": "^[!-~ ]*$", "maxLength": MAX_BETAS}
_USD: Object = {"type": "string", "pattern": r"^[0-9]{1,8}(\.[0-9]{1,9})?$"}
_PROFILE_ID: Object = {"type": "string", "pattern": "^[!-~]+$", "maxLength": MAX_PROFILE_ID}

_VERSION = _needed(_header("anthropic-version", "Version of the API.", _words(API_VERSIONS)))
_BETAS = _header("anthropic-beta", "Betas, with commas between them.", _NAMES)
_WEBHOOK_BETA = _needed(_header("anthropic-beta", "The beta of webhooks.", _words([BETA])))
_PROFILE = _header("anthropic-user-profile-id", "Whom the call is for.", _PROFILE_ID)
_LIMIT = _limit(MAX_LIMIT)
_NEXT = _query("page", "`next_page` of the last answer.", TEXT)
_KEYS = (
    _VERSION,
    *_page(_LIMIT),
    _query("status", "Only keys in this state.", _words(STATUSES)),
    _query("workspace_id", "Only keys of this workspace.", TEXT),
    _query("created_by_user_id", "Matches none: there are no users.", TEXT),
)
_GROUPS = (_VERSION, _LIMIT, _query("group_type", "Only such groups.", _words(GROUP_TYPES)))
_WEBHOOK = (_VERSION, _WEBHOOK_BETA)
_REPORT = (
    _VERSION,
    _needed(_query("starting_at", "Where the report begins.", _MOMENT)),
    _query("ending_at", "Where it ends; by default now.", _MOMENT),
    _query("page", "`next_page` of the last answer.", {"type": "string", "pattern": "^page_"}),
    _query("format", "Instead of the header `accept`.", _words(["json", "csv"])),
)

# A Messages request as far as a schema can say it; what its parts and its model make of each
# other is checked by `wire.params`.
_COUNTED: Object = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": _words(["user", "assistant", "system"]),
                    "content": {"type": ["string", "array"], "items": _OBJECT},
                },
            },
        },
    },
}
_MESSAGE: Object = {
    "type": "object",
    "required": ["model", "max_tokens", "messages"],
    "properties": {
        **_COUNTED["properties"],
        "max_tokens": {"type": "integer", "minimum": 0},
        "stream": {"type": ["boolean", "null"]},
    },
}
_READ_BATCH = Reads([_VERSION])
_READ_WEBHOOK = Reads(_WEBHOOK)

READS: Mapping[str, Reads] = {
    "POST /v1/messages/batches": Reads(
        [
            _VERSION,
            _BETAS,
            _PROFILE,
            _header("idempotency-key", "The same key gives the same batch.", _ONE_LINE),
            _header("overnight-estimate-id", "The estimate to compare its cost with."),
            _header("overnight-auto-cache", "Sets cache breakpoints.", _words(["true", "false"])),
            _header("overnight-max-cost-usd", "What the batch may cost at most.", _USD),
        ],
        body=Envelope,
    ),
    "GET /v1/messages/batches": Reads([_VERSION, *_page(_LIMIT)]),
    "GET /v1/messages/batches/{batch_id}": _READ_BATCH,
    "POST /v1/messages/batches/{batch_id}/cancel": _READ_BATCH,
    "DELETE /v1/messages/batches/{batch_id}": _READ_BATCH,
    "GET /v1/messages/batches/{batch_id}/results": Reads([_VERSION], answers={LINES: ResultLine}),
    "POST /v1/messages": Reads(
        [_VERSION, _BETAS, _PROFILE],
        body=_MESSAGE,
        answers={JSON: _OBJECT, EVENTS: _OBJECT},
        asks_backend=True,
    ),
    "POST /v1/messages/count_tokens": Reads(
        [_VERSION, _BETAS, _PROFILE],
        body=_COUNTED,
        answers={
            JSON: {
                "type": "object",
                "properties": {"input_tokens": {"type": "integer"}},
                "required": ["input_tokens"],
            }
        },
        asks_backend=True,
    ),
    "GET /v1/models": Reads(
        [
            _VERSION,
            *_page(_LIMIT),
            _several("lifecycle", "Only models in these states."),
        ],
        asks_backend=True,
    ),
    "GET /v1/models/{model_id}": Reads([_VERSION], asks_backend=True),
    "GET /overnight/v1/batches/{batch_id}/progress": Reads(
        answers={
            EVENTS: {
                "type": "object",
                "properties": {
                    "event": _words(["progress", "ended"]),
                    "data": {"type": "string", "description": "A Progress, as JSON."},
                },
            }
        }
    ),
    "GET /overnight/v1/batches/{batch_id}/cost": Reads(),
    "POST /overnight/v1/estimates": Reads(body=EstimateQuestion),
    "GET /v1/organizations/usage_report/messages": Reads(
        [
            *_REPORT,
            _limit(max(width.most for width in WIDTHS.values())),
            _query("bucket_width", "How long a bucket is.", _words(WIDTHS)),
            _several("group_by", "What to tell apart.", _words(USAGE_GROUPS)),
            _several("models", "Only these models."),
            _several("workspace_ids", "Only these workspaces."),
            _several("service_tiers", "Only these tiers.", _words(SERVICE_TIERS)),
            _several("context_window", "Only prompts so long.", _words(CONTEXT_WINDOWS)),
            *(_several(name, "Matches none: it is not kept.") for name in UNKEPT_FILTERS),
        ],
        answers={JSON: UsageReport, "text/csv": TEXT},
    ),
    "GET /v1/organizations/cost_report": Reads(
        [
            *_REPORT,
            _limit(WIDTHS["1d"].most),
            _query("bucket_width", "How long a bucket is.", _words(["1d"])),
            _several("group_by", "What to tell apart.", _words(COST_GROUPS)),
            _several("workspace_ids", "Only these workspaces."),
        ],
        answers={JSON: CostReport, "text/csv": TEXT},
    ),
    "GET /v1/organizations/workspaces": Reads(
        [
            _VERSION,
            *_page(_LIMIT),
            _query("include_archived", "Archived ones too.", _TRUE_OR_FALSE),
            _query("include_default", "The default one too.", _TRUE_OR_FALSE),
            _several("ids", "Only these."),
        ]
    ),
    "POST /v1/organizations/workspaces": Reads([_VERSION], body=NewWorkspace),
    "GET /v1/organizations/workspaces/{workspace_id}": Reads([_VERSION]),
    "POST /v1/organizations/workspaces/{workspace_id}": Reads([_VERSION], body=WorkspaceQuestion),
    "POST /v1/organizations/workspaces/{workspace_id}/archive": Reads([_VERSION]),
    "GET /v1/organizations/rate_limits": Reads(
        [*_GROUPS, _query("model", "Matches none: no model has limits of its own.", TEXT)]
    ),
    "GET /v1/organizations/workspaces/{workspace_id}/rate_limits": Reads(
        [*_GROUPS, _query("include_inherited", "Those of the settings too.", _TRUE_OR_FALSE)]
    ),
    "POST /v1/organizations/workspaces/{workspace_id}/rate_limits/{rate_limit_id}": Reads(
        [_VERSION], body=NewLimits
    ),
    "GET /v1/organizations/spend_limits": Reads(
        [
            _VERSION,
            _LIMIT,
            _NEXT,
            _query("workspace_id", "Only those of this workspace.", TEXT),
            _several("scope_type", "Only those of such scopes.", _words(SCOPE_TYPES)),
        ]
    ),
    "POST /v1/organizations/spend_limits": Reads([_VERSION], body=SpendLimitQuestion),
    "GET /v1/organizations/spend_limits/effective": Reads(
        [
            _VERSION,
            _LIMIT,
            _NEXT,
            _several("period", "Only those of such periods.", _words(RECURRING)),
            _several("user_ids", "Matches none: there are no users."),
        ]
    ),
    "GET /v1/organizations/spend_limits/{spend_limit_id}": Reads([_VERSION]),
    "DELETE /v1/organizations/spend_limits/{spend_limit_id}": Reads([_VERSION]),
    "GET /v1/organizations/api_keys": Reads(_KEYS),
    "GET /v1/organizations/api_keys/{key_id}": Reads([_VERSION]),
    "POST /v1/organizations/api_keys/{key_id}": Reads([_VERSION], body=ApiKeyQuestion),
    "POST /v1/organizations/webhooks": Reads(_WEBHOOK, body=CreateEndpoint),
    "GET /v1/organizations/webhooks": Reads(
        [
            *_WEBHOOK,
            *_page(_limit(MAX_WEBHOOKS, at_least=0)),
            _query("order", "By age.", _words(["desc", "asc"])),
        ]
    ),
    "GET /v1/organizations/webhooks/{webhook_id}": _READ_WEBHOOK,
    "POST /v1/organizations/webhooks/{webhook_id}": Reads(_WEBHOOK, body=UpdateEndpoint),
    "DELETE /v1/organizations/webhooks/{webhook_id}": _READ_WEBHOOK,
    "POST /v1/organizations/webhooks/{webhook_id}/regenerate_signing_secret": Reads(
        _WEBHOOK, body=RotateSecret, needs_body=False
    ),
    "GET /overnight/v1/webhooks/{webhook_id}/deliveries": Reads(
        [
            *_page(_limit(MAX_WEBHOOKS)),
            _query("state", "Only deliveries in this state.", _words(get_args(DeliveryState))),
        ]
    ),
    "GET /overnight/v1/webhooks/{webhook_id}/deliveries/{event_id}": Reads(),
    "POST /overnight/v1/webhooks/{webhook_id}/deliveries/{event_id}/redeliver": Reads(),
    "POST /overnight/v1/webhooks/{webhook_id}/test": Reads(),
    "GET /overnight/v1/audit": Reads(
        [
            _VERSION,
            *_page(_LIMIT),
            _query("action", "Only such acts.", _words(ACTIONS)),
            _query("outcome", "Only acts that ended so.", _words(OUTCOMES)),
            _query("key_id", "Only acts by this key.", TEXT),
            _query("subject_id", "Only acts on this.", TEXT),
        ]
    ),
    "GET /overnight/v1/keys": Reads(_KEYS),
    "POST /overnight/v1/keys": Reads([_VERSION], body=KeyQuestion),
    "GET /overnight/v1/keys/{key_id}": Reads([_VERSION]),
    "POST /overnight/v1/keys/{key_id}": Reads([_VERSION], body=LimitsChange),
    "POST /overnight/v1/keys/{key_id}/revoke": Reads([_VERSION]),
    "GET /metrics": Reads(answers={METRICS: TEXT}),
    "GET /healthz": Reads(),
    "GET /": Reads(answers={"text/html": TEXT}),
    "GET /price": Reads(answers={"text/html": TEXT}),
    "GET /prices.json": Reads(),
    "GET /static/{digest}/{name}": Reads(answers={"text/css": TEXT, "text/javascript": TEXT}),
    "POST /overnight/v1/price": Reads(body=PriceQuestion),
    "GET /overnight/v1/prices": Reads(),
    "GET /overnight/v1/prices/schema.json": Reads(answers={"application/schema+json": _OBJECT}),
    "GET /openapi.json": Reads(answers={JSON: _OBJECT}),
}
