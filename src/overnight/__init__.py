"""Large LLM jobs at batch price, on any model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overnight.model import Usage as Usage
    from overnight.pricing.doors import cost as cost
    from overnight.pricing.doors import estimate as estimate

__version__ = "0.1.0"

# Public names, imported when first used: `import overnight` stays free of cost.
_PUBLIC = {
    "Usage": "overnight.model",
    "cost": "overnight.pricing.doors",
    "estimate": "overnight.pricing.doors",
}
__all__ = ["Usage", "__version__", "cost", "estimate"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'overnight' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
