"""What parent and child say to each other: an order on standard input, a report on output."""

import msgspec


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that the child reads. The rest of its input is silence until the end."""

    path: str
    model: str
    # Who calls must show it: anybody on the machine reaches a loopback port.
    api_key: str
    slots: int | None
    cpu_slots: int
    gpu_slots: int
    context_tokens: int
    threads: int
    gpu_layers: int | None
    prompt_cache_mib: int


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The one line that the child writes, once the model is loaded."""

    url: str
    slots: int
