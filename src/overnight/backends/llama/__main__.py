"""The child: llama.cpp's server on a loopback port until standard input ends.

    python -m overnight.backends.llama <order.json

It ends with its parent whatever ends that: the pipe to its input is closed then.
"""

import importlib
import os
import sys
import threading
from typing import Any

import msgspec

from overnight.backends.llama.order import Order, Ready

# Errors and warnings; the levels above tell about every request.
_VERBOSITY = 2
# Calls wait in llama.cpp's own queue for a slot, one thread each.
_WAITING_CALLS = 16


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Here and by name: whoever checks or reads this package need not have the wheel.
    xllamacpp = importlib.import_module("xllamacpp")

    slots = order.slots or (order.gpu_slots if _has_gpu(xllamacpp) else order.cpu_slots)
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, order, slots))
    except RuntimeError as error:
        sys.exit(str(error))
    ready = Ready(url=server.listening_address, slots=slots)
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()
    threading.Event().wait()


def _parameters(xllamacpp: Any, order: Order, slots: int) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = order.path
    parameters.model_alias = {order.model}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [order.api_key]
    parameters.ui = False
    parameters.verbosity = _VERBOSITY
    parameters.n_parallel = slots
    # A context for each slot: none takes the room of another in the middle of an answer.
    parameters.kv_unified = False
    parameters.n_ctx = order.context_tokens * slots
    parameters.n_threads_http = slots + _WAITING_CALLS
    parameters.cpuparams.n_threads = order.threads
    parameters.cpuparams_batch.n_threads = order.threads
    parameters.cache_ram_mib = order.prompt_cache_mib
    if order.gpu_layers is not None:
        parameters.n_gpu_layers = order.gpu_layers
    return parameters


def _has_gpu(xllamacpp: Any) -> bool:
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = {kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU}
    return any(device["type"] in gpus for device in xllamacpp.get_device_info())


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(1):
        pass
    # Not sys.exit: threads of llama.cpp may be in the middle of an answer that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    main()
