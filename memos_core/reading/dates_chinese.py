"""Dates in Chinese (and those of Japanese that are written the same): 昨天, 上周五, 两周前, 2023年5月8日, 去年夏天.

Conventions as in `relative_dates`. A Chinese week is Monday to Sunday, and 上周五 is the Friday of the week before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Final, cast

from memos_core.reading import days
from memos_core.reading.days import Days, Part, Unit

_ANCHOR: Final = re.compile("[年月周週星礼天日晚早夜季旦诞誕国國劳]")  # one of them is in every date
_DIGITS: Final = {character: value for value, character in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
_VAGUE: Final = {"几": (2, 5), "幾": (2, 5), "数": (3, 7)}
_DAYS: Final = {"大前": -3, "前": -2, "昨": -1, "今": 0, "明": 1, "后": 2, "後": 2, "大后": 3, "大後": 3}
_YEARS: Final = {"前": -2, "去": -1, "昨": -1, "今": 0, "本": 0, "明": 1, "来": 1, "后": 2, "後": 2}
_NEIGHBOURS: Final = {"上上": -2, "上": -1, "先": -1, "这": 0, "這": 0, "本": 0, "今": 0, "下": 1, "来": 1, "下下": 2}
_WEEKDAYS: Final = {character: value for value, character in enumerate("一二三四五六日")} | {"天": 6}
_UNITS: Final[dict[str, Unit]] = {
    "天": "day", "日": "day", "周": "week", "週": "week", "星期": "week", "礼拜": "week", "月": "month", "年": "year",
}  # fmt: skip
_SEASONS: Final = {"春": "spring", "夏": "summer", "秋": "autumn", "冬": "winter"}
_PARTS: Final[dict[str, Part]] = {"初": "early", "上": "early", "中": "mid", "末": "late", "底": "late", "下": "late"}
_HOLIDAYS: Final = {
    "元旦": "new year",
    "圣诞": "christmas",
    "聖誕": "christmas",
    "国庆": "national day of china",
    "國慶": "national day of china",
    "劳动节": "labour day",
}
_FUTURE: Final = re.compile("将|會|会|打算|计划|計劃|准备|要去|想去|快到|即将|予定|つもり")
_PAST: Final = re.compile("了|过|過|曾|刚|剛|した|ました")

_WEEK: Final = r"(?:个|個)?(?:周|週|星期|礼拜)"
_NEIGHBOUR: Final = r"(?P<neighbour>上上|下下|上|下|这|這|本|今|先|来)"
_NUMBER: Final = r"\d{1,3}|[一二三四五六七八九十两兩]{1,3}"
_YEAR: Final = r"(?:(?P<year>(?<!\d)\d{4}|[〇零一二三四五六七八九]{4})|(?P<years>(?<![以之])[前去昨今本明来后後]))年"
_MONTH_PART: Final = r"初|底|末|[上中下]旬"


_COUNTED: Final = re.compile("[上下本这這今昨明前后後去]|周|週|星期|礼拜")


def may_have_dates(text: str) -> bool:
    """Whether a character is in the text without which there is no date; cheap."""
    return _ANCHOR.search(text) is not None


def is_relative(phrase: str) -> bool:
    """Whether a phrase that is a date is counted from the day it is said."""
    return _COUNTED.search(phrase) is not None


def find(text: str, at: date | None) -> list[tuple[int, int, Days]]:
    """The dates in a text as (start, end, days), in order, none inside another."""
    matches = sorted(
        ((match.start(), -match.end(), match, resolve) for rule, resolve in _RULES for match in rule.finditer(text)),
        key=lambda each: each[:2],
    )
    found: list[tuple[int, int, Days]] = []
    free = 0
    for start, _, match, resolve in matches:
        if start < free:
            continue
        try:
            meant = resolve(match, at)
        except (ValueError, OverflowError):
            continue  # no such day, or nothing to count from
        if meant is not None:
            found.append((start, match.end(), meant))
            free = match.end()
    return found


def _known(at: date | None) -> date:
    if at is None:
        raise ValueError("no time to count from")
    return at


def _future(match: re.Match[str]) -> bool | None:
    """Whether the words around speak of what will be; None where they do not tell."""
    around = match.string[max(match.start() - 30, 0) : match.end() + 30]
    if _FUTURE.search(around):
        return True
    return False if _PAST.search(around) else None


def _number(text: str) -> int:
    """The value of digits, or of a Chinese numeral below a hundred."""
    if text.isdecimal():
        return int(text)
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return int("".join(str(_DIGITS[character]) for character in text))
    return (_DIGITS[tens] if tens else 1) * 10 + (_DIGITS[ones] if ones else 0)


def _year_of(match: re.Match[str], at: date | None) -> int | None:
    if match["year"]:
        return _number(match["year"])
    return _known(at).year + _YEARS[match["years"]] if match["years"] else None


def _named(match: re.Match[str], at: date | None) -> Days | None:
    """5月8日, 去年5月, 2023年夏天, 国庆节."""

    def of_year(number: int) -> Days:
        if match["season"]:
            return days.season(number, _SEASONS[match["season"]])
        if match["holiday"]:
            return days.HOLIDAYS[_HOLIDAYS[match["holiday"]]](number)
        month = days.month(number, _number(match["month"]))
        if match["day"]:
            return days.day(date(number, month.start.month, _number(match["day"])))
        return days.part_of(month, _PARTS[match["part"][0]]) if match["part"] else month

    number = _year_of(match, at)
    if number is not None:
        return of_year(number)
    return days.nearest(of_year, _known(at), forward=_future(match) is True)


def _year(match: re.Match[str], at: date | None) -> Days | None:
    number = cast("int", _year_of(match, at))
    if not 1000 <= number <= 2999:
        return None
    whole = days.year(number)
    return days.part_of(whole, _PARTS[match["part"]]) if match["part"] else whole


def _week(match: re.Match[str], at: date | None) -> Days:
    shift = _NEIGHBOURS[match["neighbour"]]
    if match["weekend"]:
        return days.weekend(_known(at), shift)
    whole = days.week(_known(at), shift)
    return days.day(whole.start, _WEEKDAYS[match["weekday"]]) if match["weekday"] else whole


def _month(match: re.Match[str], at: date | None) -> Days:
    whole = days.month_after(_known(at), _NEIGHBOURS[match["neighbour"]])
    return days.part_of(whole, _PARTS[match["part"][0]]) if match["part"] else whole


def _counted(match: re.Match[str], at: date | None) -> Days | None:
    """三天前, 两个月后; 5月前 is "before May"."""
    unit = _UNITS[match["unit"]]
    if unit == "month" and not match["measure"]:
        return None
    vague = _VAGUE.get(match["count"])
    low, high = vague if vague else (_number(match["count"]), _number(match["count"]))
    if match["side"] == "前":
        low, high = -high, -low
    return days.counted(unit, _known(at), low, high)


def _half_year(_: re.Match[str], at: date | None) -> Days:
    return days.month_after(_known(at), -6)


def _day(match: re.Match[str], at: date | None) -> Days:
    return days.day(_known(at), _DAYS[match["day"]])


def _weekday(match: re.Match[str], at: date | None) -> Days | None:
    """周五, 周末: the last one, or the next one where the sentence speaks of the future."""
    future = _future(match)
    if match["weekday"]:
        return days.weekday_from(_known(at), _WEEKDAYS[match["weekday"]], forward=future is True, same_day=True)
    if future is None:
        return None
    return days.weekend(_known(at), 0 if future or _known(at).weekday() >= 5 else -1)


_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date | None], Days | None]], ...]] = (
    (
        re.compile(
            rf"(?:{_YEAR}的?)?(?:(?P<month>(?<!\d)\d{{1,2}}|[一二三四五六七八九十]{{1,2}})月"
            rf"(?:份|(?P<day>{_NUMBER})[日号號]|(?P<part>{_MONTH_PART}))?"
            rf"|(?P<season>[春夏秋冬])[天季]|(?P<holiday>{'|'.join(_HOLIDAYS)})节?)"
        ),
        _named,
    ),
    (re.compile(rf"{_YEAR}(?:年?(?P<part>[初底末]))?"), _year),
    (re.compile(rf"{_NEIGHBOUR}{_WEEK}(?:(?P<weekday>[一二三四五六日天])|(?P<weekend>末))?"), _week),
    (re.compile(rf"{_NEIGHBOUR}(?:个|個)?月(?P<part>{_MONTH_PART})?"), _month),
    (
        re.compile(
            rf"(?P<count>{_NUMBER}|[几幾数])(?P<measure>个|個)?多?(?P<unit>天|日|周|週|星期|礼拜|月|年)[之以]?(?P<side>前|后|後)"
        ),
        _counted,
    ),
    (re.compile(r"半年[之以]?前"), _half_year),
    (re.compile(r"(?P<day>大前|大后|大後|(?<![以之然])(?:前|昨|今|明|后|後))(?:天(?![气氣])|[日晚早夜])[晚早]?"), _day),
    (re.compile(r"(?:周|週|星期|礼拜)(?:(?P<weekday>[一二三四五六日天])|(?P<weekend>末))"), _weekday),
)
