"""What `params` are checked by, and what comes of it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from overnight.catalogue import KnownModel
from overnight.errors import InvalidRequest, NotFound, OvernightError

# The first version that refuses sampling parameters, cited text and assistants' documents.
STRICT_VERSION = "2026-10-21"
LONG_OUTPUT_BETA = "output-300k-2026-03-24"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """By what the params of one call are checked; made once per batch."""

    # `anthropic-version` of the call.
    api_version: str
    # `anthropic-beta` of the call.
    betas: tuple[str, ...] = ()
    # `anthropic-user-profile-id` of the call.
    user_profile_id: str | None = None
    # Whether the params are those of a batch's request.
    in_batch: bool
    # Whether they are those of `count_tokens`, which knows fewer keys and no `max_tokens`.
    counts_tokens: bool = False
    find_model: Callable[[str], KnownModel | None]
    # Whether a model may be asked for; one that may not is refused.
    has_model: Callable[[str], bool]
    # The longest prompt; a model's own limit counts where it is lower.
    max_context_tokens: int
    # "forward" lets keys pass that no version of the wire knows.
    unknown_params: Literal["refuse", "forward"]

    @property
    def strict_version(self) -> bool:
        return self.api_version >= STRICT_VERSION

    @property
    def refuses_unknown(self) -> bool:
        return self.unknown_params == "refuse"

    @property
    def refuses_unknown_nested(self) -> bool:
        """Tell whether keys below the top level are refused: betas bring keys of their own."""
        return self.unknown_params == "refuse" and not self.betas


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Params that may run."""

    # As the caller named it.
    model: str
    # None when the model is not in the catalogue.
    known: KnownModel | None
    # 0 where no answer is asked for (`count_tokens`, or to warm a cache).
    max_tokens: int
    stream: bool
    # The whole prompt, cached or not; an estimate.
    input_tokens: int
    # The decoded object, for reading only: what is sent are the caller's bytes.
    params: Mapping[str, Any]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Params that may not run, in the words of the wire."""

    error_type: Literal["invalid_request_error", "not_found_error"] = "invalid_request_error"
    message: str
    details: Mapping[str, str] | None = None

    def error(self) -> OvernightError:
        """Give the same as the answer of a real-time endpoint."""
        cause = NotFound if self.error_type == "not_found_error" else InvalidRequest
        return cause(self.message)
