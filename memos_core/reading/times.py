"""Times as they come with messages and documents, in whatever form: datetime, ISO 8601, seconds since 1970, words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from numbers import Real
from typing import Final

from memos_core.errors import InvalidInput
from memos_core.reading.dates import find_dates

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?")
_CLOCK: Final = re.compile(
    r"(?<![\d:.])(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?(?:\s*([ap])\.?m\b|(?<=:\d\d))", re.IGNORECASE
)
# Seconds since 1970 stay below the first until the year 5138; above come milliseconds, then microseconds.
_MOST_SECONDS: Final = 1e11
_LONGEST: Final = 100  # characters of a time


def read_time(value: object, *, now: datetime) -> datetime:
    """The time that a value stands for, aware and in UTC.

    Args:
        value: a datetime or date; ISO 8601 or RFC 2822; seconds, milliseconds or microseconds since 1970, as a number
            or in digits; or words ("8 May 2023, 1:56 pm", "yesterday"). Without a zone it is UTC.
        now: what words like "yesterday" are counted from.

    Raises:
        InvalidInput: it is none of these, or outside the years 1 to 9999.
    """
    try:
        if isinstance(value, datetime):
            return in_utc(value)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        if not isinstance(value, bool) and isinstance(value, Real):
            return _since_epoch(float(value))
        if isinstance(value, str):
            return _from_text(value.strip(), now)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{_shown(value)} is no time: {error}") from error
    raise InvalidInput(f"{_shown(value)} is no time; pass a datetime, an ISO 8601 string or seconds since 1970")


def first_time(values: Iterable[object], *, now: datetime) -> datetime | None:
    """The first of several values that is a time, as in `read_time`; None if none is."""
    for value in values:
        try:
            return read_time(value, now=now)
        except InvalidInput:
            continue
    return None


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC, as a plain datetime; naive times are taken as UTC.

    Raises:
        OverflowError: it leaves the years 1 to 9999.
    """
    moved = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if type(moved) is datetime:
        return moved
    # A subclass (pandas.Timestamp) would not be stored as what it is.
    return datetime.combine(moved.date(), moved.time(), UTC)


def _since_epoch(number: float) -> datetime:
    if not math.isfinite(number):
        raise ValueError("it is not a finite number")
    scale = 1.0
    while abs(number) >= _MOST_SECONDS * scale and scale < 1e6:
        scale *= 1000
    if abs(number) >= _MOST_SECONDS * scale:
        raise ValueError("it is too far from 1970 for seconds, milliseconds or microseconds")
    return _EPOCH + timedelta(microseconds=round(number / scale * 1e6))


def _from_text(text: str, now: datetime) -> datetime:
    if not text or len(text) > _LONGEST:
        raise ValueError("a time has between 1 and 100 characters")
    if _NUMBER.fullmatch(text) and not (len(text) == 8 and text[:2] in ("19", "20")):  # 20230508 is a day
        return _since_epoch(float(text))
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        pass
    clock = _CLOCK.search(text)
    if clock is None or not clock[4]:  # RFC 2822 knows no "pm", and would read 1:56 pm as 1:56
        try:
            return in_utc(parsedate_to_datetime(text))
        except (ValueError, TypeError, IndexError):
            pass
    return _from_words(text, clock, now)


def _from_words(text: str, clock: re.Match[str] | None, now: datetime) -> datetime:
    """A day in words, with or without a time of day."""
    days = {(mention.start, mention.end) for mention in find_dates(text, at=now)}
    if len(days) != 1:
        raise ValueError("write it in ISO 8601, as in 2023-05-08T13:56:00Z")
    ((start, end),) = days
    if start != end:
        raise ValueError("it names no single day")
    if clock is None:
        return datetime.combine(date.fromisoformat(start), time(), UTC)
    hour = int(clock[1])
    if clock[4]:
        if not 1 <= hour <= 12:
            raise ValueError("there is no such hour")
        hour = hour % 12 + (12 if clock[4] in "pP" else 0)
    return datetime.combine(date.fromisoformat(start), time(hour, int(clock[2] or 0), int(clock[3] or 0)), UTC)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
