"""Where sentences begin and end, in any script, without a model.

Fast enough to be run over every message (a few microseconds), so it looks only at the places where a sentence can end.
"""

from __future__ import annotations

import re
from typing import Final

_LATIN: Final = "[.!?…]+[\"'”’»)\\]]*"  # Latin, Greek, Cyrillic, …: ends a sentence if white space follows
_OTHER: Final = "[。！？｡।॥؟۔።]+[”』」）〉》\"']*"  # Chinese, Hindi, Urdu, Arabic, Amharic, …: no white space needed
_BREAK: Final = "\n\\s*"
_END: Final = re.compile(f"{_LATIN}|{_OTHER}|{_BREAK}")
_ASCII_END: Final = re.compile("[.!?]+[\"')\\]]*|\n\\s*")
_ABBREVIATIONS: Final = frozenset(
    """
    dr mr mrs ms prof st sr jr hr fr mme mlle vs etc eg ie e.g i.e cf al approx ca est fig no nr vol pp ed eds inc
    ltd co corp dept gen col lt sgt capt rev hon gov sen rep mt ave blvd rd jan feb mar apr jun jul aug sep sept
    oct nov dec mon tue wed thu fri bzw usw z.b d.h u.a o.ä evtl ggf inkl vgl str tel abs bspw sog zzgl mio mrd
    p.ex sra srta ud uds pág av
    """.split()
)
# These also end sentences: where a capital follows them.
_AT_THE_END: Final = frozenset({"etc", "usw", "inc", "ltd", "co", "corp", "jr", "sr", "al"})
# In German a number with a full stop is an ordinal: "am 8. Mai", "im 19. Jahrhundert".
_AFTER_ORDINAL: Final = frozenset(
    """
    Januar Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert Klasse Stock
    Etage Platz Geburtstag Mal Tag Woche Kapitel Auflage Jahrestag Hochzeitstag
    """.split()
)
# Lines of this many characters were probably broken to fit, and go on in the next: always, or before a small letter.
_LONG_LINE: Final = 60
_LINE: Final = 30
_LONGEST_WORD: Final = 12  # characters of a word before a full stop that are looked at


def split_sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of a text as (start, end), in order, without white space around them.

    Every character that is not white space is in exactly one of them; a text of white space alone has none. A line
    break ends a sentence too, unless the line seems to have been broken only to fit.
    """
    sentences: list[tuple[int, int]] = []
    start = 0
    for match in (_ASCII_END if text.isascii() else _END).finditer(text):
        stop, end = match.span()
        first = text[stop]
        if first == "\n":
            if not _line_ends(text, stop, end):
                continue
            _append(sentences, text, start, stop)
        else:
            if first in ".!?…" and end < len(text):
                if not text[end].isspace():
                    continue  # 3.5, example.org
                if first == "." and end == stop + 1 and not _full_stop(text, stop):
                    continue
            _append(sentences, text, start, end)
        start = end
    _append(sentences, text, start, len(text))
    return sentences


def _append(sentences: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """Add what lies between, without white space at its ends, if anything does."""
    piece = text[start:end]
    bare = piece.lstrip()
    if bare:
        begin = end - len(bare)
        sentences.append((begin, begin + len(bare.rstrip())))


def _full_stop(text: str, stop: int) -> bool:
    """Whether the "." at `stop`, which white space follows, ends a sentence rather than an abbreviation."""
    before = text[max(stop - _LONGEST_WORD, 0) : stop].rsplit(None, 1)
    if not before or text[stop - 1].isspace():
        return True
    word = before[-1].lstrip("([{\"'“„‘«")
    if len(word) == 1 and word.isalpha() and word != "I":
        # An initial ("J. R. R. Tolkien"), or the first letter of several ("z. B.").
        return not (word.isupper() or (text[stop + 2 : stop + 3].isalpha() and text[stop + 3 : stop + 4] == "."))
    if word.isdecimal():
        return len(word) > 2 or not (_starts_line(text, stop - len(word)) or _ordinal(text, stop))
    lowered = word.lower()
    return lowered not in _ABBREVIATIONS or (lowered in _AT_THE_END and text[stop + 2 : stop + 3].isupper())


def _starts_line(text: str, place: int) -> bool:
    """Whether only white space stands before on the same line, as before the number of a list."""
    line = text[max(place - _LONGEST_WORD, 0) : place].rpartition("\n")[2]
    return not line.strip() and len(line) < _LONGEST_WORD


def _ordinal(text: str, stop: int) -> bool:
    """Whether a number with a full stop counts what follows: "8. Mai", "the 8. of"."""
    following = text[stop + 1 : stop + 24].split(maxsplit=1)
    return bool(following) and (following[0][0].islower() or following[0].strip(".,;:!?)") in _AFTER_ORDINAL)


def _line_ends(text: str, start: int, end: int) -> bool:
    """Whether a line break at `start` ends a sentence (the next line begins at `end`)."""
    if end >= len(text) or text.count("\n", start, end) > 1:
        return True
    line = start - (text.rfind("\n", 0, start) + 1)
    return not (line >= _LINE and text[end].islower()) and not (line >= _LONG_LINE and text[end].isalnum())
