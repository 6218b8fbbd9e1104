"""Limits: buckets that fill continuously, and what is counted while it is under way."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.service import START

from overnight.access.keys import Caller
from overnight.access.limits import Bucket, Limiter, take
from overnight.clock import MovableClock
from overnight.errors import RateLimited, RequestTooLarge
from overnight.model import WorkspaceId
from overnight.tenancy import DEFAULT_ROLES, Allowance, Key, KeyId, Workspace

HERE = WorkspaceId("wrkspc_01here")


def a_workspace(**limits: int | None) -> Workspace:
    return Workspace(id=HERE, name="here", created_at=START, allowance=Allowance(**limits))


def a_caller(name: str | None = None, **limits: int | None) -> Caller:
    """Give a caller with a key of the database, or without a name with one of the settings."""
    if name is None:
        return Caller(roles=DEFAULT_ROLES, workspace_id=HERE)
    key = Key(
        id=KeyId(f"apikey_01{name}"),
        workspace_id=HERE,
        name=name,
        roles=DEFAULT_ROLES,
        hint="",
        created_at=START,
        allowance=Allowance(**limits),
    )
    return Caller(roles=DEFAULT_ROLES, workspace_id=HERE, key=key)


def a_limiter(clock: MovableClock, **defaults: int | None) -> Limiter:
    return Limiter(clock, Allowance(**defaults))


# Requests per minute.


def test_a_full_bucket_holds_a_minutes_worth() -> None:
    bucket: Bucket | None = None
    for left in (2, 1, 0):
        taken = take(bucket, per_minute=3, now_s=0)
        assert (taken.is_granted, taken.remaining, taken.wait_s) == (True, left, 0)
        bucket = taken.bucket
    refused = take(bucket, per_minute=3, now_s=0)
    assert (refused.is_granted, refused.remaining) == (False, 0)
    assert (refused.wait_s, refused.full_in_s) == (20, 60)


def test_it_fills_continuously_and_not_above_its_size() -> None:
    assert take(Bucket(0, 0), per_minute=60, now_s=0.5).wait_s == 0.5
    assert take(Bucket(0, 0), per_minute=60, now_s=30).remaining == 29
    assert take(Bucket(0, 0), per_minute=60, now_s=3_600).remaining == 59


def test_a_changed_limit_holds_at_once() -> None:
    assert take(Bucket(900, 0), per_minute=10, now_s=0).remaining == 9
    assert take(Bucket(0, 0), per_minute=600, now_s=1).remaining == 9


@given(
    per_minute=st.integers(1, 10**6),
    tokens=st.floats(0, 0.999),
    at_s=st.floats(0, 10**9),
)
def test_after_the_wait_that_was_told_a_request_is_granted(
    per_minute: int, tokens: float, at_s: float
) -> None:
    refused = take(Bucket(tokens, at_s), per_minute=per_minute, now_s=at_s)
    assert not refused.is_granted
    # A clock of 10^9 s resolves 10^-7 s.
    later_s = at_s + refused.wait_s + 1e-6
    assert take(refused.bucket, per_minute=per_minute, now_s=later_s).is_granted


@given(
    per_minute=st.integers(1, 600),
    pauses_s=st.lists(st.floats(0, 30, allow_subnormal=False), min_size=1, max_size=200),
)
def test_nobody_gets_more_than_the_rate_and_one_bucket(
    per_minute: int, pauses_s: list[float]
) -> None:
    bucket: Bucket | None = None
    now_s, granted = 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        taken = take(bucket, per_minute=per_minute, now_s=now_s)
        assert 0 <= taken.bucket.tokens <= per_minute
        bucket = taken.bucket
        granted += taken.is_granted
    assert granted <= per_minute + now_s * per_minute / 60 + 1e-6


def test_without_a_limit_nothing_is_counted(clock: MovableClock) -> None:
    limiter = a_limiter(clock)
    assert limiter.rate(a_caller(), a_workspace()) is None
    assert a_limiter(clock, requests_per_minute=0).rate(a_caller(), a_workspace()) is None


def test_a_workspaces_own_limit_replaces_that_of_the_settings(clock: MovableClock) -> None:
    limiter = a_limiter(clock, requests_per_minute=100)
    for own, expected in [(None, 100), (5, 5), (1_000, 1_000)]:
        rate = limiter.rate(a_caller(), a_workspace(requests_per_minute=own))
        assert rate is not None and rate.limit.at_most == expected
    assert limiter.rate(a_caller(), a_workspace(requests_per_minute=0)) is None


def test_keys_share_the_limit_of_their_workspace_and_have_their_own_beside_it(
    clock: MovableClock,
) -> None:
    limiter, workspace = a_limiter(clock, requests_per_minute=3), a_workspace()
    narrow, wide = a_caller("narrow", requests_per_minute=1), a_caller("wide")

    def asked(caller: Caller) -> tuple[str, bool, int]:
        rate = limiter.rate(caller, workspace)
        assert rate is not None
        return rate.limit.scope, rate.taken.is_granted, rate.taken.remaining

    assert asked(narrow) == ("key", True, 0)
    assert asked(narrow) == ("key", False, 0)
    # What the key's limit refused did not count for the workspace.
    assert asked(wide) == ("workspace", True, 1)
    assert asked(wide) == ("workspace", True, 0)
    assert asked(wide) == ("workspace", False, 0)
    clock.advance(timedelta(seconds=20))
    assert asked(wide) == ("workspace", True, 0)
    clock.advance(timedelta(seconds=40))
    assert asked(narrow) == ("key", True, 0)


def test_buckets_that_are_full_again_are_forgotten(clock: MovableClock) -> None:
    limiter = a_limiter(clock, requests_per_minute=10)

    def ask(number: int) -> None:
        workspace = Workspace(id=WorkspaceId(f"w{number}"), name="", created_at=START)
        assert limiter.rate(a_caller(), workspace) is not None

    for number in range(10_000):
        ask(number)
    clock.advance(timedelta(seconds=61))
    ask(10_000)
    assert len(limiter) == 1


# What is under way.


def test_an_upload_takes_its_place_until_it_is_answered(clock: MovableClock) -> None:
    limiter, workspace = a_limiter(clock, uploads=2), a_workspace()

    def upload(stack: ExitStack, caller: Caller) -> None:
        stack.enter_context(limiter.upload(caller, workspace, announced_bytes=0))

    with ExitStack() as stack:
        for _ in range(2):
            upload(stack, a_caller())
        with pytest.raises(RateLimited, match=f"workspace {HERE} of 2 uploads") as caught:
            upload(stack, a_caller("other"))
        assert caught.value.retry_after_s == 1
    with ExitStack() as stack:
        upload(stack, a_caller("one", uploads=1))
        with pytest.raises(RateLimited, match="key apikey_01one of 1 uploads"):
            upload(stack, a_caller("one", uploads=1))
        upload(stack, a_caller("other"))


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)


async def test_bytes_count_as_announced_or_as_they_come(clock: MovableClock) -> None:
    limiter, workspace = a_limiter(clock, body_bytes_in_flight=100), a_workspace()
    upload: Any = limiter.upload
    with upload(a_caller(), workspace, announced_bytes=60) as first:
        with (
            pytest.raises(RateLimited, match="100 bytes under way"),
            upload(a_caller(), workspace, announced_bytes=50),
        ):
            pass
        with upload(a_caller(), workspace, announced_bytes=0) as second:
            assert [len(c) async for c in second.passed(chunks(20, 20))] == [20, 20]
            with pytest.raises(RateLimited):
                [c async for c in first.passed(chunks(60, 1))]
        # The announced bytes are not counted twice, and more may come when there is room.
        assert [len(c) async for c in first.passed(chunks(60, 40))] == [60, 40]
    with upload(a_caller(), workspace, announced_bytes=100):
        pass


async def test_a_body_above_the_limit_by_itself_is_too_large(clock: MovableClock) -> None:
    limiter, workspace = a_limiter(clock, body_bytes_in_flight=100), a_workspace()
    with (
        pytest.raises(RequestTooLarge, match="at most 100 bytes"),
        limiter.upload(a_caller(), workspace, announced_bytes=101),
    ):
        pass
    with (
        pytest.raises(RequestTooLarge),
        limiter.upload(a_caller(), workspace, announced_bytes=0) as upload,
    ):
        [c async for c in upload.passed(chunks(60, 41))]
    with limiter.upload(a_caller(), workspace, announced_bytes=100):
        pass


async def test_an_upload_that_fails_gives_back_what_it_took(clock: MovableClock) -> None:
    limiter = a_limiter(clock, body_bytes_in_flight=100, uploads=1)
    for _ in range(3):
        with (
            pytest.raises(OSError, match="disk"),
            limiter.upload(a_caller(), a_workspace(), announced_bytes=90),
        ):
            raise OSError("disk")
