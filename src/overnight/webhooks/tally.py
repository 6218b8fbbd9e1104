"""What is counted of deliveries by this process; `overnight.telemetry` reads it."""

from datetime import datetime
from typing import Literal, NamedTuple, get_args

Attempted = Literal["acknowledged", "failed", "refused"]


class Backlog(NamedTuple):
    """Deliveries whose next attempt was due when it was looked for, in the whole database."""

    due: int
    # When the first of them came due; None where none is.
    since: datetime | None


class Tally:
    """Counts of attempts and what was decided after them."""

    def __init__(self) -> None:
        self.attempts: dict[Attempted, int] = dict.fromkeys(get_args(Attempted), 0)
        self.given_up = 0
        self.disabled = 0
        self.backlog = Backlog(0, None)
