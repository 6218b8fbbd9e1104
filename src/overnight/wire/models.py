"""The Models API: `GET /v1/models` and `GET /v1/models/{id}`.

Source: protocol notes §12 (SDK 2.12 types, read 2026-11).
"""

from datetime import datetime
from typing import Literal

import msgspec


class Supported(msgspec.Struct, frozen=True, kw_only=True):
    supported: bool


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model can do. Keys that are not known stay out."""

    # A factory, because a default that is a value would be left out as "not known".
    batch: Supported = msgspec.field(default_factory=lambda: Supported(supported=True))
    citations: Supported | None = None
    code_execution: Supported | None = None
    image_input: Supported | None = None
    pdf_input: Supported | None = None
    structured_outputs: Supported | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="model"):
    """One model as clients see it, and (below) the facts that validation and caching need."""

    id: str
    display_name: str
    created_at: datetime
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    line: Literal["haiku", "sonnet", "opus", "fable", "mythos"] | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    deprecated_at: datetime | None = None
    retires_at: datetime | None = None
    capabilities: Capabilities = Capabilities()


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None
