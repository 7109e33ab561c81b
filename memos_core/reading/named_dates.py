"""Dates by their name: ISO, "8 May 2023", 08/05/2023, months, seasons, feasts, years.

A rule is a name, a pattern over word codes (see `date_words`) and a function from the words found to days; None or
ValueError say that it is no date after all (31 February; "may" as a verb).

Without a year, a day, month or season is the last one that has begun, or the next one when the sentence speaks of the
future, or is in the present and the next one is at most 60 days off. "Early", "mid" and "late" are thirds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, cast

from memos_core.reading import days
from memos_core.reading.date_phrases import SOON, Found, yearly
from memos_core.reading.days import Days

Rule = tuple[str, str, Callable[[Found], Days | None]]

_MONTH: Final = r"(?:[Mm]|J\.?)"
_OF_YEAR: Final = r"(?:,?f?Y|,?f?[LNT]U|,?f?t?U[lr])"
_AROUND: Final = r"(?:t?[UKyW](?:[bF]t?|f))?"  # "the week before", "the week of"
_WEEKDAY: Final = r"(?:O?[Ww][.,]?O?t?)?"
_PART: Final = r"(?:e-?[fi]?t?|gft?)?"
_BEFORE: Final = r"(?:[iOpbFfj]t?)?"


def _around(found: Found, named: Days) -> Days:
    """From a day to what is said about it: "the week before 9 June", "the week of 9 June"."""
    index = found.place("UKyW")
    codes = found.words.codes
    link = codes[index + 1 : index + 2]
    if index < 0 or link not in ("b", "F", "f") or index > found.place("doY"):
        return named
    shift = {"b": -1, "F": 1, "f": 0}[link]
    edge = named.start if shift < 0 else named.end
    if codes[index] == "W":
        weekday = cast("int", found.words.values[index])
        return days.weekday_from(edge, weekday, forward=shift > 0, same_day=False) if shift else named
    unit = found.unit("UKy")
    if unit == "week" and shift:
        near, far = edge + timedelta(days=shift), edge + timedelta(days=7 * shift)
        return Days(min(near, far), max(near, far))
    if unit == "weekend" and shift:
        saturday = days.weekday_from(edge, 5 if shift > 0 else 6, forward=shift > 0, same_day=False).start
        return days.weekend(saturday)
    return days.unit_at(unit, edge, shift)


def _iso(found: Found) -> Days:
    return _around(found, days.day(date(*found.numbers("Yd")[-3:])))


def _numeric(found: Found) -> Days | None:
    one, two, year = found.numbers("dYz")
    digits, separator = len(found.words.shown[found.end - 1]), found.words.codes[found.end - 2]
    if digits == 2:
        if separator == "." and found.words.month_first:
            return None  # in English rather a version number
        year += 2000 if year < 70 else 1900
    elif digits != 4:
        return None
    month_first = found.words.month_first and separator != "."
    if (one if month_first else two) > 12:
        month_first = not month_first
    day, month = (two, one) if month_first else (one, two)
    return _around(found, days.day(date(year, month, day)))


def _numeric_month(found: Found) -> Days:
    """A month in digits: 2023-05, 05/2023."""
    return days.month(found.number("Y"), found.number("d"))


def _numeric_day(found: Found) -> Days | None:
    one, two = found.numbers("d")
    if found.words.month_first and not found.has("/"):
        return None  # "on 8.5" is a number in English
    day, month = (two, one) if found.words.month_first else (one, two)
    return yearly(found, lambda year: days.day(date(year, month, day)))


def _day(found: Found) -> Days | None:
    """A day of a month: "8 May", "May 8th, 2023", "Friday, May 8", "8-10 May"."""
    if found.has("mJ") and not (
        found.capital("mJ") or found.has("oYOpbFwW") or found.code_before() in ("i", "O", "p", "b", "F")
    ):
        return None  # "you may 8 times"
    month = found.number("MmJ")
    numbers = found.numbers("do")
    first, last = numbers[0], numbers[-1]
    if last < first:
        return None
    return _around(found, yearly(found, lambda year: Days(date(year, month, first), date(year, month, last))))


def _nth(found: Found) -> Days | None:
    """As in "on the 5th": of this month, the last or the next one."""
    number, at, tense = found.number("o"), found.at, found.tense
    for shift in (0, 1, 2) if tense == "future" else (0, -1, -2):
        month = days.month_after(at, shift)
        if number <= month.end.day:
            day = month.start.replace(day=number)
            if (day >= at) if tense == "future" else (day <= at):
                return days.day(day)
    return None


def _month(found: Found) -> Days | None:
    if found.has("mJ"):
        before = found.has("iLNlreY")
        if not before and not (found.capital("mJ") and found.has("TgpbFfOj")):
            return None  # "this may be", "Jan said"
    number = found.number("MmJ")
    return found.part(yearly(found, lambda year: days.month(year, number)))


def _within_month(found: Found) -> Days | None:
    """As in "the first week of May", "the last weekend of August", "the first Monday of June"."""
    number = found.number("MmJ")

    def within(year: int) -> Days:
        month = days.month(year, number)
        unit = found.place("UKW")
        last = found.has("L")
        count = 0 if last else found.number("kod") - 1
        if found.words.codes[unit] == "U":
            if found.words.values[unit] != "week" or count > 4:
                raise ValueError("a month has no such part")
            start = month.end - timedelta(days=6) if last else month.start + timedelta(days=7 * count)
            return Days(start, min(start + timedelta(days=6), month.end))
        weekday = 5 if found.words.codes[unit] == "K" else cast("int", found.words.values[unit])
        if last:
            first = days.weekday_from(month.end, weekday, forward=False, same_day=True).start
        else:
            first = days.weekday_from(month.start, weekday, forward=True, same_day=True).start
            first += timedelta(days=7 * count)
        return Days(first, first + timedelta(days=int(found.words.codes[unit] == "K")))

    at_year = found.numbers("Y")
    return within(at_year[0]) if at_year else yearly(found, within)


def _season(found: Found) -> Days | None:
    name = cast("str", found.words.values[found.place("S")])
    if not found.has("YLNTlrUp") and found.tense is None:
        return None  # "I like hiking in the summer"
    if not found.has("YLNTlriUpbFfjOeg"):
        return None
    return found.part(yearly(found, lambda year: days.season(year, name)))


def _holiday(found: Found) -> Days | None:
    index = found.place("H")
    name = "new year" if index < 0 else cast("str", found.words.values[index]).replace("_", " ")
    if found.has("v"):
        name = f"{name} eve"
    elif found.has("y") and name == "christmas":
        name = "christmas day"
    make = days.HOLIDAYS.get(name)
    if make is None:
        return None
    feast = yearly(found, make)
    if not found.has("YLNTPlr") and found.tense in (None, "present"):
        away = max((feast.start - found.at).days, (found.at - feast.end).days)
        if away > SOON:
            return None  # "what do you do at Christmas?" is about none of them
    return feast


def _year(found: Found) -> Days | None:
    number = found.number("Y")
    if found.has("s"):
        return days.years(number, 100 if number % 100 == 0 else 10) if number % 10 == 0 else None
    alone = not found.has("ipbFegU")
    if not 1900 <= number <= (_latest_alone(found) if alone else 2099):
        return None
    after = found.code_after()
    if after == "u" or (after == "_" and alone and not _follows_name(found)):
        return None  # "2000 people"
    return found.part(days.year(number))


def _latest_alone(found: Found) -> int:
    """The latest number that is a year without a word that says so: no film set in the future, no page number."""
    return found.words.at.year + 10 if found.words.at is not None else 2099


def _follows_name(found: Found) -> bool:
    """Whether a word with a capital stands before: "Olympics 2024 were"."""
    return found.code_before() == "_" and found.words.shown[found.start - 1][0].isupper()


# A day may begin with a weekday ("Friday, 5 May") or say "the week before", so these come before what those mean alone.
DAY_RULES: Final[tuple[Rule, ...]] = (
    ("iso", _AROUND + r"Y(?:-d-d|/d/d|\.d\.d)(?![-/])", _iso),
    ("numeric", _AROUND + r"(?<![-/.])d(?P<separator>[-/.])d(?P=separator)[dYz](?![-/]|\.[dYz])", _numeric),
    ("day", _AROUND + _WEEKDAY + r"t?(?<![-/:$])[do]\.?(?:[-&p]t?[do]\.?)?f?" + _MONTH + _OF_YEAR + "?", _day),
    ("month_day", _AROUND + _WEEKDAY + _MONTH + r"t?[do](?![:%]|\.[dz])(?:[-&][do](?![_uy:]))?" + _OF_YEAR + "?", _day),
    ("within_month", r"t?(?:[koL]|d\.)[UKW][fi]t?" + _MONTH + _OF_YEAR + "?", _within_month),
)
RULES: Final[tuple[Rule, ...]] = (
    ("month", _BEFORE + _PART + r"[LNT]?" + _MONTH + f"(?:[lr]|{_OF_YEAR}|(?!t?[do](?![:%])))", _month),
    ("season", _BEFORE + _PART + f"[LNTP]?S(?:[lr]|{_OF_YEAR})?", _season),
    ("holiday", f"[LNTP]?(?:H(?:'?s)?[vy]?|n[Uu](?:'s?[vy]?|[vy]))(?:[lr]|{_OF_YEAR})?", _holiday),
    ("numeric_day", r"Od(?:/d|\.d\.?+)(?![-/$dzY])", _numeric_day),
    ("numeric_month", r"Y-d(?![-/:d])|(?<![-/.$])d/Y(?![-/])", _numeric_month),
    ("nth", r"[Opb]to(?![_uUyKo])", _nth),
    ("year", _BEFORE + r"(?:tU)?" + _PART + r"t?(?<![-/.$])Ys?(?![$/:]|[-.][dz])", _year),
)
