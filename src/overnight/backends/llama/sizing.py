"""How much of the machine a model gets. Pure but for `machine`, which looks at it."""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from overnight.backends.llama.gguf import Gguf

# Each slot keeps the prompt it had last: fewer slots compute shared beginnings less often, more
# slots write more answers at a time. Measured in docs/decisions/0033-llama-in-a-child-process.md.
CPU_SLOTS = 2
GPU_SLOTS = 8
# Enough for the prompts of most batches, where the model and the memory allow it.
_CONTEXT_TOKENS = 16_384
_MIN_CONTEXT_TOKENS = 2_048
# Keys and values of all slots together get at most this share of the memory that is left.
_KV_SHARE = 0.5
_TOPOLOGY = Path("/sys/devices/system/cpu")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say; None leaves it to us."""

    slots: int | None = None
    # For one request: prompt and answer together.
    context_tokens: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    # Memory for prompts that have left their slot.
    prompt_cache_mib: int | None = None


class Machine(NamedTuple):
    """What there is to share out."""

    cores: int
    memory_bytes: int


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What one model's llama.cpp is started with; None is for llama.cpp to choose."""

    # None until it is known whether there is a GPU: the child sees it first.
    slots: int | None
    context_tokens: int
    threads: int
    gpu_layers: int | None
    prompt_cache_mib: int


def sizing(model: Gguf, asked: Asked, machine: Machine, *, models: int) -> Sizing:
    """Size one of `models` models that share the machine."""
    left_bytes = max(0, machine.memory_bytes // models - model.size_bytes)
    cache_mib = asked.prompt_cache_mib
    if cache_mib is None:
        cache_mib = min(8_192, left_bytes // 4 >> 20)
    return Sizing(
        slots=asked.slots,
        context_tokens=asked.context_tokens
        or _context_tokens(model, left_bytes, asked.slots or CPU_SLOTS),
        threads=asked.threads or machine.cores,
        gpu_layers=asked.gpu_layers,
        prompt_cache_mib=cache_mib,
    )


def machine() -> Machine:
    """Count physical cores and free memory: two threads on one core only wait for each other."""
    usable = (
        os.sched_getaffinity(0)
        if hasattr(os, "sched_getaffinity")
        else set(range(os.cpu_count() or 1))
    )
    cores = {_core(cpu) for cpu in usable}
    return Machine(cores=max(1, len(cores)), memory_bytes=_memory_bytes())


def _context_tokens(model: Gguf, left_bytes: int, slots: int) -> int:
    tokens = min(model.context_tokens or _CONTEXT_TOKENS, _CONTEXT_TOKENS)
    if model.kv_bytes_per_token:
        fitting = int(left_bytes * _KV_SHARE) // (model.kv_bytes_per_token * slots)
        tokens = min(tokens, max(fitting, _MIN_CONTEXT_TOKENS))
    return tokens


def _core(cpu: int) -> str:
    """Name the physical core of a processor; the processor itself where that is not told."""
    path = _TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        # Not told here: what the smallest of today's machines has.
        return 8 << 30
