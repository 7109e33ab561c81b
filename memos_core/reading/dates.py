"""Dates said in a text, as days: "yesterday" in a message of 8 May 2023 is 7 May 2023.

A cheap search looks for words that belong to dates ("week", "May", "2023", "5/8"); only the words around them are
looked at. They become letters (`date_words`), phrases are patterns over those letters (`named_dates`,
`relative_dates`). Chinese and Japanese have a grammar of their own (`dates_chinese`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from memos_core.reading import dates_chinese, named_dates, relative_dates
from memos_core.reading.date_languages import UNKNOWN, Language, language_of
from memos_core.reading.date_phrases import Found, Words
from memos_core.reading.days import Days
from memos_core.types.items import DateMention

MOST_MENTIONS: Final = 32

_MOST_CANDIDATES: Final = 256  # in one stretch of text: nobody writes that many, and each costs microseconds
_REACH: Final = 24  # characters around an anchor that can belong to its phrase
_LEADING: Final = "pbFjfO"  # governs the date, and is no part of it
_RULES: Final = (*named_dates.DAY_RULES, *relative_dates.RULES, *named_dates.RULES)
_RELATIVE: Final = {name for name, _, _ in relative_dates.RULES}
_RESOLVE: Final = {name: resolve for name, _, resolve in _RULES}
# No rule begins with a mark, with "and", or with "the" before an ordinary word: most of the words around a date.
_BEGINNING: Final = "(?=[^-_!$~&,./:'?%sAuvGt]|t[^-_!$~&,./:'?%])"
_PATTERN: Final = re.compile(_BEGINNING + "(?:" + "|".join(f"(?P<{name}>{form})" for name, form, _ in _RULES) + ")")


class AskedDate(NamedTuple):
    """A range of days that a question asks about.

    Attributes:
        text: the words.
        start: first day, ISO (inclusive); 0001-01-01 where it is open.
        end: last day, ISO (inclusive); 9999-12-31 where it is open.
        relative: whether it is counted from the day of asking ("yesterday", "last week", but not "in May").
    """

    text: str
    start: str
    end: str
    relative: bool


class _Mention(NamedTuple):
    """A date found: where in the text, which days, the word that governs it ("since"), and whether it is relative."""

    start: int
    end: int
    days: Days
    governor: str
    relative: bool


def find_dates(text: str, *, at: datetime | None, language: str | None = None) -> tuple[DateMention, ...]:
    """The dates said in a text, in order, each as the range of days it means; at most 32.

    Args:
        text: any text.
        at: when it was written; without it only dates that name their year are found.
        language: ISO 639-1 code of the text, if known. It decides how 05/08/2023 is read and what "morgen" means.
    """
    mentions = _mentions(text, at.date() if at is not None else None, language)
    return tuple(
        [
            DateMention(text[found.start : found.end], found.days.start.isoformat(), found.days.end.isoformat())
            for found in mentions
        ]
    )


def find_query_dates(question: str, *, now: datetime, language: str | None = None) -> tuple[AskedDate, ...]:
    """The ranges of days that a question asks about: "what happened in May 2023?" names one, "when did …?" none.

    Unlike in a text, words before a date widen it: "since May" runs until `now`, "after 2022" and "before 2020" are
    open to one side (they end at 9999-12-31 or begin at 0001-01-01), "from May to July" is one range.

    Args:
        question: any text.
        now: when it is asked, or the time of the newest memory where old conversations are asked about.
        language: ISO 639-1 code of the question, if known.
    """
    ranges: list[AskedDate] = []
    today = now.date()
    found = list(_mentions(question, today, language))
    while found:
        first = found.pop(0)
        span, text = first.days, question[first.start : first.end]
        if first.governor in ("between", "from") and found and found[0].governor in ("and", "until"):
            last = found.pop(0)
            span, text = Days(first.days.start, max(first.days.end, last.days.end)), question[first.start : last.end]
        else:
            span = _widened(span, first.governor, today)
        ranges.append(AskedDate(text, span.start.isoformat(), span.end.isoformat(), first.relative))
    return tuple(ranges)


def _widened(days: Days, governor: str, today: date) -> Days:
    """The range that a question means by "since May" and the like."""
    if governor == "since":
        return Days(days.start, max(today, days.end))
    if governor == "onward":
        return Days(days.start, date.max)
    if governor == "after" and days.end < date.max:
        return Days(days.end + timedelta(days=1), date.max)
    if governor == "before" and days.start > date.min:
        return Days(date.min, days.start - timedelta(days=1))
    return Days(date.min, days.end) if governor == "until" else days


def _mentions(text: str, at: date | None, language: str | None) -> list[_Mention]:
    """Dates in order of appearance, each once; at most 32."""
    lowered = text.lower()
    if text.isascii():
        spoken = language_of(language)
        if spoken.anchors.search(" " + lowered) is None:
            return []
        found: list[_Mention] = []
    else:
        if len(lowered) != len(text):  # "İ" becomes longer in small letters; places must stay the same
            lowered = text.replace("İ", "I").lower()
        found = []
        if dates_chinese.may_have_dates(text):
            found = [
                _Mention(start, end, meant, "", dates_chinese.is_relative(text[start:end]))
                for start, end, meant in dates_chinese.find(text, at)
            ]
        spoken = language_of(language)
    chinese = len(found)
    for stretch in _stretches(lowered, spoken.anchors):
        found.extend(_within(text, lowered, stretch, at, spoken))
        if len(found) >= 2 * MOST_MENTIONS:
            break
    if not found:
        return found
    if chinese:
        found.sort()
    once = {(text[each.start : each.end], each.days, each.governor): each for each in reversed(found)}
    return list(reversed(once.values()))[:MOST_MENTIONS]


def _stretches(lowered: str, anchors: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Stretches of text around words that belong to dates, cut between words."""
    begin = end = -1
    for match in anchors.finditer(" " + lowered):
        place = match.start()  # of the anchor itself, since a space was put in front
        if end < 0:
            begin = _cut_before(lowered, place)
        elif place - _REACH > end:
            yield begin, _cut_after(lowered, end - _REACH)
            begin = _cut_before(lowered, place)
        end = match.end() - 1 + _REACH
    if end >= 0:
        yield begin, _cut_after(lowered, end - _REACH)


def _cut_before(lowered: str, place: int) -> int:
    begin = place - _REACH
    if begin <= 0:
        return 0
    space = lowered.find(" ", begin, place)
    return space if space >= 0 else begin


def _cut_after(lowered: str, place: int) -> int:
    end = place + _REACH
    if end >= len(lowered):
        return len(lowered)
    space = lowered.rfind(" ", place, end)
    return space if space >= 0 else end


def _within(
    text: str, lowered: str, stretch: tuple[int, int], at: date | None, language: Language
) -> Iterator[_Mention]:
    """Dates in a stretch of text."""
    tokens = language.tokens.findall(lowered, *stretch)
    code_of = language.table.get
    coded = [code_of(token, UNKNOWN) for token in tokens]
    codes = "".join([code for code, _ in coded])
    matches = list(islice(_PATTERN.finditer(codes), _MOST_CANDIDATES))
    if not matches:
        return
    places = [match.span() for match in language.tokens.finditer(lowered, *stretch)]
    words = Words(
        codes=codes,
        values=[value for _, value in coded],
        shown=[text[first:last] for first, last in places],
        at=at,
        month_first=language.month_first,
        tense=lambda index: language.tense(lowered, places[index][0]),
    )
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        found = Found(words, match.start(), match.end())
        if following is not None and codes[match.end() : following.start()] in ("&", "-", "p"):
            found = found._replace(shared_year=Found(words, following.start(), following.end()).year_in_digits)
        days = _resolved(match.lastgroup, found)
        if days is None:
            continue
        first = found.start
        while codes[first] in _LEADING and first < found.end - 1:
            first += 1
        relative = match.lastgroup in _RELATIVE or found.has("LPNlrT")
        yield _Mention(places[first][0], places[found.end - 1][1], days, _governor(words, first), relative)


def _resolved(rule: str | None, found: Found) -> Days | None:
    try:
        return _RESOLVE[rule](found) if rule is not None else None
    except (ValueError, OverflowError):
        return None  # 31 February, a year before 1, or nothing to count from


def _governor(words: Words, first: int) -> str:
    """The word before a date that says how to take it: "since", "before", "and"; "" if there is none."""
    index = first - 1
    if index >= 0 and words.codes[index] == "t":
        index -= 1
    if index < 0 or words.codes[index] not in "pbFjV&-":
        return ""
    value = words.values[index]
    return value if isinstance(value, str) else "and"
