"""How a plan is stored: one object of shards, each a JSON array of entries in dispatch order."""

from collections.abc import Mapping

import msgspec

from overnight.model import Prefix


class PlannedRequest(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="send", gc=False
):
    """A request to send; `params` are the caller's bytes, but for breakpoints of ours."""

    custom_id: str
    params: msgspec.Raw
    # As the caller named it.
    model: str
    # The whole prompt, cached or not; an estimate.
    input_tokens: int
    max_tokens: int
    # Beginnings that are marked, or shared with others of the batch; the shortest first.
    prefixes: tuple[Prefix, ...] = ()
    # Its breakpoints are ours.
    auto_cached: bool = False


class PlannedRefusal(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="refuse", gc=False
):
    """A request whose params are at fault: errored without any call."""

    custom_id: str
    error_type: str
    message: str
    details: Mapping[str, str] | None = None


Planned = PlannedRequest | PlannedRefusal

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Planned])


def encode_shard(entries: list[Planned]) -> bytes:
    return _encoder.encode(entries)


def decode_shard(data: bytes) -> list[Planned]:
    """Read a shard; the params of its requests are views on `data`."""
    return _decoder.decode(data)
