"""The till: real-time calls are charged at the standard price, in groups, before they are answered.

A group is all that ended while the one before was being stored, so a charge waits for the commit
that runs and for its own. Each process has one sum per key and minute, its tab, and stores
the sums themselves: the ledger grows by the minute and not by the call, and to store them once more
changes nothing. See docs/decisions/0036-real-time-first.md.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from overnight.clock import Clock
from overnight.errors import Unavailable
from overnight.model import Tab, TabId, Usage, WorkspaceId, new_tab_id
from overnight.pricing.tariff import Tariff
from overnight.store import ledger
from overnight.store.database import Database, reason

# So long an answer that has cost something waits for a database that is away.
PATIENCE_S = 10.0
_RETRY_FIRST_S = 0.1
_RETRY_CAP_S = 5.0
# For what nobody waits for any more, at the end.
_LAST_S = 5.0
# A tab is never longer, whatever a backend calls its models.
_MAX_KEYS = 100

log = logging.getLogger(__name__)


class Spent(NamedTuple):
    """What one call used."""

    workspace_id: WorkspaceId
    # As the answer named it.
    model: str
    usage: Usage
    # None for a key of the settings, or where no key was needed.
    key_id: str | None = None

    @property
    def spender(self) -> "Spender":
        return Spender(self.workspace_id, self.key_id)


class Spender(NamedTuple):
    """Whose calls are summed up together."""

    workspace_id: WorkspaceId
    key_id: str | None


# By spender, and there by `UsageKey`.
Sums = dict[Spender, dict[str, Usage]]
# Gives the `UsageKey` of a call, written as text.
Key = Callable[[str, Usage], str]


class Till:
    """Charges calls; shut while the database takes nothing."""

    def __init__(
        self,
        *,
        database: Database,
        tariff: Tariff,
        clock: Clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._tariff = tariff
        self._clock = clock
        self._patience_s = patience_s
        self._shut = False
        self._waiting: list[_Waiting] = []
        # Those of this minute.
        self._tabs: dict[Spender, _Tab] = {}
        self._minute: datetime | None = None
        # What the database has of them may differ from what it should have.
        self._doubted: dict[TabId, _Tab] = {}
        # Something waits or is doubted.
        self._due = asyncio.Event()
        self._clear = asyncio.Event()
        self._clear.set()

    def require_open(self) -> None:
        """Raise Unavailable while nothing can be charged: then nothing may be spent either."""
        if self._shut:
            raise Unavailable(
                "The database takes no charges now, so this request was not sent; try again soon",
                retry_after_s=1,
            )

    async def charge(self, spent: Spent) -> None:
        """Return once a call is charged; canceling the wait leaves it charged.

        Raises: Unavailable when that took too long. Then it is not charged and must not be
        answered.
        """
        waiting = self._add(spent)
        if waiting is None:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await asyncio.shield(waiting.stored)
        except TimeoutError:
            if not waiting.stored.cancel():
                return
            self._shut = True
            raise Unavailable(
                "The answer came, but the database does not take its charge: it is neither given "
                "nor charged"
            ) from None

    def owe(self, spent: Spent, *, then: Callable[[], None] = lambda: None) -> None:
        """Charge what was given already, as soon as that can be stored; `then` is called."""
        waiting = self._add(spent)
        if waiting is None:
            then()
        else:
            waiting.stored.add_done_callback(lambda stored: then())

    async def run(self) -> None:
        """Store group after group until canceled."""
        pause_s = _RETRY_FIRST_S
        while True:
            await self._due.wait()
            try:
                await self._store()
                pause_s = _RETRY_FIRST_S
            except DBAPIError as error:
                self._shut = True
                log.error("charges cannot be stored, to be tried again: %s", reason(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_CAP_S)

    async def close(self) -> None:
        """Wait a moment for what is not yet stored, while `run` still runs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._clear.wait()
        if not self._clear.is_set():
            log.error("the last real-time calls could not be charged: no answer by the database")

    def _add(self, spent: Spent) -> "_Waiting | None":
        if spent.usage == Usage():
            return None
        waiting = _Waiting(spent, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._set_due()
        return waiting

    def _set_due(self) -> None:
        self._due.set()
        self._clear.clear()

    async def _store(self) -> None:
        """Store what waits and what is doubted. Raises: DBAPIError; then all of it is doubted."""
        group = [waiting for waiting in self._waiting if not waiting.stored.cancelled()]
        self._waiting = []
        self._due.clear()
        now = self._clock.now()
        key = partial(self._tariff.key, on=now.date())
        grown = _grown(self._open(group, now), group, key)
        doubted, self._doubted = self._doubted, {}
        try:
            await self._write(grown, doubted)
        except BaseException:
            self._waiting = group + self._waiting
            self._doubted = doubted | {tab.id: tab for tab, _ in grown}
            self._set_due()
            raise
        self._shut = False
        self._settle(group, grown, key)
        if not self._due.is_set():
            self._clear.set()

    def _settle(self, group: "Sequence[_Waiting]", grown: "Sequence[_Grown]", key: Key) -> None:
        """Note what is stored; those who gave up meanwhile are to be taken out again."""
        kept = [waiting for waiting in group if not waiting.stored.cancelled()]
        if len(kept) < len(group):
            self._doubted |= {tab.id: tab for tab, _ in grown}
            self._set_due()
            grown = _grown(self._tabs, kept, key)
        for tab, usage in grown:
            tab.usage |= usage
        for waiting in kept:
            waiting.stored.set_result(None)

    async def _write(self, grown: "Sequence[_Grown]", doubted: "dict[TabId, _Tab]") -> None:
        tabs = {tab.id: tab for tab, _ in grown}
        lines = {tab.id: usage for tab, usage in grown}
        for tab in doubted.values():
            tabs[tab.id] = tab
            lines[tab.id] = tab.usage | lines.get(tab.id, {})

        def write(connection: Connection) -> None:
            for tab_id in doubted:
                ledger.drop_tab(connection, tab_id)
            ledger.tab(connection, [self._priced(tabs[id], lines[id]) for id in lines])

        await self._database.write(write)

    def _priced(self, tab: "_Tab", usage: dict[str, Usage]) -> Tab:
        on = tab.begun_at.date()
        return Tab(
            id=tab.id,
            workspace_id=tab.spender.workspace_id,
            key_id=tab.spender.key_id,
            begun_at=tab.begun_at,
            charges=self._tariff.charges(usage, tier="standard", on=on),
        )

    def _open(self, group: "Iterable[_Waiting]", now: datetime) -> "dict[Spender, _Tab]":
        """Give the tabs that grow now: one for each spender of a group, others of its minute.

        A minute is the finest width of the reports.
        """
        minute = now.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._tabs = minute, {}
        for waiting in group:
            spender = waiting.spent.spender
            tab = self._tabs.get(spender)
            if tab is None or len(tab.usage) >= _MAX_KEYS:
                self._tabs[spender] = _Tab(spender, now)
        return self._tabs


def sums(spent: Iterable[Spent], *, key: Key) -> Sums:
    """Sum up what calls used, apart where spenders or rates differ. Pure."""
    found: Sums = {}
    for one in spent:
        of_spender = found.setdefault(one.spender, {})
        named = key(one.model, one.usage)
        so_far = of_spender.get(named)
        of_spender[named] = one.usage if so_far is None else so_far + one.usage
    return found


class _Waiting(NamedTuple):
    """A call that is not charged yet. Whoever gives up cancels `stored`."""

    spent: Spent
    stored: asyncio.Future[None]


class _Tab:
    """What the calls of one spender came to: what the database should have."""

    __slots__ = ("begun_at", "id", "spender", "usage")

    def __init__(self, spender: Spender, now: datetime) -> None:
        self.id = new_tab_id()
        self.spender = spender
        self.begun_at = now
        self.usage: dict[str, Usage] = {}


class _Grown(NamedTuple):
    """A tab, and the sums of it that are larger than before."""

    tab: _Tab
    usage: dict[str, Usage]


def _grown(tabs: dict[Spender, _Tab], group: Iterable[_Waiting], key: Key) -> list[_Grown]:
    """Add a group to the tabs of its spenders, which stay as they are."""
    added = sums((waiting.spent for waiting in group), key=key)
    grown: list[_Grown] = []
    for spender, usage in added.items():
        before = tabs[spender].usage
        after = {name: before.get(name, Usage()) + more for name, more in usage.items()}
        grown.append(_Grown(tabs[spender], after))
    return grown
