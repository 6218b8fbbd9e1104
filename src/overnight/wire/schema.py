"""What the OpenAPI document says of a value beyond its type."""

import msgspec


def rule(**words: object) -> msgspec.Meta:
    """Put words of JSON Schema on an annotation.

    They are told, not enforced: the code that reads the value refuses it, in its own words.
    """
    return msgspec.Meta(extra_json_schema=words)
