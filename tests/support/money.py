"""A treasury, as `overnight.app` composes it."""

from overnight.clock import Clock
from overnight.model import Unsent, WorkerId, new_worker_id
from overnight.pipeline.treasury import Treasury
from overnight.pipeline.wake import Wakes
from overnight.pricing import shelf
from overnight.pricing.tariff import Tariff
from overnight.store.database import Database

TARIFF = Tariff(shelf.open_book(shelf.DEFAULT))


def a_treasury(
    database: Database,
    clock: Clock,
    *,
    owner: WorkerId | None = None,
    rest_as: Unsent = "canceled",
) -> Treasury:
    return Treasury(
        owner=owner or new_worker_id(),
        database=database,
        clock=clock,
        wakes=Wakes(),
        tariff=TARIFF,
        rest_as=rest_as,
        lease_s=15,
        interval_s=0.01,
    )
