"""If these fail, imported messages stand at the wrong moment: order, "yesterday" and filters by time go wrong."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.errors import InvalidInput
from memos_core.reading.times import first_time, read_time

NOW = datetime(2023, 6, 14, 13, 0, tzinfo=UTC)
MOMENT = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        datetime(2023, 5, 8, 13, 56),
        datetime(2023, 5, 8, 15, 56, tzinfo=timezone(timedelta(hours=2))),
        "2023-05-08T13:56:00Z",
        "2023-05-08T13:56",
        "2023-05-08 13:56:00",
        " 2023-05-08T15:56:00+02:00 ",
        "20230508T135600",
        "Mon, 08 May 2023 13:56:00 +0000",
        "8 May 2023, 1:56 pm",
        "1:56 pm on 8 May, 2023",
        1683554160,
        1683554160.0,
        1683554160000,
        1683554160000000,
        "1683554160",
        "1683554160.000",
    ],
)
def test_one_moment_in_many_forms(value: object) -> None:
    read = read_time(value, now=NOW)
    assert read == MOMENT
    assert read.tzinfo is UTC
    assert type(read) is datetime


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(2023, 5, 8), datetime(2023, 5, 8, tzinfo=UTC)),
        ("2023-05-08", datetime(2023, 5, 8, tzinfo=UTC)),
        ("20230508", datetime(2023, 5, 8, tzinfo=UTC)),
        ("yesterday", datetime(2023, 6, 13, tzinfo=UTC)),
        ("8 May 2023 12am", datetime(2023, 5, 8, tzinfo=UTC)),
        ("8 May 2023 12:30 PM", datetime(2023, 5, 8, 12, 30, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-86400, datetime(1969, 12, 31, tzinfo=UTC)),
    ],
)
def test_days_and_seconds(value: object, expected: datetime) -> None:
    assert read_time(value, now=NOW) == expected


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, 1e30, True, None, "", "   ", "garbage", "last week", "32 May 2023", "x" * 1000,
        "2023-13-01", [], {}, b"2023", "8 May 2023 13pm", datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_a_reason(value: object) -> None:
    with pytest.raises(InvalidInput, match="is no time") as raised:
        read_time(value, now=NOW)
    assert len(str(raised.value)) < 400


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_numbers_and_iso_strings_come_back_as_they_were(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert read_time(aware.isoformat(), now=NOW) == aware
    assert abs(read_time(aware.timestamp(), now=NOW) - aware) < timedelta(milliseconds=1)
    assert abs(read_time(aware.timestamp() * 1000, now=NOW) - aware) < timedelta(milliseconds=1)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.binary()))
def test_anything_is_a_time_or_refused(value: Any) -> None:
    with suppress(InvalidInput):
        assert read_time(value, now=NOW).tzinfo is UTC


def test_a_subclass_of_datetime_becomes_a_plain_one() -> None:
    class Stamp(datetime):
        pass

    assert type(read_time(Stamp(2023, 5, 8, 13, 56, tzinfo=UTC), now=NOW)) is datetime


def test_the_first_that_can_be_read() -> None:
    assert first_time(["soon", "2023-05-08"], now=NOW) == datetime(2023, 5, 8, tzinfo=UTC)
    assert first_time(["soon"], now=NOW) is None
