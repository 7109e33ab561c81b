"""Ranges of days: weeks, months, seasons, feasts, and how far back "a few weeks ago" is.

Everything a phrase about dates can mean, without any words. Weeks run from Monday to Sunday; seasons are those of the
northern hemisphere, in whole months. A range that leaves the calendar (before year 1, after 9999) raises ValueError or
OverflowError, as `datetime` does.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

Unit = Literal["day", "week", "weekend", "month", "year", "decade"]
Part = Literal["early", "mid", "late"]

_FIRST_MONTH: Final = {"spring": 3, "summer": 6, "autumn": 9, "winter": 12}


class Days(NamedTuple):
    """Days from `start` to `end`, both included."""

    start: date
    end: date


def day(at: date, shift: int = 0) -> Days:
    """The single day that lies `shift` days after `at`."""
    moved = at + timedelta(days=shift)
    return Days(moved, moved)


def week(at: date, shift: int = 0) -> Days:
    """Monday to Sunday of the week that lies `shift` weeks after that of `at`."""
    monday = at + timedelta(days=7 * shift - at.weekday())
    return Days(monday, monday + timedelta(days=6))


def weekend(at: date, shift: int = 0) -> Days:
    """Saturday and Sunday of the week that lies `shift` weeks after that of `at`."""
    sunday = week(at, shift).end
    return Days(sunday - timedelta(days=1), sunday)


def month(year_number: int, month_number: int) -> Days:
    """A calendar month."""
    last = monthrange(year_number, month_number)[1]
    return Days(date(year_number, month_number, 1), date(year_number, month_number, last))


def month_after(at: date, shift: int) -> Days:
    """The calendar month that lies `shift` months after that of `at`."""
    index = at.year * 12 + at.month - 1 + shift
    return month(index // 12, index % 12 + 1)


def year(number: int) -> Days:
    """A calendar year."""
    return Days(date(number, 1, 1), date(number, 12, 31))


def years(first: int, count: int) -> Days:
    """Calendar years one after the other: a decade, a century."""
    return Days(date(first, 1, 1), date(first + count - 1, 12, 31))


def season(year_number: int, name: str) -> Days:
    """A season that begins in that year; winter runs into the next one."""
    first = date(year_number, _FIRST_MONTH[name], 1)
    return Days(first, month_after(first, 2).end)


def unit_at(unit: Unit, at: date, shift: int) -> Days:
    """The day, week, weekend, month, year or decade that lies `shift` of them after the one that `at` is in."""
    if unit == "day":
        return day(at, shift)
    if unit == "week":
        return week(at, shift)
    if unit == "weekend":
        return weekend(at, shift)
    if unit == "month":
        return month_after(at, shift)
    if unit == "year":
        return year(at.year + shift)
    return years(at.year // 10 * 10 + 10 * shift, 10)


def counted(unit: Unit, at: date, low: int, high: int) -> Days:
    """What "`low` to `high` units ago" (negative) or "in … units" (positive) means.

    Days, months and years are themselves. Counted weeks are meant loosely, so three days on both sides belong to them.
    """
    if unit == "week":
        return Days(at + timedelta(days=7 * low - 3), at + timedelta(days=7 * high + 3))
    if unit == "decade":
        return Days(year(at.year + 10 * low).start, year(at.year + 10 * high).end)
    return Days(unit_at(unit, at, low).start, unit_at(unit, at, high).end)


def trailing(unit: Unit, at: date, count: int) -> Days:
    """The last (negative) or next `count` units, up to or from `at`: "the last two weeks"."""
    if unit in ("week", "weekend", "day"):
        far = at + timedelta(days=count * (1 if unit == "day" else 7))
    elif unit == "month":
        into = month_after(at, count)
        far = into.start.replace(day=min(at.day, into.end.day))
    else:
        years = count * (10 if unit == "decade" else 1)
        far = date(at.year + years, at.month, min(at.day, monthrange(at.year + years, at.month)[1]))
    return Days(min(at, far), max(at, far))


def part_of(days: Days, part: Part) -> Days:
    """The first, middle or last third of a range, in whole days."""
    third = max(((days.end - days.start).days + 1) // 3, 1)
    if part == "early":
        return Days(days.start, days.start + timedelta(days=third - 1))
    if part == "late":
        return Days(days.end - timedelta(days=third - 1), days.end)
    return Days(min(days.start + timedelta(days=third), days.end), max(days.end - timedelta(days=third), days.start))


def weekday_from(at: date, weekday: int, *, forward: bool, same_day: bool) -> Days:
    """The nearest such weekday before or after `at`.

    Args:
        weekday: 0 is Monday.
        forward: look ahead instead of back.
        same_day: whether `at` itself counts.
    """
    gap = (weekday - at.weekday()) % 7 if forward else (at.weekday() - weekday) % 7
    if gap == 0 and not same_day:
        gap = 7
    return day(at, gap if forward else -gap)


def nearest(make: Callable[[int], Days], at: date, *, forward: bool) -> Days:
    """Of what comes back every year, the one that has begun last, or (forward) that ends next.

    Args:
        make: the range of a given year; ValueError where that year has none (29 February).
    """
    years = range(at.year - 1, at.year + 9) if forward else range(at.year, at.year - 9, -1)
    for number in years:
        try:
            days = make(number)
        except ValueError:
            continue
        if (days.end >= at) if forward else (days.start <= at):
            return days
    raise ValueError("no such day in nine years")


def _easter(year_number: int) -> date:
    """Easter Sunday (Gregorian; the anonymous algorithm of 1876)."""
    golden, century, rest = year_number % 19, year_number // 100, year_number % 100
    leap = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - leap + 15) % 30
    sunday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    correction = (golden + 11 * epact + 22 * sunday) // 451
    total = epact + sunday - 7 * correction + 114
    return date(year_number, total // 31, total % 31 + 1)


def _fixed(month_number: int, first: int, last: int) -> Callable[[int], Days]:
    return lambda number: Days(date(number, month_number, first), date(number, month_number, last))


def _thanksgiving(number: int) -> Days:
    first = date(number, 11, 1)
    return day(first, (3 - first.weekday()) % 7 + 21)


HOLIDAYS: Final[dict[str, Callable[[int], Days]]] = {
    "christmas": _fixed(12, 24, 26),
    "christmas day": _fixed(12, 25, 25),
    "christmas eve": _fixed(12, 24, 24),
    "new year": _fixed(1, 1, 1),
    "new year eve": _fixed(12, 31, 31),
    "halloween": _fixed(10, 31, 31),
    "halloween eve": _fixed(10, 30, 30),
    "valentine": _fixed(2, 14, 14),
    "thanksgiving": _thanksgiving,
    "easter": lambda number: Days(_easter(number) - timedelta(days=2), _easter(number) + timedelta(days=1)),
    "pentecost": lambda number: Days(_easter(number) + timedelta(days=49), _easter(number) + timedelta(days=50)),
    "labour day": _fixed(5, 1, 1),
    "national day of china": _fixed(10, 1, 1),
}
