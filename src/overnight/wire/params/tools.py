"""`tools` and `tool_choice`, and the limits of schemas that the answer must keep to.

Tools of a type that is not known here pass: each has a shape of its own.
Source: protocol notes §3.9, §4.2.
"""

from collections.abc import Mapping
from typing import Any

from overnight.wire.params import shapes
from overnight.wire.params.caching import cache_control_fault
from overnight.wire.params.rules import Rules

MAX_STRICT_TOOLS = 20
MAX_OPTIONAL_PARAMETERS = 24

# Keywords of a JSON schema whose values are plain data.
_NOT_SCHEMAS = frozenset(("const", "default", "enum", "examples"))

_CHOICES: dict[str, tuple[str, ...]] = {
    "auto": ("type", "disable_parallel_tool_use"),
    "any": ("type", "disable_parallel_tool_use"),
    "tool": ("type", "name", "disable_parallel_tool_use"),
    "none": ("type",),
}


def tools_fault(value: Any, rules: Rules) -> str | None:
    """Check `tools`."""
    if fault := shapes.array(value, "tools"):
        return fault
    names: set[str] = set()
    for index, tool in enumerate(value):
        if fault := _tool_fault(tool, rules, f"tools.{index}"):
            return fault
        name = tool.get("name")
        if isinstance(name, str):
            if name in names:
                return "tools: Tool names must be unique."
            names.add(name)
    strict = sum(1 for tool in value if tool.get("strict") is True)
    if strict > MAX_STRICT_TOOLS:
        return f"tools: at most {MAX_STRICT_TOOLS} tools may be strict, not {strict}"
    return None


def tool_choice_fault(value: Any, rules: Rules) -> str | None:
    """Check `tool_choice` by itself."""
    path = "tool_choice"
    if fault := shapes.dictionary(value, path) or shapes.member(value, "type", path):
        return fault
    kind = value["type"]
    if fault := shapes.one_of(kind, f"{path}.type", tuple(_CHOICES)):
        return fault
    path = f"{path}.{kind}"
    if kind == "tool" and (fault := shapes.text_member(value, "name", path)):
        return fault
    return shapes.only_keys(value, _CHOICES[kind], path) if rules.refuses_unknown_nested else None


def forces_tool_use(params: Mapping[str, Any]) -> bool:
    choice = params.get("tool_choice")
    return choice is not None and choice["type"] in ("any", "tool")


def missing_tool_fault(params: Mapping[str, Any]) -> str | None:
    """Check that the tool that must be used is there."""
    choice = params.get("tool_choice")
    if choice is None or choice["type"] != "tool":
        return None
    tools: list[dict[str, Any]] = params.get("tools") or []
    # Tool sets and servers bring tools whose names do not stand in the request.
    open_ended = bool(params.get("mcp_servers")) or any("name" not in tool for tool in tools)
    if open_ended or any(tool["name"] == choice["name"] for tool in tools):
        return None
    return f"Tool '{choice['name']}' not found in provided tools"


def schemas_fault(params: Mapping[str, Any]) -> str | None:
    """Check the optional parameters of all schemas that the answer must keep to."""
    tools: list[dict[str, Any]] = params.get("tools") or []
    schemas = [tool.get("input_schema") for tool in tools if tool.get("strict") is True]
    output_config: dict[str, Any] = params.get("output_config") or {}
    if output_format := output_config.get("format"):
        schemas.append(output_format["schema"])
    optional = sum(_optional_parameters(schema) for schema in schemas)
    if optional <= MAX_OPTIONAL_PARAMETERS:
        return None
    return (
        f"Schemas contains too many optional parameters ({optional}), which would make grammar "
        "compilation inefficient. Reduce the number of optional parameters in your tool schemas "
        f"(limit: {MAX_OPTIONAL_PARAMETERS})."
    )


def _tool_fault(tool: Any, rules: Rules, path: str) -> str | None:
    if fault := shapes.dictionary(tool, path):
        return fault
    kind = tool.get("type")
    if kind is not None and (fault := shapes.string(kind, f"{path}.type")):
        return fault
    path = f"{path}.{kind or 'custom'}"
    if fault := cache_control_fault(tool.get("cache_control"), rules, f"{path}.cache_control"):
        return fault
    if kind not in (None, "custom"):
        return None
    if fault := (
        shapes.text_member(tool, "name", path)
        or shapes.member(tool, "input_schema", path)
        or shapes.dictionary(tool["input_schema"], f"{path}.input_schema")
        or shapes.member(tool["input_schema"], "type", f"{path}.input_schema")
    ):
        return fault
    description = tool.get("description")
    return None if description is None else shapes.string(description, f"{path}.description")


def _optional_parameters(schema: Any) -> int:
    """Count the properties, at any depth, that their object does not require."""
    count = 0
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if shapes.is_array(part):
            waiting.extend(part)
            continue
        if not shapes.is_object(part):
            continue
        for key, value in part.items():
            if key == "properties" and shapes.is_object(value):
                count += len(value.keys() - _required(part))
                waiting.extend(value.values())
            elif key not in _NOT_SCHEMAS:
                waiting.append(value)
    return count


def _required(schema: Mapping[str, Any]) -> set[str]:
    required = schema.get("required")
    return {key for key in required if isinstance(key, str)} if shapes.is_array(required) else set()
