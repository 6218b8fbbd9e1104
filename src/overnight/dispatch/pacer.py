"""Rate limits mirrored: the server's token buckets, so that no call is sent to be refused. Pure.

A bucket holds a minute's worth and fills without pause. What a call will take is estimated by how
earlier estimates turned out, and put right when its answer tells. What answers state
(`anthropic-ratelimit-*`) corrects the mirror, since others may use the same limits.
Source: dispatch facts §1.6.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from overnight.dispatch.bucket import Amounts, Bucket, Level
from overnight.model import Limit, Need

# The weight of older answers against one more, in learning what estimates come to.
_MEMORY = 0.998
# Where answers come more often, only one in so many seconds corrects the mirror.
_LEARNS_EVERY_S = 0.01


class Paid(NamedTuple):
    """What was taken for a call, and from which buckets."""

    need: Need
    amounts: Amounts = Amounts(0.0, 0.0, 0.0)
    buckets: tuple[Bucket, ...] = ()


class Pacer:
    """The buckets of one group of calls: some of its own, as stated, and some shared with others.

    Groups differ in how long their answers are, so each learns what its own estimates come to.
    """

    def __init__(self, shared: Iterable[Bucket] = ()) -> None:
        self._buckets = tuple(shared)
        self._stated: dict[str, Bucket] = {}
        # Tokens that came for each that was expected; and the sums that this is reckoned from.
        self._input_factor = self._output_factor = 1.0
        self._input_expected = self._input_came = 0.0
        self._output_expected = self._output_came = 0.0
        self._learned_s = float("-inf")

    def wait_s(self, need: Need, now_s: float, *, reserve: float = 0.0) -> float:
        """Give the seconds until a call may be sent that leaves this share of each bucket."""
        amounts = self._amounts(need)
        waits = [bucket.wait_s(amounts, now_s, reserve) for bucket in self._buckets]
        return max(waits, default=0.0)

    def scarcest(self, need: Need, now_s: float, *, reserve: float = 0.0) -> str:
        """Name the limit that makes a call wait longest; there must be one."""
        amounts = self._amounts(need)
        return max(self._buckets, key=lambda bucket: bucket.wait_s(amounts, now_s, reserve)).of

    def stated(self, now_s: float) -> list[Level]:
        """Say how far the limits are used up that answers state."""
        return [bucket.level(now_s) for bucket in self._stated.values()]

    def take(self, need: Need, now_s: float) -> Paid:
        """Take what a call needs that is sent now."""
        amounts = self._amounts(need)
        for bucket in self._buckets:
            bucket.take(amounts, now_s)
        return Paid(need, amounts, self._buckets)

    def settle(self, paid: Paid, used: Need) -> None:
        """Put right what was taken for a call that was answered."""
        self._input_expected = _MEMORY * self._input_expected + paid.need.input_tokens
        self._input_came = _MEMORY * self._input_came + used.input_tokens
        if self._input_expected:
            self._input_factor = self._input_came / self._input_expected
        self._output_expected = _MEMORY * self._output_expected + paid.need.output_tokens
        self._output_came = _MEMORY * self._output_came + used.output_tokens
        if self._output_expected:
            self._output_factor = self._output_came / self._output_expected
        for bucket in paid.buckets:
            bucket.settle(paid.amounts, Amounts(1.0, *used))

    def refund(self, paid: Paid, *, sent: bool) -> None:
        """Put right what was taken for a call that brought nothing.

        It has written no output; whether it took the rest nobody knows, but if it was not sent.
        """
        gone = paid.amounts._replace(output_tokens=0.0) if sent else Amounts(0.0, 0.0, 0.0)
        for bucket in paid.buckets:
            bucket.settle(paid.amounts, gone)

    def refused(self, paid: Paid, stated: Sequence[Limit], after_s: float, now_s: float) -> bool:
        """Note that the server refused a call for a limit; tell whether a stated one explains it.

        The mirror was wrong: after `after_s` seconds there is what this call needs, and no more.
        """
        remaining = {limit.of: limit.remaining for limit in stated}
        explained = False
        for bucket in paid.buckets:
            left = remaining.get(bucket.of)
            if left is None or bucket.lacks(paid.amounts, left):
                bucket.drain(paid.amounts, after_s, now_s)
                explained |= left is not None
        return explained or any(not limit.remaining for limit in stated)

    def too_large(self, paid: Paid) -> bool:
        """Tell whether a call has more input than a bucket can hold."""
        return any(
            bucket.of == "input_tokens" and paid.amounts.input_tokens > bucket.per_minute
            for bucket in paid.buckets
        )

    def learn(
        self, limits: Iterable[Limit], asked_s: float, now_s: float, *, unheard: Need, calls: int
    ) -> None:
        """Correct the mirror by what the answer to a call states that was sent at `asked_s`.

        For a limit that is new: so many `calls` under way, each like `unheard`, may not be counted.
        """
        if now_s - self._learned_s < _LEARNS_EVERY_S:
            return
        self._learned_s = now_s
        for limit in limits:
            bucket = self._stated.get(limit.of)
            if bucket is None:
                bucket = self._stated[limit.of] = Bucket(limit, now_s)
                bucket.lower(calls, Amounts(1.0, *unheard))
                self._buckets += (bucket,)
            else:
                bucket.learn(limit, asked_s, now_s)

    def _amounts(self, need: Need) -> Amounts:
        return Amounts(
            1.0, need.input_tokens * self._input_factor, need.output_tokens * self._output_factor
        )
