"""The reports against values worked out by hand, over ledgers written by hand."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from tests.support.api import Answer
from tests.support.service import START, Service, serving, settings_for

from overnight.access.keys import workspace_id
from overnight.app import open_database
from overnight.clock import MovableClock
from overnight.model import Batch, BatchId, Charge, Counts, WorkspaceId
from overnight.store import ledger
from overnight.store.database import Database

HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-7"
DEFAULT, TEAM = workspace_id("default"), workspace_id("team")
MIDNIGHT = datetime.fromisoformat("2026-11-22T00:00:00+00:00")
HOUR = timedelta(hours=1)


def a_charge(
    model: str, token_class: str, count: int, rate: str | None, *, over_tokens: int = 0
) -> Charge:
    return Charge(
        model=model,
        over_tokens=over_tokens,
        token_class=token_class,
        count=count,
        service_tier="batch",
        rate_usd=None if rate is None else Decimal(rate),
        usd=None if rate is None else Decimal(rate) * count / 1_000_000,
        standard_rate_usd=None,
        standard_usd=None,
        book="by hand",
        book_version="1",
    )


async def charge(
    database: Database, name: str, at: datetime, workspace: WorkspaceId, *charges: Charge
) -> None:
    batch = Batch(
        id=BatchId(name),
        workspace_id=workspace,
        status="ended",
        created_at=at,
        expires_at=at,
        retain_until=at,
        api_version="2023-06-01",
        request_count=1,
        input_key="",
        input_bytes=0,
        counts=Counts(succeeded=1),
    )
    await database.write(partial(ledger.charge, batch=batch, made=charges, at=at))


@pytest.fixture
async def reporting(
    tmp_path: Path, database_url: str | None, clock: MovableClock
) -> AsyncIterator[Service]:
    """Serve a ledger of four batches, two of them within one minute."""
    settings = settings_for(tmp_path, database_url=database_url, worker=False)
    # The service closes it.
    database = open_database(settings)
    at = MIDNIGHT
    await charge(database, "b1", at - timedelta(microseconds=1), DEFAULT,
                 a_charge(HAIKU, "input", 1_000_000, "0.40"))  # fmt: skip
    await charge(database, "b2", at, DEFAULT,
                 a_charge(HAIKU, "input", 1, "0.40"),
                 a_charge(HAIKU, "cache_write_5m", 20, "1.00"),
                 a_charge(HAIKU, "cache_write_1h", 30, "1.60"),
                 a_charge(HAIKU, "cache_read", 40, "0.08"),
                 a_charge(HAIKU, "output", 50, "2.00"))  # fmt: skip
    await charge(database, "b3", at + timedelta(seconds=59), TEAM,
                 a_charge(OPUS, "input", 300_000, "7.50", over_tokens=200_000),
                 a_charge(OPUS, "output", 7, "37.50", over_tokens=200_000),
                 a_charge(OPUS, "web_search", 3, None, over_tokens=200_000))  # fmt: skip
    await charge(database, "b4", at + HOUR, DEFAULT, a_charge(HAIKU, "input", 5, "0.40"))
    async with serving(settings, clock=clock, database=database) as service:
        yield service


async def ask(service: Service, path: str, **headers: str) -> Answer:
    return await service.api.call("GET", f"/v1/organizations/{path}", headers=headers)


async def buckets(service: Service, path: str) -> list[dict[str, Any]]:
    answer = await ask(service, path)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json["data"]
    return found


USAGE = "usage_report/messages?starting_at=2026-11-21T00:00:00Z"
COST = "cost_report?starting_at=2026-11-21T00:00:00Z"


async def test_usage_by_day_sums_every_token_class(reporting: Service) -> None:
    first, second = await buckets(reporting, USAGE)
    assert (first["starting_at"], first["ending_at"]) == (
        "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z",
    )  # fmt: skip
    assert [r["uncached_input_tokens"] for r in first["results"]] == [1_000_000]
    assert second["results"] == [
        {
            "uncached_input_tokens": 300_006,
            "cache_creation": {"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 20},
            "cache_read_input_tokens": 40,
            "output_tokens": 57,
            "server_tool_use": {"web_search_requests": 3},
            "api_key_id": None,
            "workspace_id": None,
            "model": None,
            "service_tier": None,
            "context_window": None,
            "inference_geo": None,
            "account_id": None,
            "service_account_id": None,
        }
    ]


async def test_usage_is_grouped_by_what_is_asked_for(reporting: Service) -> None:
    groups = "&".join(
        f"group_by[]={name}"
        for name in ("model", "workspace_id", "service_tier", "context_window", "api_key_id")
    )
    _, bucket = await buckets(reporting, f"{USAGE}&{groups}")
    names = ("model", "workspace_id", "service_tier", "context_window", "uncached_input_tokens")
    assert sorted(tuple(r[name] for name in names) for r in bucket["results"]) == [
        (HAIKU, None, "batch", "0-200k", 6),
        (OPUS, TEAM, "batch", "200k-1M", 300_000),
    ]


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        (f"models[]={HAIKU}", 6),
        (f"models[]={HAIKU}&models[]={OPUS}", 300_006),
        (f"workspace_ids[]={TEAM}", 300_000),
        ("service_tiers[]=batch", 300_006),
        ("service_tiers[]=standard", None),
        ("context_window[]=0-200k", 6),
        ("context_window[]=200k-1M", 300_000),
        ("api_key_ids[]=apikey_01x", None),
        ("inference_geos[]=us", None),
    ],
)
async def test_usage_is_filtered(reporting: Service, query: str, tokens: int | None) -> None:
    _, bucket = await buckets(reporting, f"{USAGE}&{query}")
    found = [result["uncached_input_tokens"] for result in bucket["results"]]
    assert found == ([] if tokens is None else [tokens])


async def test_hours_and_minutes_begin_where_the_clock_says(reporting: Service) -> None:
    hours = await buckets(
        reporting, "usage_report/messages?starting_at=2026-11-22T00:30:00Z&bucket_width=1h&limit=3"
    )
    assert [bucket["starting_at"] for bucket in hours] == [
        f"2026-11-22T0{hour}:00:00Z" for hour in range(3)
    ]
    assert [len(bucket["results"]) for bucket in hours] == [1, 1, 0]
    minutes = await buckets(
        reporting,
        "usage_report/messages?starting_at=2026-11-21T23:59:30%2B00:00&bucket_width=1m&limit=3",
    )
    tokens = [[r["uncached_input_tokens"] for r in bucket["results"]] for bucket in minutes]
    assert tokens == [[1_000_000], [300_001], []]


async def test_only_buckets_that_end_before_the_end_are_given(reporting: Service) -> None:
    found = await buckets(reporting, f"{USAGE}&ending_at=2026-11-22T23:59:59Z")
    assert [bucket["starting_at"] for bucket in found] == ["2026-11-21T00:00:00Z"]


async def test_pages_follow_each_other_without_gap_or_overlap(reporting: Service) -> None:
    path, starts, pages = f"{USAGE}&bucket_width=1h&limit=7", list[str](), 0
    page = ""
    while True:
        answer = await ask(reporting, path + page)
        assert answer.status == 200, answer
        starts += [bucket["starting_at"] for bucket in answer.json["data"]]
        pages += 1
        assert answer.json["has_more"] == (answer.json["next_page"] is not None)
        if not answer.json["has_more"]:
            break
        page = f"&page={answer.json['next_page']}"
    # Up to the hour that is running now: 6:40.
    expected = [MIDNIGHT - 24 * HOUR + HOUR * number for number in range(31)]
    assert starts == [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in expected]
    assert pages == 5


async def test_cost_is_in_cents_and_exact(reporting: Service) -> None:
    first, second = await buckets(reporting, COST)
    assert [result["amount"] for result in first["results"]] == ["40.00"]
    # 0.0000004 + 0.00002 + 0.000048 + 0.0000032 + 0.0001 + 2.25 + 0.0002625 + 0.000002 USD;
    # the searches have no known price and stand apart.
    assert [r["amount"] for r in second["results"]] == ["225.04361", None]
    assert {r["currency"] for r in second["results"]} == {"USD"}
    assert {r["description"] for r in second["results"]} == {None}


async def test_cost_is_described_line_by_line(reporting: Service) -> None:
    _, bucket = await buckets(reporting, f"{COST}&group_by[]=description&group_by[]=workspace_id")
    names = ("model", "cost_type", "token_type", "context_window", "workspace_id", "amount")
    assert sorted([tuple(r[name] for name in names) for r in bucket["results"]], key=str) == sorted(
        [
            (HAIKU, "tokens", "uncached_input_tokens", "0-200k", None, "0.00024"),
            (HAIKU, "tokens", "cache_creation.ephemeral_5m_input_tokens", "0-200k", None, "0.002"),
            (HAIKU, "tokens", "cache_creation.ephemeral_1h_input_tokens", "0-200k", None, "0.0048"),
            (HAIKU, "tokens", "cache_read_input_tokens", "0-200k", None, "0.00032"),
            (HAIKU, "tokens", "output_tokens", "0-200k", None, "0.01"),
            (OPUS, "tokens", "uncached_input_tokens", "200k-1M", TEAM, "225.00"),
            (OPUS, "tokens", "output_tokens", "200k-1M", TEAM, "0.02625"),
            (OPUS, "web_search", None, None, TEAM, None),
        ],
        key=str,
    )
    assert {r["service_tier"] for r in bucket["results"]} == {"batch"}


@pytest.mark.parametrize("how", [{"accept": "text/csv"}, {}])
async def test_both_reports_come_as_csv(reporting: Service, how: dict[str, str]) -> None:
    extra = "" if how else "&format=csv"
    answer = await ask(reporting, f"{USAGE}&group_by[]=model&limit=1{extra}", **how)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["overnight-next-page"].startswith("page_")
    [row] = csv.DictReader(io.StringIO(answer.body.decode()))
    assert (row["starting_at"], row["model"]) == ("2026-11-21T00:00:00Z", HAIKU)
    assert row["uncached_input_tokens"] == "1000000"
    assert row["cache_creation.ephemeral_5m_input_tokens"] == "0"
    costs = await ask(reporting, f"{COST}{extra}", **how)
    amounts = [row["amount"] for row in csv.DictReader(io.StringIO(costs.body.decode()))]
    assert amounts == ["40.00", "225.04361", ""]


async def test_an_empty_report_is_a_header_line_in_csv(reporting: Service) -> None:
    answer = await ask(reporting, "cost_report?starting_at=2025-01-01T00:00:00Z&limit=1&format=csv")
    assert answer.body.startswith(b"starting_at,ending_at,currency,amount,")
    assert answer.body.count(b"\r\n") == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cost_report", "starting_at"),
        ("cost_report?starting_at=yesterday", "starting_at"),
        ("cost_report?starting_at=9999-12-31T23:59:59Z", "starting_at"),
        (f"{COST}&ending_at=2026-11-20T00:00:00Z", "ending_at"),
        (f"{COST}&bucket_width=1h", "bucket_width"),
        (f"{COST}&group_by[]=model", "group_by"),
        (f"{COST}&limit=32", "limit"),
        (f"{COST}&limit=0", "limit"),
        (f"{COST}&limit=x", "limit"),
        (f"{COST}&page=page_!!", "page"),
        (f"{COST}&page=other", "page"),
        (f"{COST}&format=xml", "format"),
        (f"{COST}&models[]={HAIKU}", "models[]"),
        (f"{USAGE}&bucket_width=1w", "bucket_width"),
        (f"{USAGE}&bucket_width=1m&limit=1441", "limit"),
        (f"{USAGE}&group_by[]=custom_id", "group_by"),
        (f"{USAGE}&service_tiers[]=cheap", "service_tiers"),
        (f"{USAGE}&context_window[]=1M", "context_window"),
        (f"{USAGE}&nonsense=1", "nonsense"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(service: Service, path: str, name: str) -> None:
    answer = await ask(service, path)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert answer.error["message"].startswith(f"{name}: ")


async def test_reports_need_a_key_of_the_workspace_admin(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, worker=False, api_keys=("admin=sk-admin", "team=sk-team"))
    async with serving(settings, clock=MovableClock(START)) as service:
        for path in (USAGE, COST):
            assert (await ask(service, path)).status == 401
            refused = await ask(service, path, **{"x-api-key": "sk-team"})
            assert (refused.status, refused.error["type"]) == (403, "permission_error")
            assert (await ask(service, path, **{"x-api-key": "sk-admin"})).status == 200


async def test_no_batch_is_charged_twice(database: Database) -> None:
    one = a_charge(HAIKU, "input", 1, "0.40")
    await charge(database, "b", START, DEFAULT, one)
    with pytest.raises(IntegrityError):
        await charge(database, "b", START, DEFAULT, one)
    assert await database.read(lambda c: ledger.of_batch(c, BatchId("b"))) == [one]
