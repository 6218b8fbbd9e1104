"""A purse: what this process may spend of one budget, and what of it is under way. Pure.

A process asks the database for an advance and pays its calls out of it, in memory: no call waits
for the database as long as the advance lasts. See docs/decisions/0043-budgets.md.
"""

from decimal import Decimal

from overnight.budget import Budget

ZERO = Decimal(0)


class Purse:
    """One process's part of a budget. Mutable, touched by the event loop only.

    Each call pays before it is sent what it may cost at most. What it paid stays taken until the
    call has brought nothing, or until the database counts what it did cost.
    """

    __slots__ = (
        "budget",
        "fruitless",
        "held_usd",
        "left_usd",
        "needed_usd",
        "open_usd",
        "others_usd",
        "settled_usd",
        "taken_usd",
        "used_usd",
        "valid_until_s",
        "waiting_usd",
    )

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        # The advance, and until when it is ours.
        self.held_usd = ZERO
        self.valid_until_s = float("-inf")
        # Of calls under way, and of those that ended since the budget was last looked at.
        self.open_usd = ZERO
        self.settled_usd = ZERO
        # Taken since then.
        self.taken_usd = ZERO
        # Of calls that could not be paid since then: of the least of them, and of all together.
        self.needed_usd = ZERO
        self.waiting_usd = ZERO
        # The last look brought nothing, and nothing was given back since.
        self.fruitless = False
        # As last told: spent, held by other processes, and what is left besides.
        self.used_usd = ZERO
        self.others_usd = ZERO
        self.left_usd = ZERO

    @property
    def is_idle(self) -> bool:
        return not (self.held_usd or self.open_usd or self.settled_usd or self.needed_usd)

    def is_short(self) -> bool:
        """Tell whether a call waits that cannot be paid out of what is there."""
        if self.open_usd + self.settled_usd + self.needed_usd <= self.held_usd:
            # It came while the purse was being filled. To ask again would take it away from
            # those who have not yet heard of it.
            self.needed_usd = self.waiting_usd = ZERO
        return bool(self.needed_usd)

    def pays(self, usd: Decimal, now_s: float) -> bool:
        """Tell whether a call can be paid; whoever is told that it cannot waits for `begin`."""
        if self.open_usd + self.settled_usd + usd <= self.held_usd and now_s < self.valid_until_s:
            return True
        self.needed_usd = min(self.needed_usd, usd) if self.needed_usd else usd
        self.waiting_usd += usd
        return False

    def take(self, usd: Decimal) -> None:
        self.open_usd += usd
        self.taken_usd += usd

    def give_back(self, usd: Decimal) -> None:
        """Take back what a call paid that costs nothing."""
        self.open_usd -= usd
        self.fruitless = False

    def settle(self, usd: Decimal) -> None:
        """Note that the database knows now what a call has cost."""
        self.open_usd -= usd
        self.settled_usd += usd
        self.fruitless = False

    def begin(self) -> "Asked":
        """Begin to ask for another advance: until the answer only what is under way is held."""
        asked = Asked(self)
        self.held_usd = self.open_usd + self.settled_usd
        self.taken_usd = self.needed_usd = self.waiting_usd = ZERO
        return asked

    def is_known(self, now_s: float) -> bool:
        """Tell whether the budget was looked at lately."""
        return now_s < self.valid_until_s

    def is_dry(self, usd: Decimal, now_s: float) -> bool:
        """Tell whether a call cannot be paid and nothing that could be given back would help.

        False, too, when the budget was not looked at since a call could not be paid.
        """
        free = not (self.open_usd or self.settled_usd or self.others_usd)
        return free and usd > self.left_usd and not self.needed_usd and self.is_known(now_s)


class Asked:
    """What a purse asks for, as of the moment when it begins."""

    __slots__ = ("needed_usd", "open_usd", "settled_usd", "wanted_usd")

    def __init__(self, purse: Purse) -> None:
        self.open_usd = purse.open_usd
        # What the database counts by the time that it answers.
        self.settled_usd = purse.settled_usd
        self.needed_usd = purse.needed_usd
        # For those who wait, and for twice as much as was taken lately: so looks become rare.
        self.wanted_usd = purse.waiting_usd + 2 * purse.taken_usd

    def granted(
        self,
        purse: Purse,
        held_usd: Decimal,
        *,
        used_usd: Decimal,
        others_usd: Decimal,
        valid_until_s: float,
    ) -> None:
        """Put the advance into the purse."""
        purse.settled_usd -= self.settled_usd
        purse.fruitless = held_usd <= self.open_usd
        purse.held_usd = held_usd
        purse.valid_until_s = valid_until_s
        purse.used_usd, purse.others_usd = used_usd, others_usd
        purse.left_usd = max(ZERO, purse.budget.limit_usd - used_usd)
