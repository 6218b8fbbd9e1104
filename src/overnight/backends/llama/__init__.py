"""GGUF models on this machine: llama.cpp in a child process for each, started again when it dies.

Why in a child: docs/decisions/0033-llama-in-a-child-process.md.
"""

from overnight.backends.llama.backend import LlamaBackend, model_name
from overnight.backends.llama.sizing import Asked

__all__ = ["Asked", "LlamaBackend", "model_name"]
