"""`cache_control`: the shape of a breakpoint, how many there may be, and their order.

Source: protocol notes §10; https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from overnight.wire.params import shapes
from overnight.wire.params.rules import Rules

MAX_BREAKPOINTS = 4
_TTLS = ("5m", "1h")
# What nearly every caller writes.
_USUAL = [{"type": "ephemeral"}, *({"type": "ephemeral", "ttl": ttl} for ttl in _TTLS)]


class Breakpoint(NamedTuple):
    """Where a prefix ends that is to be cached."""

    path: str
    # "5m" or "1h"
    ttl: str


def cache_control_fault(value: Any, rules: Rules, path: str) -> str | None:
    """Check the value of a `cache_control` key that stands at `path`."""
    if value is None or value in _USUAL:
        return None
    if fault := (
        shapes.dictionary(value, path)
        or shapes.member(value, "type", path)
        or shapes.one_of(value["type"], f"{path}.type", ("ephemeral",))
    ):
        return fault
    tagged = f"{path}.ephemeral"
    if value.get("ttl") is not None and (
        fault := shapes.one_of(value["ttl"], f"{tagged}.ttl", _TTLS)
    ):
        return fault
    if rules.refuses_unknown_nested:
        return shapes.only_keys(value, ("type", "ttl"), tagged)
    return None


def breakpoints_fault(params: Mapping[str, Any]) -> str | None:
    """Check number and order of the breakpoints of params whose shape is known to be right."""
    found = _explicit_breakpoints(params)
    automatic = params.get("cache_control")
    if automatic:
        point = Breakpoint("cache_control", _ttl(automatic))
        last = _last_block(params)
        if last is None or not last.get("cache_control"):
            found.append(point)
        elif _ttl(last["cache_control"]) != point.ttl:
            return (
                f"cache_control.ttl: the last block has cache_control with another ttl than "
                f"the automatic one ('{point.ttl}')"
            )
    if len(found) > MAX_BREAKPOINTS:
        return (
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {len(found)}."
        )
    return _order_fault(found)


def _order_fault(found: list[Breakpoint]) -> str | None:
    short = False
    for point in found:
        if short and point.ttl == "1h":
            return (
                f"{point.path}.ttl: a ttl='1h' cache_control block must not come after a "
                "ttl='5m' cache_control block. Note that blocks are processed in the following "
                "order: `tools`, `system`, `messages`."
            )
        short = short or point.ttl == "5m"
    return None


def _explicit_breakpoints(params: Mapping[str, Any]) -> list[Breakpoint]:
    found: list[Breakpoint] = []
    for key in ("tools", "system"):
        blocks = params.get(key)
        if shapes.is_array(blocks):
            _collect(blocks, key, found)
    for index, message in enumerate(params["messages"]):
        content = message["content"]
        if shapes.is_array(content):
            _collect(content, f"messages.{index}.content", found)
    return found


def _collect(blocks: list[Any], path: str, found: list[Breakpoint]) -> None:
    for index, block in enumerate(blocks):
        if control := block.get("cache_control"):
            found.append(Breakpoint(f"{path}.{index}.cache_control", _ttl(control)))


def _last_block(params: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give the block that the automatic breakpoint falls on; None when it is a plain text."""
    content = params["messages"][-1]["content"]
    if not shapes.is_array(content) or not content:
        return None
    last: Mapping[str, Any] = content[-1]
    return last


def _ttl(control: Mapping[str, Any]) -> str:
    ttl = control.get("ttl")
    return ttl if isinstance(ttl, str) else "5m"
