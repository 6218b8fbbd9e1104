"""What schemathesis has to know that no schema can say. Loaded by conformance.toml."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData

from overnight.targets import MAX_URL

# A call that is right by its schema may be refused with these messages, and with no others.
REFUSED_FOR = (
    # Parameters that exclude each other, and moments in their order.
    r"after_id, before_id: only one of the two cursors may be given",
    r"(expires_at, expires_in_s|usage|models|shared_tokens|low_usd|price): ",
    r"ending_at: must be after starting_at",
    r"limit: \d+: at least 1, at most \d+ of these buckets",
    # Moments that a calendar has and a service does not: before 1970, or passed.
    r"(starting_at|ending_at|expires_at): ",
    # Names of things that must exist, or must not exist yet.
    r"workspace_id: ",
    r"name: a workspace .* is there already",
    r"overnight-estimate-id: no estimate has this id",
    r"page: .* not a page",
    r"page: no page begins here",
    r"anthropic-workspace-id: header is required",
    r"book: no price book",
    r"model '.*' (has no price in|is not in) ",
    r"(after_id|before_id): no model ",
    # What must be unique by a part of it.
    r"requests: custom_id's must be unique within a batch",
    r"model: ",
    # Texts whose rule is no pattern: what can be printed, what is a public address, what is a
    # number as people write it.
    r"name: it has characters that cannot be seen, or blanks at an end",
    r"name: must not hold the character NUL",
    r"url: ",
    r"\w+: .*(not a number|must not be negative|is more than|is less than|not a whole number)",
    # 1.0 is an integer in a schema, and none here.
    r"Expected `int( \| null)?`, got `float`",
    r"amount: ",
    r"scope(\.(workspace|api_key)_id)?: ",
    r"overnight-max-cost-usd: '[0.]*': must be more than 0",
    # What a batch may cost, when it costs more.
    r"This batch costs at least ",
    r"\S+ has no price",
    # The state that other calls have brought about.
    r"Workspace \S+ is (archived|the default one)",
    r"(status: )?API key \S+ is archived",
    r"Message Batch \S+ has ended and cannot be canceled",
    r"idempotency-key: this key was used for a batch with another body",
    r"This workspace has \d+ webhook endpoints, at most \d+",
    r"Webhook endpoint \S+ is disabled",
)
_is_refused_for = re.compile("|".join(REFUSED_FOR)).match
# Their rules are those between the parts of a Messages request; `tests/unit/test_params.py`.
BY_PARAMS = {"create_message", "count_tokens"}


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Send webhooks nowhere, for hosts in generated URLs may be real ones; stay in a workspace.

    A generated id of a workspace is that of none: every call would end there, with a 403.
    """
    if case.meta is not None and case.meta.generation.mode.is_positive and case.headers:
        case.headers.pop("anthropic-workspace-id", None)
    body = case.body
    url = body.get("url") if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(url, str) and len(url) <= MAX_URL:
        nowhere = re.sub("(?<=://)[^/?#]*", "receiver.invalid", url, count=1)
        case.body = {**body, "url": nowhere}


@schemathesis.hook
def filter_failure(
    context: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """Drop a failure that is none; give False for it."""
    match failure:
        case RejectedPositiveData():
            message = response.json()["error"]["message"]
            operation_id = case.operation.definition.raw.get("operationId")
            return not (operation_id in BY_PARAMS or _is_refused_for(message))
        case AcceptedNegativeData():
            # An empty value is none, and of a name that comes twice the first one counts.
            sent = parse_qsl(urlsplit(str(response.request.url)).query, keep_blank_values=True)
            return all(value for _, value in sent) and len(dict(sent)) == len(sent)
        case _:
            return True
