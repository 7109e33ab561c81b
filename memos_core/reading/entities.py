"""Names in a text, as written: people, places, products, titles, addresses, identifiers. No model, no list of names.

In most languages a capital inside a sentence shows a name. At the beginning of a sentence it shows nothing, so there a
word counts only if it is written with a capital elsewhere, or (English) is no ordinary word. German writes every noun
with a capital, so there only what is more than that counts: several words in a row, or a place after "in" or "nach".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from memos_core.reading.identifiers import Span, find_identifiers, mostly_chinese
from memos_core.reading.ordinary_words import (
    ENGLISH,
    ENGLISH_ENDINGS,
    FUNCTION_WORDS,
    GERMAN,
    GERMAN_ENDINGS,
    GERMAN_MEASURES,
    GERMAN_NO_PLACES,
    NEVER,
)

MOST_ENTITIES: Final = 32

_MOST_WORDS: Final = 6  # of one name; more words with a capital in a row are a headline
_LINKS: Final = "of the|of|de la|de los|de|von der|von|van der|van|der|den|da|di|del|dos|la|le|du"


def _sequences(capital: str) -> re.Pattern[str]:
    """A pattern for words with a capital in a row, joined by single spaces or by words like "of"."""
    initials = rf"(?:\.{capital})*+(?:rof|rs|r|s|t)?\.(?= {capital})"  # J. K., Dr., Prof., St.
    word = rf"{capital}(?:(?<!\bI){initials}|['’](?={capital})\w++|\w++(?:['’&-]\w++)*+)"
    return re.compile(rf"{word}(?: (?:(?:{_LINKS}) )?{word})*+")


_ASCII: Final = _sequences("[A-Z]")
_ANY: Final = _sequences(
    "[A-ZÀ-ÖØ-Þ"
    + "".join(chr(code) for code in range(0x100, 0x250) if chr(code).isupper())
    + "ΆΈΉΊΌΎΏΑ-ΡΣ-ΫЀ-Я"
    + "".join(chr(code) for code in range(0x1E00, 0x1F00) if chr(code).isupper())
    + "]"
)
_POSSESSIVE: Final = re.compile(r"['’]s(?= )")
_CLITIC: Final = re.compile(r"['’](?:s|m|re|ll|ve|d|t|S)\Z")
_STRETCHED: Final = re.compile(r"(.)\1+")  # "sooo", "Mmm"
_BEGINS: Final = ".!?…:;。！？：；—–•\n"  # what stands before the first word of a sentence
_QUOTES: Final = "\"“„«‘'*_"  # what is quoted begins anew
_OPENING: Final = " \t\"'“”‘’„«»(){}[]*_#>-"  # may stand between that and the word
_LOOK_BACK: Final = 12
_GERMAN_BEFORE: Final = frozenset(
    {"in", "nach", "aus", "bei", "von", "herr", "frau", "herrn", "familie", "firma", "namens"}
)


# What most often stands at the beginning of a sentence, with its contractions: looked up before anything else.
_NO_NAMES: Final = NEVER | {
    word.capitalize() + clitic
    for word in FUNCTION_WORDS
    for clitic in ("", *(mark + letters for mark in "'’" for letters in ("s", "m", "re", "ll", "ve", "d", "t")))
}


def find_entities(text: str, *, language: str | None = None) -> tuple[str, ...]:
    """The names in a text, each once, in order; at most 32.

    Names of people and things, acronyms, quoted titles, e-mail addresses, @handles, hosts of URLs, file names,
    snake_case and CamelCase. Days, months and "I" are none. A text all in capitals shows no names, only the rest.

    Args:
        text: any text.
        language: ISO 639-1 code, if known; None is read as English.
    """
    taken = find_identifiers(text)
    if text.isupper() or (taken and mostly_chinese(text)):
        return tuple(dict.fromkeys(span.text for span in taken))[:MOST_ENTITIES]
    names = _capitalised(text, language, taken)
    if taken:
        names = sorted([*names, *((span.start, span.text) for span in taken)])
    return tuple(dict.fromkeys([name for _, name in names]))[:MOST_ENTITIES]


def _capitalised(text: str, language: str | None, taken: list[Span]) -> list[tuple[int, str]]:
    """Names that a capital shows, each with its place."""
    names: list[tuple[int, str]] = []
    english = language is None or language == "en"
    for match in (_ASCII if text.isascii() else _ANY).finditer(text):
        sequence = match.group()
        if sequence in _NO_NAMES:
            continue
        start = match.start()
        if taken and any(span.start < match.end() and start < span.end for span in taken):
            continue
        if start and text[start - 1].isalnum():
            names.extend(_camel_case(text, match))
            continue
        begins = _begins_sentence(text, start)
        for part in _parts(sequence) if " " in sequence else (sequence,):
            place = text.find(part, start)
            name = _german(text, place, part, begins) if language == "de" else _name(part, begins, english)
            if name:
                names.append((place, name))
            begins = False
    return names


def _camel_case(text: str, match: re.Match[str]) -> Iterator[tuple[int, str]]:
    """The word that a capital stands inside of: "iPhone"."""
    start = end = match.start()
    lowest = max(start - 24, 0)
    while start > lowest and text[start - 1].isascii() and text[start - 1].isalnum():
        start -= 1
    if start < end and text[start].islower():
        yield start, _CLITIC.sub("", text[start : match.end()].split(" ", 1)[0])


def _begins_sentence(text: str, start: int) -> bool:
    """Whether the word at `start` is the first of a sentence, a line or a quotation."""
    if start == 0:
        return True
    if text[start - 1] == " " and text[start - 2].isalnum():  # the usual case, first
        return False
    before = text[max(start - _LOOK_BACK, 0) : start]
    bare = before.rstrip(_OPENING)
    return not bare or bare[-1] in _BEGINS or text[start - 1] in _QUOTES


def _parts(sequence: str) -> Iterator[str]:
    """A sequence, cut after each possessive: "Anna's Café" names two things."""
    begin = 0
    for match in _POSSESSIVE.finditer(sequence):
        yield sequence[begin : match.end()]
        begin = match.end() + 1
    if begin < len(sequence):
        yield sequence[begin:]


def _name(sequence: str, begins: bool, english: bool) -> str:
    """The name that is in words with a capital in a row; "" if there is none."""
    if " " not in sequence:
        name = _CLITIC.sub("", sequence)
        return name if _single(name, begins, english) else ""
    words = sequence.split(" ")
    first = begins
    if words[0] in _NO_NAMES or (begins and (not english or _ordinary(words[0]))):
        del words[0]
        begins = False
        while words and (words[0].islower() or words[0] in NEVER):
            del words[0]
    while words and (words[-1] in NEVER or words[-1].islower()):
        words.pop()
    if not words or len(words) > _MOST_WORDS:
        return ""
    name = _CLITIC.sub("", " ".join(words))
    if len(words) == 1:
        return name if _single(name, begins, english) else ""
    shown = not english or not (first or name.isupper()) or not all(_ordinary(word) for word in words)
    return name if shown else ""


def _single(name: str, begins: bool, english: bool) -> bool:
    """Whether a single word is a name by itself."""
    if len(name) < 2 or name in _NO_NAMES:
        return False
    small = name[1:].islower()
    if english and (begins or not small):
        return not _ordinary(name)
    return not (begins and small)


def _ordinary(word: str) -> bool:
    """Whether an English word would be written small inside a sentence."""
    lowered = word.lower()
    if lowered in ENGLISH:
        return word.isupper() or word[1:].islower() or len(word) == 1
    if not word[1:].islower() and not word.isupper():
        return False  # LaTeX, COVID-19, O'Brien
    if lowered.endswith(ENGLISH_ENDINGS) or (lowered.endswith("s") and lowered[:-1] in ENGLISH):
        return True
    return _STRETCHED.sub(r"\1", lowered) in ENGLISH


def _german(text: str, start: int, sequence: str, begins: bool) -> str:
    """The name among German nouns: several words, CamelCase, an acronym, or a word after "in" or "Herr"; else ""."""
    before = text[max(start - _LOOK_BACK, 0) : start].split()
    previous = before[-1].lower() if before else ""
    words = sequence.split(" ")
    while words and (
        words[0] in NEVER or words[0].lower() in GERMAN or words[0] in GERMAN_MEASURES or words[0].islower()
    ):
        previous = words.pop(0).lower()
        begins = False
    while words and (words[-1] in NEVER or words[-1].islower()):
        words.pop()
    name = " ".join(words)
    if not words or len(words) > _MOST_WORDS:
        return ""
    if len(words) > 1:
        return "" if begins and words[0].endswith(("en", "er", "es", "em")) else name  # "Frohes Fest"
    if name[1:] != name[1:].lower():
        return name
    after = previous in _GERMAN_BEFORE and not name.endswith(GERMAN_ENDINGS) and name not in GERMAN_NO_PLACES
    return name if after and len(name) > 1 else ""
