"""Whether an answer took far longer than answers of its kind usually do. Pure.

Answers are of a kind when input, output and the calls under way meanwhile are of the same orders
of magnitude: a long answer takes long, and a server that batches calls is slower for each of them
and faster in all. So a backend that slows down is seen, and a busy one or a long answer is not.
"""

_SLOW = 3.0
# Within so little time the wait is as much ours as the backend's.
_SLOW_FROM_S = 0.1
# What is usual follows answers within dozens; slow ones do not count.
_WITHIN = 1 / 32


class Slowness:
    """The usual seconds of each kind of answer."""

    def __init__(self) -> None:
        self._usual_s: dict[tuple[int, int, int, int], float] = {}

    def note(
        self, group: int, calls: float, input_tokens: int, output_tokens: int, seconds: float
    ) -> bool:
        """Learn from an answer with so many `calls` under way; tell whether it was slow."""
        busy, taken, given = (
            int(calls).bit_length(), input_tokens.bit_length(), output_tokens.bit_length(),
        )  # fmt: skip
        kind = (busy, taken, given, group)
        usual_s = self._usual_s.get(kind)
        if usual_s is None:
            # With fewer calls under way it should take no longer than with more.
            usual_s = self._usual_s.get((busy + 1, taken, given, group), seconds)
        slow = seconds > _SLOW_FROM_S and seconds > _SLOW * usual_s
        self._usual_s[kind] = usual_s if slow else usual_s + (seconds - usual_s) * _WITHIN
        return slow

    def forget(self) -> None:
        """Learn anew what is usual."""
        self._usual_s.clear()
