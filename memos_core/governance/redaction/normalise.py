"""Folding: a text as a detector should see it, and the way back to the places in the text as given.

Full-width and other compatibility forms become plain ones, digits of any script 0-9, dashes "-", spaces " "; accents and
strike-through marks go away, as do characters nobody sees. Words that mix Latin with look-alike letters become Latin.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache

_ODD = re.compile(r"[^\t\n\r\x20-\x7e]")
_MARK = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]"
)
_UNSEEN = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # blank, though Unicode calls them letters or symbols
_DASHES = frozenset("\u02d7\u2043\u2212\u2796\u30fc\uff70")  # dashes that are no punctuation; a long vowel mark too
_QUOTES = {
    "\u2018": "'",
    "\u2019": "'",
    "\u02bc": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u00ab": '"',
    "\u00bb": '"',
}
_TWINS = dict(zip("АВЕЅІЈКМНОРСТХаеѕіјорсухΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABESIJKMHOPCTXaesijopcyxABEZHIKMNOPTYXo", strict=True))
_TWIN = re.compile(f"[{''.join(_TWINS)}]")
_WORD_OF_TWINS = re.compile(rf"[A-Za-z0-9{''.join(_TWINS)}]+")
_LATIN = re.compile(r"[A-Za-z]")


@lru_cache(maxsize=20_000)
def _fold_one(char: str) -> str:
    """What one character becomes; "" for one that nobody sees."""
    category = unicodedata.category(char)
    if category in ("Cf", "Cc") or char in _UNSEEN or _MARK.match(char):
        return "" if char not in "\x0b\x0c\x85" else "\n"
    if category == "Zs":
        return " "
    if category in ("Zl", "Zp"):
        return "\n"
    if category == "Pd" or (char in _DASHES and char not in "\u30fc\uff70"):
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if char in _QUOTES:
        return _QUOTES[char]
    plain = unicodedata.normalize("NFKD", char)
    bare = _MARK.sub("", plain)
    if bare != plain and bare:
        return bare
    return unicodedata.normalize("NFKC", char)


class Folded:
    """A folded text that knows where its characters come from."""

    __slots__ = ("_at", "_from", "length", "text")

    def __init__(self, text: str) -> None:
        self.length = len(text)
        at, origin = [0], [0]  # from folded place `at` on, characters come one by one from `origin` on
        pieces: list[str] = []
        made = done = 0
        for match in _ODD.finditer(text):
            place, folded = match.start(), _fold_one(match.group())
            if len(folded) == 1:
                continue_run = text[done:place] + folded
                pieces.append(continue_run)
                made += len(continue_run)
                done = place + 1
                continue
            pieces.append(text[done:place])
            made += place - done
            done = place + 1
            for letter in folded:  # several characters from one
                pieces.append(letter)
                at.append(made)
                origin.append(place)
                made += 1
            at.append(made)
            origin.append(done)
        pieces.append(text[done:])
        self.text = _untwinned("".join(pieces))
        self._at, self._from = at, origin

    def _origin(self, place: int) -> int:
        run = bisect_right(self._at, place) - 1
        return self._from[run] + place - self._at[run]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a non-empty stretch of the folded text is in the text as given, with unseen characters that cling to its end."""
        last = self._origin(end - 1) + 1
        return self._origin(start), max(last, self._origin(end) if end < len(self.text) else self.length)


def _untwinned(text: str) -> str:
    if not _TWIN.search(text):
        return text

    def word(match: re.Match[str]) -> str:
        found = match.group()
        return _TWIN.sub(lambda m: _TWINS[m.group()], found) if _LATIN.search(found) else found

    return _WORD_OF_TWINS.sub(word, text)


def fold(text: str) -> str:
    """The folded text alone."""
    return Folded(text).text
