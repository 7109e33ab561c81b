"""Dates counted from the day of writing: "yesterday", "last Friday", "two weeks ago", "the week before last".

Rules are as in `named_dates`. Conventions, where people differ:

- "last week" is Monday to Sunday before this one; "the past week", "the last two weeks" are the days up to now.
- "Two weeks ago" is that day with three days on both sides; "three months ago" and "two years ago" are calendar months
  and years. "A couple" is 2 to 3, "a few" 2 to 5, "several" 3 to 7; "the other day" is one of the last seven.
- "Last Friday" lies before the day of writing, "next Friday" and "this Friday" after it (or on it: "this Friday").
- "This weekend" is the coming or current one, unless it is told in the past tense from Monday to Wednesday.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, cast

from memos_core.reading import days
from memos_core.reading.date_phrases import Found
from memos_core.reading.days import Days
from memos_core.reading.named_dates import Rule

_COUNT: Final = r"(?:[acdz]|[ac]?qf?)"
_NEARLY: Final = r"j?"
_PART: Final = r"(?:e-?[fi]?t?|gft?)?"


def _nothing(found: Found) -> None:
    """Words that look like a date and are none: "every Friday", "guten Morgen"."""


def _day(found: Found) -> Days | None:
    """As in "yesterday", "tomorrow night", "heute Morgen"."""
    if found.has("R"):
        return days.day(found.at, found.number("R"))
    before = found.code_before()
    if before == "T":
        return days.day(found.at)
    if found.capital("X") and before not in ("", ".", "!", "?"):
        return None  # "guten Morgen"; tomorrow is written small
    return days.day(found.at, found.number("X") + (1 if found.has("l") else 0))


def _day_beside(found: Found) -> Days:
    """As in "the day before yesterday", "the day after tomorrow"."""
    return days.day(found.at, found.number("R") + (-1 if found.has("b") else 1))


def _other_day(found: Found) -> Days:
    return Days(found.at - timedelta(days=7), found.at - timedelta(days=1))


def _part_of_day(found: Found) -> Days | None:
    """As in "this morning" (today), "last night" (yesterday)."""
    if found.has("T"):
        return days.day(found.at)
    return days.day(found.at, -1) if found.number("D") < 0 or found.has("l") else None


def _beside_last(found: Found) -> Days:
    """As in "the week before last", "the week after next"."""
    return days.unit_at(found.unit(), found.at, -2 if found.has("b") else 2)


def _unit(found: Found) -> Days | None:
    """As in "last week", "early next year", "the end of the month", "the past month"."""
    unit, shift, at = found.unit(), found.shift, found.at
    if found.has("P") or (unit not in ("weekend", "decade") and _definite(found) and not found.has("eg")):
        return days.trailing(unit, at, shift) if unit != "weekend" else _weekend_shifted(found, -1)
    if unit == "weekend":
        return _weekend_shifted(found, shift)
    return found.part(days.unit_at(unit, at, shift))


def _definite(found: Found) -> bool:
    """Whether it says "the last week" in English, which is seven days up to now."""
    index = found.place("t")
    return index >= 0 and found.words.shown[index].lower() == "the" and found.words.codes[index + 1] in "LN"


def _weekend_shifted(found: Found, shift: int) -> Days:
    at = found.at
    if shift < 0:
        # On a Sunday "last weekend" is not the one that is still going on.
        return days.weekend(at, shift)
    if shift == 0 and at.weekday() <= 2 and found.tense == "past":
        return days.weekend(at, -1)
    return days.weekend(at, shift)


def _weekend(found: Found) -> Days | None:
    """As in "over the weekend": the last or the coming one; without any tense it is no certain one."""
    tense = found.tense
    if tense == "past":
        return days.weekend(found.at, 0 if found.at.weekday() >= 5 else -1)
    return days.weekend(found.at) if tense else None


def _weekday(found: Found) -> Days | None:
    """As in "last Friday", "on Friday", "Friday night"."""
    if found.has("w") and not (found.capital("w") and found.has("LNTPO")):
        return None  # "the sun", "I sat"
    weekday, at = found.number("Ww"), found.at
    if found.has("LPl"):
        earlier = days.weekday_from(at, weekday, forward=False, same_day=False)
        return days.day(earlier.start, 7 * (found.shift + 1)) if found.shift < -1 else earlier
    if found.has("Nr"):
        later = days.weekday_from(at, weekday, forward=True, same_day=False)
        return days.day(later.start, 7 * (found.shift - 1))
    tense = found.tense
    if found.has("T"):
        return days.weekday_from(at, weekday, forward=tense != "past", same_day=True)
    forward = tense in ("future", "present")
    return days.weekday_from(at, weekday, forward=forward, same_day=tense in (None, "present"))


def _weekday_of_week(found: Found) -> Days | None:
    """As in "Friday next week"."""
    if found.unit("U") != "week":
        return None
    return days.day(days.week(found.at, found.shift).start, found.number("W"))


def _count(found: Found) -> tuple[int, int]:
    """How many, as the least and the most that the words can mean."""
    index = found.place("q")
    if index >= 0:
        return cast("tuple[int, int]", found.words.values[index])
    number = found.number("acdz")
    return number, number


def _ago(found: Found) -> Days | None:
    """As in "two weeks ago", "vor ein paar Tagen", "half a year ago"."""
    if found.has("h"):
        return days.counted("month", found.at, -6, -6) if found.unit() == "year" else None
    low, high = _count(found)
    return days.counted(found.unit(), found.at, -high, -low)


def _ahead(found: Found) -> Days | None:
    """As in "in three days", unless that is how long something took."""
    loose = found.has("a") and not found.has("q")  # "twice in a year"
    if found.has("i") and (found.tense == "past" or (loose and found.tense != "future")):
        return None  # "finished it in two weeks"
    low, high = _count(found)
    return days.counted(found.unit(), found.at, low, high)


def _trailing(found: Found) -> Days:
    """As in "the last two weeks", "the next few days"."""
    return days.trailing(found.unit(), found.at, found.shift * _count(found)[1])


RULES: Final[tuple[Rule, ...]] = (
    ("nothing", r"E(?:[acdo]?[WwyUKSMDu])|a[WKS]|OX|[tE]X", _nothing),
    ("day_beside", r"t?y[bF]R", _day_beside),
    ("relative_day", r"R[DX]?|l?XD?", _day),
    ("other_day", r"txy", _other_day),
    ("beside_last", r"t?[UK](?:bL|FN)", _beside_last),
    ("ago", _NEARLY + f"(?:{_COUNT}|ha?)[yUKu]A|V(?:c?q|c?h|[acdz])[yUKu]", _ago),
    ("ahead", f"i{_COUNT}[yUKu](?!f)|{_COUNT}[yUKu]pG", _ahead),
    ("trailing", r"(?:[pji]?t?[LPN](?:[cdzq]|aq)f?|[cdzq][lr])[yUKu]|[cdzq]u[lr]", _trailing),
    ("unit", f"(?:{_PART}T?t?[LNTP][UK]|t?(?:[UK][lr]|[lr][UK]))(?!f)|gftU(?!f)", _unit),
    ("weekday_of_week", r"O?WD?[LNT]U", _weekday_of_week),
    ("weekend", r"(?:[jO]t?|t)K(?![lr])", _weekend),
    ("part_of_day", r"[LT]D|Dl", _part_of_day),
    ("weekday", r"(?:T?[LNTPlr]|[OpbFj]t?|t)?[Ww]D?[lr]?", _weekday),
)
