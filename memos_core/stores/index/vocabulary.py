"""Words and the terms they are stored under, as numbers: what a text comes to is then arithmetic on arrays.

Every word of a language is stemmed and hashed once in a process, for all cubes: they share words, not what is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.growing import Growing
from memos_core.stores.index.postings import term_hash

MOST_WORDS: Final = 200_000  # words and terms that are kept; then it begins anew

# from a word to the term it is stored under, and whether it carries meaning
Meaning = Callable[[str], tuple[str, bool]]


class Vocabulary:
    """Terms as numbers, in order of first appearance. It only grows, and several threads may use it at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.terms: list[str] = []
        self.words = 0
        self._numbers: dict[str, int] = {}
        self._hashes = Growing(np.uint64)
        self._codes: dict[str, Codes] = {}

    def codes(self, language: str, meaning: Callable[[str], Meaning]) -> Codes:
        """The words of a language (or of whatever else is told apart by name).

        Args:
            language: its name.
            meaning: makes what tells a word's term; called where the language is new here.
        """
        known = self._codes.get(language)
        if known is None:
            known = self._codes.setdefault(language, Codes(self, meaning(language)))
        return known

    def number(self, term: str) -> int:
        """The number of a term, a new one where it has none yet. The lock must be held."""
        known = self._numbers.get(term)
        if known is None:
            self._hashes.extend(np.array([term_hash(term)], dtype=np.uint64))
            self.terms.append(term)
            known = self._numbers[term] = len(self.terms) - 1
        return known

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """For each term its hash (`term_hash`)."""
        view: NDArray[np.uint64] = self._hashes.view
        return view


class Codes(dict[str, int]):
    """word -> twice the number of its term, and one more where it carries meaning; filled on first use."""

    def __init__(self, vocabulary: Vocabulary, meaning: Meaning) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._meaning = meaning

    def __missing__(self, word: str) -> int:
        with self._vocabulary.lock:  # a stemmer serves one thread at a time
            term, carries = self._meaning(word)
            code = self[word] = 2 * self._vocabulary.number(term) + carries
            self._vocabulary.words += 1
        return code

    def term(self, word: str) -> str:
        """The term under which a word is stored."""
        return self._vocabulary.terms[self[word] >> 1]


class _Shared:
    """The vocabulary of this process."""

    def __init__(self) -> None:
        self._now = Vocabulary()

    def current(self) -> Vocabulary:
        """One with room for more. Numbers mean something only together with the vocabulary they came from."""
        if self._now.words > MOST_WORDS:
            self._now = Vocabulary()
        return self._now


SHARED: Final = _Shared()
