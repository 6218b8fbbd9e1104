"""Purses of several processes on one budget: whatever happens, no more is spent than may be."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.service import START

from overnight.budget import Budget, BudgetId, advance
from overnight.dispatch.purse import Asked, Purse

CENT = Decimal("0.01")


def a_budget(limit_usd: Decimal) -> Budget:
    return Budget(
        id=BudgetId("spl_01"),
        scope="organization",
        subject_id="",
        period="monthly",
        limit_usd=limit_usd,
        created_at=START,
        updated_at=START,
    )


class Bank:
    """What the database has: what is spent, and what each process holds."""

    def __init__(self, limit_usd: Decimal) -> None:
        self.budget = a_budget(limit_usd)
        self.used_usd = Decimal(0)
        self.held: dict[str, Decimal] = {}

    def look(self, name: str, asked: Asked) -> tuple[Decimal, Decimal, Decimal]:
        """Answer as the treasury's transaction does; gives held, used, others."""
        others = sum((usd for owner, usd in self.held.items() if owner != name), Decimal(0))
        held = advance(
            limit_usd=self.budget.limit_usd,
            used_usd=self.used_usd,
            others_usd=others,
            open_usd=asked.open_usd,
            needed_usd=asked.needed_usd,
            wanted_usd=asked.wanted_usd,
        )
        self.held[name] = held
        return held, self.used_usd, others


class Process:
    """One process with calls under way; a look at the bank may be under way, too."""

    def __init__(self, name: str, bank: Bank) -> None:
        self.name, self.bank = name, bank
        self.purse = Purse(bank.budget)
        self.calls: list[Decimal] = []
        self.asked: Asked | None = None
        self.answer: tuple[Decimal, Decimal, Decimal] | None = None

    def send(self, usd: Decimal) -> bool:
        if not self.purse.pays(usd, 0.0):
            return False
        self.purse.take(usd)
        self.calls.append(usd)
        return True

    def record(self, share: int) -> None:
        """End the oldest call: it cost so many hundredths of what it might have."""
        if self.calls:
            usd = self.calls.pop(0)
            self.bank.used_usd += usd * share / 100
            self.purse.settle(usd)

    def fail(self) -> None:
        if self.calls:
            self.purse.give_back(self.calls.pop())

    def look(self) -> None:
        """Go on with the look: begin it, have it answered, put the advance into the purse."""
        if self.asked is None:
            self.asked = self.purse.begin()
        elif self.answer is None:
            self.answer = self.bank.look(self.name, self.asked)
        else:
            held, used, others = self.answer
            self.asked.granted(
                self.purse, held, used_usd=used, others_usd=others, valid_until_s=1.0
            )
            self.asked = self.answer = None

    def die(self) -> None:
        """Be killed: what was under way is paid and not recorded; a new process takes over."""
        self.bank.held.pop(self.name, None)
        self.__init__(self.name, self.bank)  # type: ignore[misc]


amounts = st.integers(1, 400).map(lambda cents: cents * CENT)
steps = st.tuples(
    st.sampled_from(["send", "send", "send", "record", "fail", "look", "look", "look", "die"]),
    st.integers(0, 2),
    amounts,
    st.integers(0, 100),
)


@settings(max_examples=200)
@given(limit=amounts, taken=st.lists(steps, max_size=120))
def test_no_more_is_spent_or_under_way_than_the_budget(
    limit: Decimal, taken: list[tuple[str, int, Decimal, int]]
) -> None:
    bank = Bank(limit)
    processes = [Process(name, bank) for name in "abc"]
    for what, who, usd, share in taken:
        process = processes[who]
        match what:
            case "send":
                process.send(usd)
            case "record":
                process.record(share)
            case "fail":
                process.fail()
            case "look":
                process.look()
            case _:
                process.die()
        under_way = sum((sum(p.calls, Decimal(0)) for p in processes), Decimal(0))
        assert bank.used_usd + under_way <= limit


@settings(max_examples=100)
@given(limit=amounts, costs=st.lists(amounts, min_size=1, max_size=30), share=st.integers(0, 100))
def test_calls_go_on_until_the_next_one_could_pass_the_budget(
    limit: Decimal, costs: list[Decimal], share: int
) -> None:
    bank = Bank(limit)
    processes = [Process(name, bank) for name in "ab"]
    for number, usd in enumerate(costs):
        process, other = processes[number % 2], processes[1 - number % 2]
        for _ in range(3):
            if process.send(usd):
                process.record(share)
                break
            # The other one has nothing to do, and what it holds comes free.
            for one in (other, process):
                for _ in range(3):
                    one.look()
        else:
            assert process.purse.is_dry(usd, 0.0)
            assert bank.used_usd + usd > limit
            return
    assert bank.used_usd <= limit


def test_a_purse_that_can_pay_for_who_waits_is_not_emptied_to_be_filled_again() -> None:
    process = Process("a", Bank(Decimal(1)))
    purse = process.purse
    assert not process.send(CENT) and purse.is_short()
    process.look()
    # Another call comes while the bank is asked.
    assert not process.send(CENT)
    process.look()
    process.look()
    assert not purse.is_short() and purse.pays(CENT, 0.0)
