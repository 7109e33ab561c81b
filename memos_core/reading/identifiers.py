"""Names that show by their form: quoted titles, e-mail addresses, handles, hosts, file names, snake_case.

Each kind is looked for only if the character is there without which it cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_HOST: Final = re.compile(r"(?:https?://|\bwww\.)(?:www\.)?([\w.-]+)[^\s<>\"')\]]*")
_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_HANDLE: Final = re.compile(r"(?<![\w.@/])@\w{2,40}")
_SNAKE: Final = re.compile(r"(?<![\w.])[A-Za-z][A-Za-z0-9]*+(?:_[A-Za-z0-9]++)++(?:\(\))?")
_FILE_ENDING: Final = re.compile(
    r"\.(?:py|ipynb|js|jsx|ts|tsx|css|html?|json|jsonl|xml|ya?ml|toml|ini|cfg|env|md|rst|txt|csv|tsv|pdf|docx?|xlsx?|pptx?|"
    r"png|jpe?g|gif|svg|mp[34]|wav|zip|gz|tar|sh|bat|sql|db|sqlite|log|c|h|cpp|hpp|rs|go|java|kt|rb|php|exe|dll|whl)(?!\w)"
)
_BEFORE_ENDING: Final = re.compile(r"[\w-]{1,80}\Z")
_QUOTED: Final = re.compile(
    r"\"([^\"\n]{2,80})\"|“([^”“\n]{2,80})”|„([^“”„\n]{2,80})[“”]|«\s?([^«»\n]{2,80}?)\s?»|‘([^’‘\n]{2,80})’"
)
_TITLE: Final = re.compile("《([^》\n]{1,60})》|『([^』\n]{1,60})』")
_LATIN_IN_CHINESE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+#]*+(?:[.-][A-Za-z0-9]++)*+(?: [A-Z0-9][A-Za-z0-9.+#-]*+)*+")
_CHINESE: Final = re.compile("[\u3041-\u30ff\u3400-\u9fff]")
_QUOTES: Final = re.compile("[“„«‘]")
_MOST_TITLE_WORDS: Final = 10
_SMALL_IN_TITLES: Final = frozenset(
    """
    a an and as at but by for from in into is nor of on or the to with und oder der die das des dem den ein eine
    im von zu et ou le la les l un une de du en y o el los las del al con por
    """.split()
)


class Span(NamedTuple):
    """A stretch of text, and the name that it stands for."""

    start: int
    end: int
    text: str


def find_identifiers(text: str) -> list[Span]:
    """Names that show by their form, in order, none overlapping another."""
    found: list[Span] = []
    if "://" in text or "www." in text:
        found.extend(Span(*match.span(), match[1].rstrip(".-")) for match in _HOST.finditer(text))
    if "@" in text:
        found.extend(Span(*match.span(), match.group().rstrip(".-")) for match in _EMAIL.finditer(text))
        found.extend(Span(*match.span(), match.group()) for match in _HANDLE.finditer(text))
    if "." in text:
        found.extend(_files(text))
    if "_" in text:
        found.extend(Span(*match.span(), match.group()) for match in _SNAKE.finditer(text))
    if '"' in text or (not text.isascii() and _QUOTES.search(text)):
        found.extend(_titles(text))
    if not text.isascii() and _CHINESE.search(text):
        found.extend(Span(*match.span(), (match[1] or match[2]).strip()) for match in _TITLE.finditer(text))
        found.extend(_latin(text))
    return _apart(found) if len(found) > 1 else found


def mostly_chinese(text: str) -> bool:
    """Whether a text is written in Chinese or Japanese, so that Latin words in it are names."""
    return not text.isascii() and len(_CHINESE.findall(text)) * 5 >= len(text)


def _files(text: str) -> Iterator[Span]:
    """File names: what stands before an ending of files."""
    for match in _FILE_ENDING.finditer(text):
        before = _BEFORE_ENDING.search(text, max(match.start() - 80, 0), match.start())
        if before is not None:
            yield Span(before.start(), match.end(), text[before.start() : match.end()])


def _titles(text: str) -> Iterator[Span]:
    """Quotations that are written like a title: every word of weight with a capital."""
    for match in _QUOTED.finditer(text):
        quoted = match[match.lastindex or 0].strip()
        words = quoted.rstrip(".,!?").split()
        heavy = [word for word in words if word.lower() not in _SMALL_IN_TITLES]
        if not heavy or len(words) > _MOST_TITLE_WORDS or not quoted[0].isupper():
            continue
        if len(words) > 1 and all(word[0].isupper() or not word[0].isalpha() for word in heavy):
            yield Span(*match.span(), quoted.rstrip(".,"))


def _latin(text: str) -> Iterator[Span]:
    """Latin words between Chinese or Japanese ones, where those are what the text is written in."""
    if not mostly_chinese(text):
        return
    for match in _LATIN_IN_CHINESE.finditer(text):
        word = match.group()
        if len(word) > 2 or (len(word) == 2 and not word.islower()):
            yield Span(*match.span(), word)


def _apart(found: list[Span]) -> list[Span]:
    """In order of place; where two overlap, the one that begins first, or is longer, stays."""
    kept: list[Span] = []
    free = 0
    for span in sorted(found, key=lambda each: (each.start, -each.end)):
        if span.start >= free and span.text:
            kept.append(span)
            free = span.end
    return kept
