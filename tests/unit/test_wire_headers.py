from datetime import UTC, datetime, timedelta

import pytest
from litestar.datastructures import Headers

from overnight.errors import InvalidRequest
from overnight.wire.headers import api_version, auto_cache, betas, retry_after_s

NOW = datetime(2026, 11, 22, 6, 40, 25, tzinfo=UTC)


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers([(name.encode(), value.encode()) for name, value in pairs])


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_both_versions_of_the_wire_are_known(version: str) -> None:
    assert api_version(headers(("Anthropic-Version", version))) == version


def test_the_same_version_twice_is_one_version() -> None:
    twice = headers(("anthropic-version", "2023-06-01"), ("anthropic-version", "2023-06-01 "))
    assert api_version(twice) == "2023-06-01"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([], "anthropic-version: header is required"),
        (
            ["2024-01-01"],
            'anthropic-version: "2024-01-01" is not a valid version; '
            "send one of: 2026-10-21, 2023-06-01",
        ),
        (
            [""],
            'anthropic-version: "" is not a valid version; send one of: 2026-10-21, 2023-06-01',
        ),
        (
            ["2026-10-21", "2023-06-01"],
            "anthropic-version: sent 2 different values (2023-06-01, 2026-10-21); "
            "send one of: 2026-10-21, 2023-06-01",
        ),
    ],
)
def test_a_missing_unknown_or_ambiguous_version_is_refused(sent: list[str], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        api_version(headers(*(("anthropic-version", value) for value in sent)))
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ([], ()),
        ([""], ()),
        (["one"], ("one",)),
        (["one, two", "three"], ("one", "two", "three")),
        (["two,one", " one ,,two"], ("two", "one")),
    ],
)
def test_betas_are_read_from_lists_and_from_repeated_headers(
    sent: list[str], names: tuple[str, ...]
) -> None:
    assert betas(headers(*(("anthropic-beta", value) for value in sent))) == names


@pytest.mark.parametrize(
    ("milliseconds", "seconds_or_date", "expected"),
    [
        (None, None, None),
        (None, "30", 30.0),
        (None, "0", 0.0),
        (None, "1.5", 1.5),
        ("250", "30", 0.25),
        ("no", "30", 30.0),
        ("-1", None, None),
        (None, "-1", None),
        (None, "inf", None),
        (None, "nan", None),
        (None, "", None),
        (None, "tomorrow", None),
        (None, "Sun, 99999999999999999999 Nov 2026 06:40:55 GMT", None),
        (None, "Sun, 22 Nov 2026 06:40:55 GMT", 30.0),
        (None, "Sun, 22 Nov 2026 06:40:55 -0000", 30.0),
        (None, "Sun, 22 Nov 2026 06:40:24 GMT", 0.0),
    ],
)
def test_retry_after_gives_seconds_or_nothing(
    milliseconds: str | None, seconds_or_date: str | None, expected: float | None
) -> None:
    assert retry_after_s(milliseconds, seconds_or_date, now=NOW) == expected


def test_a_date_in_retry_after_counts_from_now() -> None:
    date = "Sun, 22 Nov 2026 06:40:55 GMT"
    assert retry_after_s(None, date, now=NOW + timedelta(seconds=10)) == 20.0


@pytest.mark.parametrize(
    ("sent", "asked"),
    [([], None), (["true"], True), ([" false "], False), (["true", "true"], True)],
)
def test_automatic_caching_is_asked_for_or_refused_by_its_header(
    sent: list[str], asked: bool | None
) -> None:
    assert auto_cache(headers(*(("Overnight-Auto-Cache", value) for value in sent))) is asked


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (["yes"], '"yes"'),
        ([""], '""'),
        (["True"], '"True"'),
        (["true", "false"], '"false", "true"'),
    ],
)
def test_any_other_value_of_that_header_is_refused_by_name(sent: list[str], shown: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        auto_cache(headers(*(("overnight-auto-cache", value) for value in sent)))
    assert refused.value.message == f"overnight-auto-cache: {shown}, must be true or false"
