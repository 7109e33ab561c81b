"""A stretch of text as words about dates, and the words that a rule has matched in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, NamedTuple, cast

from memos_core.reading import days
from memos_core.reading.date_words import Value
from memos_core.reading.days import Days, Part, Unit

SOON: Final = 60  # days ahead that the present tense reaches: "the fair is in June"


class Words(NamedTuple):
    """A stretch of text as words.

    Attributes:
        codes: one letter a word (see `date_words`).
        values: what each word stands for.
        shown: each word as written.
        at: the day it was written; None when unknown.
        month_first: 05/08 is 8 May.
        tense: "past", "future", "present" or None for the sentence around the word of that index.
    """

    codes: str
    values: list[Value]
    shown: list[str]
    at: date | None
    month_first: bool
    tense: Callable[[int], str | None]


class Found(NamedTuple):
    """The words that a rule has matched: those from `start` up to `end`.

    Attributes:
        shared_year: the year named right after them for both: "11 and 15 August 2023".
    """

    words: Words
    start: int
    end: int
    shared_year: int | None = None

    def place(self, codes: str) -> int:
        """Where the first word with one of the codes stands, or -1."""
        all_codes = self.words.codes
        for index in range(self.start, self.end):
            if all_codes[index] in codes:
                return index
        return -1

    def has(self, codes: str) -> bool:
        """Whether one of the codes is among the words."""
        return self.place(codes) >= 0

    def numbers(self, codes: str) -> list[int]:
        """Values of all words with one of the codes, in order."""
        everything = range(self.start, self.end)
        return [cast("int", self.words.values[index]) for index in everything if self.words.codes[index] in codes]

    def number(self, codes: str) -> int:
        """Value of the first word with one of the codes."""
        return cast("int", self.words.values[self.place(codes)])

    def unit(self, codes: str = "UKyu") -> Unit:
        """The first unit of time among the words."""
        return cast("Unit", self.words.values[self.place(codes)])

    def part(self, whole: Days) -> Days:
        """The range, or that third of it that "early", "mid" or "the end of" names."""
        index = self.place("eg")
        return whole if index < 0 else days.part_of(whole, cast("Part", self.words.values[index]))

    @property
    def at(self) -> date:
        """The day it was written.

        Raises:
            ValueError: that is not known, so nothing relative can be resolved.
        """
        if self.words.at is None:
            raise ValueError("no time to count from")
        return self.words.at

    @property
    def tense(self) -> str | None:
        """Of the sentence; what happened "since May" has begun."""
        index = self.place("p")
        if index >= 0 and self.words.values[index] == "since":
            return "past"
        return self.words.tense(self.start)

    @property
    def shift(self) -> int:
        """-1 for "last", 0 for "this", 1 for "next", and so on; 0 without such a word."""
        index = self.place("LPNlrT")
        return 0 if index < 0 else cast("int", self.words.values[index])

    @property
    def year(self) -> int | None:
        """The year that is named: in digits, or as "last year"."""
        if self.has("Y"):
            return self.number("Y")
        if self.shared_year is not None:
            return self.shared_year
        unit = self.place("U")
        if unit >= 0 and self.words.values[unit] == "year" and self.has("LNTlr"):
            return self.at.year + self.shift
        return None

    @property
    def year_in_digits(self) -> int | None:
        """The year that is named in digits, with a month; None otherwise."""
        return self.number("Y") if self.has("Y") and self.has("MmJ") else None

    def capital(self, codes: str) -> bool:
        """Whether the first word with one of the codes is written with a capital."""
        return self.words.shown[self.place(codes)][0].isupper()

    def code_before(self) -> str:
        """Code of the word before the match; "" at the beginning."""
        return self.words.codes[self.start - 1 : self.start] if self.start else ""

    def code_after(self) -> str:
        """Code of the word after the match; "" at the end."""
        return self.words.codes[self.end : self.end + 1]


def yearly(found: Found, make: Callable[[int], Days]) -> Days:
    """What comes back every year: that of the year named, or the nearest one that the wording allows.

    Args:
        make: the range in a given year; raises ValueError in a year that has none.
    """
    number = found.year
    if number is not None:
        return make(number)
    at = found.at
    if found.has("LPl"):
        current = days.nearest(make, at, forward=False)
        over = current.end < at
        return current if over else days.nearest(make, current.start - timedelta(days=1), forward=False)
    if found.has("Nr"):
        current = days.nearest(make, at, forward=True)
        begun = current.start <= at
        return days.nearest(make, current.end + timedelta(days=1), forward=True) if begun else current
    if found.has("T"):
        current = days.nearest(make, at, forward=True)  # "this winter" has begun in the year before
        return current if current.start <= at else make(at.year)
    tense = found.tense
    if tense in ("future", "present"):
        coming = days.nearest(make, at, forward=True)
        if tense == "future" or (coming.start - at).days <= SOON:
            return coming
    return days.nearest(make, at, forward=False)
