"""Large LLM jobs at batch price, on any model."""

__version__ = "0.1.0"
