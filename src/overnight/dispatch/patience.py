"""How long answers of a backend usually take, and from when on a call is a straggler. Pure."""

from collections import deque
from heapq import nlargest

# Nobody is cut before so many answers are known, nor before so many seconds.
_MIN_KNOWN = 200
_MIN_PATIENCE_S = 30.0
_KNOWN = 2_000
# The slowest pace is looked up again after so many answers.
_LOOK_EVERY = 50
# Times the slowest pace that the backend explains.
_MARGIN = 2.0
_QUANTILE = 0.999
# Shorter answers are mostly waiting for the first token.
_MIN_TOKENS = 16
# Extra calls that cutting may cause, as a share of all.
_EXTRA_SHARE = 0.01
_MAX_CREDIT = 10.0
# Within so little time the wait is as much ours as the backend's: no answer is slow.
_SLOW_FROM_S = 0.1
# What is usual follows better news at once and worse news slowly.
_FALLS, _RISES = 1 / 8, 1 / 256


class Patience:
    """Learns from answers: the usual time for their length, and the slowest pace."""

    def __init__(self) -> None:
        # By the orders of magnitude of input and output.
        self._usual_s: dict[tuple[int, int], float] = {}
        # Seconds for an output token, in the order they came.
        self._recent: deque[float] = deque(maxlen=_KNOWN)
        self._slowest_s = 0.0
        self._unseen = _LOOK_EVERY
        self._credit = 1.0

    def note(self, input_tokens: int, output_tokens: int, seconds: float) -> float:
        """Learn from an answer; give how many times as long as usual it took."""
        tokens = output_tokens if output_tokens > _MIN_TOKENS else _MIN_TOKENS
        self._recent.append(seconds / tokens)
        self._unseen += 1
        if self._credit < _MAX_CREDIT:
            self._credit += _EXTRA_SHARE
        size = (input_tokens.bit_length(), output_tokens.bit_length())
        usual_s = self._usual_s.get(size)
        if usual_s is None or usual_s <= 0:
            self._usual_s[size] = seconds
            return 1.0
        share = _RISES if seconds > usual_s else _FALLS
        self._usual_s[size] = usual_s + share * (seconds - usual_s)
        return seconds / usual_s if seconds > _SLOW_FROM_S else 1.0

    def timed_out(self) -> None:
        """Note that a call was cut, or took longer than it might."""
        self._credit -= 1.0

    def limit_s(self, max_tokens: int) -> float | None:
        """Give after how long a call for so many output tokens is a straggler.

        None: too little is known, or enough calls were cut already.
        """
        known = len(self._recent)
        if self._credit < 1.0 or known < _MIN_KNOWN:
            return None
        if self._unseen >= _LOOK_EVERY:
            slower = known - int(_QUANTILE * (known - 1))
            self._slowest_s, self._unseen = nlargest(slower, self._recent)[-1], 0
        return max(_MIN_PATIENCE_S, _MARGIN * self._slowest_s * max(max_tokens, _MIN_TOKENS))
