"""Names from a list, as words, in any alphabet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from memos_core.errors import InvalidConfig
from memos_core.governance.redaction.normalise import fold

Span = tuple[int, int]

_WORD = re.compile(r"[^\W_]+")
_SPACELESS = re.compile("[\u0e00-\u0eff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff]")
_BETWEEN = re.compile(r"[ \t\r\n'.\-_]{1,3}")


class Names:
    """Finds each name of a list: small or large letters, with or without accents, also before "'s" or a German "s".

    Names in scripts that put no spaces between words (Chinese, Japanese, Thai, Korean with its endings) are found anywhere.
    The time it takes does not grow with the list.
    """

    kind = "name"

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise InvalidConfig(f"names is a list of names, not one string of {len(names)} characters")
        self._by_word: dict[str, list[list[str]]] = {}
        self._by_letters: dict[str, list[str]] = {}
        for name in names:
            if not isinstance(name, str):
                raise InvalidConfig(f"a name to redact is a string, not of type {type(name).__name__}")
            folded = fold(name).casefold().strip()
            words = _WORD.findall(folded)
            if not words:
                raise InvalidConfig("a name to redact has no letter or digit in it")
            if _SPACELESS.search(folded):
                self._by_letters.setdefault(folded[:2], []).append(folded)
            else:
                self._by_word.setdefault(words[0], []).append(words)
        for longest_first in (*self._by_word.values(), *self._by_letters.values()):
            longest_first.sort(key=len, reverse=True)

    def find(self, text: str) -> Iterator[Span]:
        """The longest name at each word."""
        if self._by_letters and _SPACELESS.search(text):
            yield from self._anywhere(text)
        if not self._by_word:
            return
        tokens = [(match.group().casefold(), *match.span()) for match in _WORD.finditer(text)]
        for place, (word, start, end) in enumerate(tokens):
            for words, last in self._candidates(word):
                ends = self._ends(text, tokens, place, words, last)
                if ends is not None:
                    yield start, ends
                    break

    def _candidates(self, word: str) -> Iterator[tuple[list[str], str]]:
        """Names that begin with a word, and what their last word may end with besides."""
        for words in self._by_word.get(word, ()):
            yield words, ""
        if len(word) > 3 and word.endswith("s"):
            for words in self._by_word.get(word[:-1], ()):
                if len(words) == 1:
                    yield words, "s"

    @staticmethod
    def _ends(text: str, tokens: list[tuple[str, int, int]], place: int, words: list[str], last: str) -> int | None:
        """Where the name ends, if all of its words stand here."""
        if place + len(words) > len(tokens):
            return None
        for offset in range(1, len(words)):
            word, start, end = tokens[place + offset]
            genitive = offset == len(words) - 1 and word == words[offset] + "s"
            if word != words[offset] and not genitive:
                return None
            if not _BETWEEN.fullmatch(text, tokens[place + offset - 1][2], start):
                return None
        end = tokens[place + len(words) - 1][2]
        return end

    def _anywhere(self, text: str) -> Iterator[Span]:
        for place in range(len(text) - 1):
            for name in self._by_letters.get(text[place : place + 2].casefold(), ()):
                if text[place : place + len(name)].casefold() == name:
                    yield place, place + len(name)
                    break
        for match in (_SPACELESS.finditer(text)) if any(len(key) == 1 for key in self._by_letters) else ():
            if match.group() in self._by_letters:
                yield match.span()
