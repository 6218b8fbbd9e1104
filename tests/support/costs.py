"""What a batch must have cost, from its result lines alone: each request priced by itself."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from tests.support.api import Api

import overnight
from overnight.pricing import shelf

Lines = Mapping[str, Mapping[str, Any]]


class Sum(NamedTuple):
    """Known amounts; `complete` when no price was unknown."""

    usd: Decimal
    standard_usd: Decimal
    complete: bool


def cost_of(lines: Lines, *, on: date, book: str = shelf.DEFAULT) -> Sum:
    """Add up what each succeeded line costs; nothing else costs."""
    usd = standard = Decimal(0)
    complete = True
    for result in lines.values():
        if result["type"] != "succeeded":
            continue
        message = result["message"]
        cost = overnight.cost(message["usage"], message["model"], on=on, book=book)
        usd += cost.usd or 0
        standard += cost.standard_usd or 0
        complete = complete and cost.complete
    return Sum(usd, standard, complete)


async def charged(api: Api, batch_id: str, *, book: str = shelf.DEFAULT) -> dict[str, Any]:
    """Check to the last digit that an ended batch was charged what its results cost."""
    answer = await api.call("GET", f"/overnight/v1/batches/{batch_id}/cost")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    lines = await api.lines(batch_id)
    expected = cost_of(lines, on=date.fromisoformat(found["prices_of"]), book=book)
    known = [line for line in found["lines"] if line["usd"] is not None]
    assert sum(Decimal(line["usd"]) for line in known) == expected.usd
    assert sum(Decimal(line["standard_usd"]) for line in known) == expected.standard_usd
    assert found["complete"] == expected.complete
    if known or not found["lines"]:
        assert Decimal(found["spent_usd"]) == expected.usd
    return found
