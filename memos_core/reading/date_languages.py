"""What it takes to read dates of one language: its words as codes, what to look for, how its sentences show tense."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import Final, NamedTuple

from memos_core.reading.date_words import AMBIGUOUS, FUTURE, PAST, PRESENT, SURELY_PAST, TABLES, Value

Coded = tuple[str, Value]

_ANCHORS: Final = "MmJWwyUKuDSRXHv"  # codes of the words without which there is no date
_SHARED: Final = "MWRH"  # words that people use in texts of another language, too
_NUMBER: Final = r"\d(?:\d\d\ds?|[-/.]\d|st|nd|rd|th)"
_MARKS: Final = {
    **{mark: mark for mark in ",./-:'!?%"},
    **dict.fromkeys("–—", "-"),
    **dict.fromkeys("&+", "&"),
    **dict.fromkeys("$€£#@=_~*", "$"),
    **dict.fromkeys('()[]"“”;\n', "!"),
    "’": "'",
    "…": ".",
}
_TOKEN: Final = rf"\d+(?:st|nd|rd|th|er)?|[^\W\d_]+|[{re.escape(''.join(_MARKS))}]"
UNKNOWN: Final[Coded] = ("_", 0)
_SENTENCE: Final = 160  # characters on each side in which a verb shows the tense


class Language(NamedTuple):
    """One language, as far as dates are concerned.

    Attributes:
        table: code and value of its words, of numbers and of marks; what is not in it is `UNKNOWN`.
        anchors: finds the places where a date can be (in small letters, with a space in front).
        tokens: cuts a stretch of text (in small letters) into words, numbers and marks.
        tenses: name and pattern, in the order in which they decide.
        month_first: 05/08 is 8 May.
    """

    table: dict[str, Coded]
    anchors: re.Pattern[str]
    tokens: re.Pattern[str]
    tenses: tuple[tuple[str, re.Pattern[str]], ...]
    month_first: bool

    def tense(self, lowered: str, position: int) -> str | None:
        """What the sentence around a position tells of: "past", "future" or "present"; None when it does not show."""
        start = max(lowered.rfind(mark, max(position - _SENTENCE, 0), position) for mark in ".!?\n") + 1
        ends = [lowered.find(mark, position, position + _SENTENCE) for mark in ".!?\n"]
        end = min((end for end in ends if end >= 0), default=position + _SENTENCE)
        sentence = lowered[max(start, position - _SENTENCE) : end]
        for name, pattern in self.tenses:
            if pattern.search(sentence):
                return name
        return None


def language_of(name: str | None) -> Language:
    """The language of an ISO 639-1 code; for None and others, English and every word that is clear in any language."""
    return _language(name if name in TABLES else None)


@cache  # one of each language in TABLES, and one for all others
def _language(name: str | None) -> Language:
    known = name is not None
    own = name or "en"
    table = _table(own)
    for other in TABLES:
        for word, coded in _table(other).items():
            if word == "mai":
                table.setdefault(word, ("m", 5))  # German and French; elsewhere a name
            elif word not in AMBIGUOUS and (not known or coded[0] in _SHARED):
                table.setdefault(word, coded)
    phrases = sorted(word for word in table if not word.isalpha())
    anchored = [word for word, coded in table.items() if coded[0] in _ANCHORS]
    for token, coded in _marks_and_numbers():
        table.setdefault(token, coded)
    return Language(
        table=table,
        anchors=re.compile(f"[^a-z](?:{_any_of(anchored)}|{_NUMBER})(?![^\\W\\d_])"),
        tokens=re.compile("".join(rf"{re.escape(word)}\b|" for word in phrases) + _TOKEN),
        tenses=(
            ("past", re.compile(SURELY_PAST[own])),
            ("future", re.compile(FUTURE[own])),
            ("past", re.compile(PAST[own])),
            ("present", re.compile(PRESENT[own])),
        ),
        month_first=own == "en",
    )


def time_words(name: str | None) -> Iterator[str]:
    """Single words of a language (None, and those without a table: English) that belong to times."""
    for word, (code, _) in _table(name if name in TABLES else "en").items():
        if code in _ANCHORS and word.isalpha():
            yield word


def _table(name: str) -> dict[str, Coded]:
    """The words of one language with code and value."""
    table: dict[str, Coded] = {}
    for code, entries in TABLES[name].items():
        for entry in entries.split(" "):
            words, _, value = entry.partition("=")
            for word in words.split("/"):
                table.setdefault(word.replace("\N{NO-BREAK SPACE}", " "), (code, _value(value)))
    return table


def _value(text: str) -> Value:
    low, dash, high = text.partition("-")
    if dash and low:
        return int(low), int(high)
    return int(text) if text.lstrip("-").isdecimal() else text


def _marks_and_numbers() -> Iterator[tuple[str, Coded]]:
    """Every mark, and every number that can be part of a date."""
    for mark, code in _MARKS.items():
        yield mark, (code, 0)
    yield "s", ("s", 0)
    for number in range(1, 32):
        for ending in ("st", "nd", "rd", "th", "er"):
            yield f"{number}{ending}", ("o", number)
    for number in range(3000):
        coded = ("d" if 1 <= number <= 31 else "Y" if number >= 1000 else "z", number)
        yield str(number), coded
        if number < 100:
            yield f"{number:02}", coded


def _any_of(words: Iterable[str]) -> str:
    """A pattern for any of the words, branching on the first letter."""
    return "|".join(
        f"{first}(?:{'|'.join(re.escape(word[1:]) for word in sorted(group, key=len, reverse=True))})"
        for first, group in groupby(sorted(words), key=lambda word: word[0])
    )
