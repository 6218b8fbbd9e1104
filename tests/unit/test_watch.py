"""What `overnight watch` writes of a running batch."""

from datetime import datetime, timedelta

import pytest

from overnight.cli.watch import Eta, Progress, fitted, line
from overnight.wire.batches import RequestCounts

NOON = datetime(2026, 11, 22, 12, 0).astimezone()


@pytest.mark.parametrize(
    ("within", "written"),
    [
        (timedelta(hours=6), "expires 18:00"),
        (timedelta(hours=24), "expires 23 Nov 12:00"),
        (timedelta(days=29), "expires 21 Dec 12:00"),
    ],
)
def test_the_expiry_names_its_day_unless_it_is_today(within: timedelta, written: str) -> None:
    eta = Eta(earliest=NOON + timedelta(seconds=5), latest=NOON + timedelta(seconds=5))
    progress = Progress(
        id="msgbatch_01Ab",
        status="in_progress",
        counts=RequestCounts(processing=2, succeeded=0, errored=0, canceled=0, expired=0),
        total=2,
        recorded=0,
        expires_at=NOON + within,
        eta=eta,
        verdict="on_track",
    )
    assert f"ends ~12:00 (in 5 s, {written}: on track)" in line(progress, now=NOON, plain=True)


@pytest.mark.parametrize("columns", [1, 2, 10, 11, 80])
def test_a_redrawn_line_stays_on_one_row(columns: int) -> None:
    text = "0123456789"
    shown = fitted(text, columns=columns)
    assert len(shown) <= max(columns - 1, 1)
    assert (shown == text) == (columns > len(text))
