"""The speakers of a cube, found by the words of their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memos_core.stores.index.analysis import fold, is_unspaced, name_words


class People:
    """Speakers by the words of their names; numbers are those of the row table."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self._names: list[str] = []
        self._by_word: dict[str, list[int]] = {}
        self._unspaced: list[tuple[str, int]] = []
        self._numbers: dict[str, int] = {}

    def extend(self, names: Iterable[str]) -> None:
        """Add speakers, in the order of their numbers."""
        for name in names:
            self._names.append(fold(name))
            self._know(len(self._names) - 1)

    def only(self, numbers: Iterable[int]) -> People:
        """Just these speakers, under the numbers that they have."""
        chosen = People()
        chosen._names = self._names
        for number in numbers:
            chosen._know(number)
        return chosen

    def _know(self, number: int) -> None:
        name = self._names[number]
        self._numbers.setdefault(name, number)
        for word in name_words(name):
            self.words.add(word)
            self._by_word.setdefault(word, []).append(number)
            if is_unspaced(word):
                self._unspaced.append((word, number))

    def __len__(self) -> int:
        return len(self._names)

    def named_by(self, words: Iterable[str], folded: str) -> Iterator[tuple[int, frozenset[str]]]:
        """(number, name's words) of speakers that may be meant by one of these folded words, or within this folded text."""
        found = {number for word in words for number in self._by_word.get(word, ())}
        found |= {number for word, number in self._unspaced if word in folded}
        for number in sorted(found):
            yield number, name_words(self._names[number])

    def number_of(self, name: str) -> int | None:
        """The speaker of just this name."""
        return self._numbers.get(fold(name))
