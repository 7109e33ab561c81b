"""The part of a text that answers a question, with the words in question marked. For eyes, not for ranking."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from memos_core.cli.output import one_line
from memos_core.stores.index.analysis import Analyzer, is_unspaced

_WORD: Final = re.compile(r"[^\W_]+")
_LEAD: Final = 30  # characters shown before the first word that matters


class Marker:
    """Finds the words of a question in texts, in the forms that search takes for the same.

    Args:
        question: its words.
    """

    def __init__(self, question: str) -> None:
        self._analyzer = Analyzer()
        self._wanted = {term for word in self._analyzer.query(question) for term in word.terms}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of every word of the question in the text."""
        found: list[tuple[int, int]] = []
        for match in _WORD.finditer(text):
            word = match.group()
            if is_unspaced(word):
                found.extend(
                    (match.start() + i, match.start() + i + 1) for i, c in enumerate(word) if c in self._wanted
                )
            elif any(not self._wanted.isdisjoint(each.terms) for each in self._analyzer.query(word)):
                found.append(match.span())
        return found

    def excerpt(self, text: str, cells: int) -> Text:
        """The text on one line with the question's words in bold; if it is long, the stretch with the most of them.

        Args:
            text: the whole of it.
            cells: how much of it can be shown (a Chinese character takes two).
        """
        text = one_line(text)
        spans = self.spans(text)
        start = 0
        if cell_len(text) > cells:
            start = _best_start(text, spans, cells)
        shown = ("… " if start else "") + text[start:]
        cut = shorten(shown, cells)
        marked = Text(cut)
        shift = start - (2 if start else 0)
        for begin, end in spans:
            if start <= begin and end - shift <= len(cut):
                marked.stylize("bold", begin - shift, end - shift)
        return marked


def _best_start(text: str, spans: list[tuple[int, int]], cells: int) -> int:
    """Where to begin so that the most different words of the question are in sight; the earliest such place."""
    begins = [begin for begin, _ in spans]
    words = [text[begin:end].casefold() for begin, end in spans]
    best, most = 0, len(set(words[: bisect_left(begins, cells)]))
    for place, begin in enumerate(begins):
        seen = len(set(words[place : bisect_left(begins, begin - _LEAD + cells)]))
        if seen > most:
            best, most = begin, seen
    if best <= _LEAD:
        return 0
    return text.find(" ", best - _LEAD) + 1 or best - _LEAD


def shorten(text: str, cells: int) -> str:
    """The beginning of a text that fits, with an ellipsis where something is left out."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + "…"
