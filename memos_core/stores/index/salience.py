"""How much of a fact a text states, without looking at any question: names, numbers, no question mark.

The same for every language; where all nouns are written with a capital it is about the same for every text.
"""

from __future__ import annotations

import re
from collections.abc import Container

from memos_core.stores.index.analysis import fold

# A capital inside a sentence: not at its start, not after an opening quote or bracket.
_NAME = re.compile(r"(?<![.!?…:]\s)(?<!^)(?<![\"'(])\b[A-ZÀ-ÖØ-Þ][\w']+")
_NUMBER = re.compile(r"\d+")
_QUESTION_MARKS = ("?", "？", "؟")
_LONGEST = 4000  # characters that are looked at: what a text is about shows early


def salience(text: str, known_names: Container[str]) -> float:
    """About -1 … 1.5: half a point for each of two names and a quarter for each of two numbers, less one for a question.

    Args:
        text: of the item.
        known_names: folded words of the speakers' names; saying a partner's name is no news.
    """
    head = text[:_LONGEST]
    names = sum(fold(match.group()).split("'")[0] not in known_names for match in _NAME.finditer(head))
    numbers = sum(1 for _ in _NUMBER.finditer(head))
    asks = text.rstrip().endswith(_QUESTION_MARKS)
    return min(names, 2) / 2 + min(numbers, 2) / 4 - float(asks)


def has_number(text: str) -> bool:
    """Whether a number is said."""
    return _NUMBER.search(text[:_LONGEST]) is not None
