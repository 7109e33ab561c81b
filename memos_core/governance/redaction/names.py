"""Names from a list, as words, in any alphabet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from memos_core.errors import InvalidConfig
from memos_core.governance.redaction.normalise import fold

Span = tuple[int, int]

_SPACELESS = re.compile("[\u0e00-\u0eff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff]")
_WORD = re.compile(rf"[^\W_{_SPACELESS.pattern[1:-1]}]+")
_BETWEEN = re.compile(r"[ \t\r\n'.\-_]{1,3}")


def _small(text: str) -> str:
    return text.casefold().replace(
        "\u0131", "i"
    )  # Turkish has two letters i; in capitals they are mistaken for each other


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
            folded = _small(fold(name)).strip()
            words = _WORD.findall(folded)
            if not words and not _SPACELESS.search(folded):
                raise InvalidConfig("a name to redact has no letter or digit in it")
            if _SPACELESS.search(folded):
                self._by_letters.setdefault(folded[0], []).append(folded)
            else:
                self._by_word.setdefault(words[0], []).append(words)
        for longest_words_first in self._by_word.values():
            longest_words_first.sort(key=len, reverse=True)
        for longest_first in self._by_letters.values():
            longest_first.sort(key=len, reverse=True)

    def find(self, text: str) -> Iterator[Span]:
        """The longest name at each word."""
        if self._by_letters and _SPACELESS.search(text):
            yield from self._anywhere(text)
        if not self._by_word:
            return
        done = 0
        for match in _WORD.finditer(text):
            if match.start() >= done:
                end = self._longest(text, _small(match.group()), match.end())
                if end:
                    yield match.start(), end
                    done = end

    def _longest(self, text: str, word: str, end: int) -> int:
        """Where the longest name ends that begins with the word that ends here; 0 for none."""
        for words in self._by_word.get(word, ()):
            last = self._rest(text, words, end)
            if last:
                return last
        if len(word) > 3 and word.endswith("s"):  # Annas Auto
            return end if any(len(words) == 1 for words in self._by_word.get(word[:-1], ())) else 0
        return 0

    @staticmethod
    def _rest(text: str, words: list[str], end: int) -> int:
        """Where the name ends, if its other words follow; 0 if not."""
        for place, word in enumerate(words[1:], 2):
            between = _BETWEEN.match(text, end)
            following = between and _WORD.match(text, between.end())
            if not following:
                return 0
            said = _small(following.group())
            if said != word and not (place == len(words) and said == word + "s"):
                return 0
            end = following.end()
        return end

    def _anywhere(self, text: str) -> Iterator[Span]:
        small = _small(text)
        if len(small) != len(text):  # a letter that is two when small: places would not fit
            small = text
        done = 0
        for place, letter in enumerate(small):
            if place >= done and letter in self._by_letters:
                for name in self._by_letters[letter]:
                    if small.startswith(name, place):
                        yield place, place + len(name)
                        done = place + len(name)
                        break
