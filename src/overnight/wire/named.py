"""The model that a Messages request names: read it, or write another one into it."""

import msgspec


class _Named(msgspec.Struct):
    model: str


_read = msgspec.json.Decoder(_Named).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


def model_of(params: bytes) -> str:
    """Give the model of params that have been checked."""
    return _read(params).model


def renamed(params: bytes, model: str) -> bytes:
    """Write another model into params that have been checked; all other values stay byte for byte.

    Of a key that comes twice the last value stays, which is the one that counts anyway.
    """
    fields = _object(params)
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)
