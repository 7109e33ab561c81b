"""How much of a fact a text states, without looking at any question: names, numbers, no question mark.

The same for every language; where all nouns are written with a capital it is about the same for every text.
"""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import islice

from memos_core.stores.index.analysis import fold

# A capital inside a sentence: not at its start, not after an opening quote or bracket. What comes before it is looked at
# after it has been found, which is faster: there are few capitals.
_NAME = re.compile(r"[A-ZÀ-ÖØ-Þ](?<=\W.)(?<![.!?…:]\s.)(?<![\"'(].)[\w']+")
_DIGIT = re.compile(r"\d")
_TWO_NUMBERS = re.compile(r"\d\D+\d")
_QUESTION_MARKS = ("?", "？", "؟")
_LONGEST = 4000  # characters that are looked at: what a text is about shows early


def salience(text: str, known_names: Container[str]) -> float:
    """About -1 … 1.5: half a point for each of two names and a quarter for each of two numbers, less one for a question.

    Args:
        text: of the item.
        known_names: folded words of the speakers' names; saying a partner's name is no news.
    """
    head = text[:_LONGEST]
    news = (match for match in _NAME.finditer(head) if fold(match.group()).split("'")[0] not in known_names)
    names = sum(1 for _ in islice(news, 2))
    numbers = 2 if _TWO_NUMBERS.search(head) else int(has_number(head))
    asks = text.rstrip().endswith(_QUESTION_MARKS)
    return names / 2 + numbers / 4 - float(asks)


def has_number(text: str) -> bool:
    """Whether a number is said."""
    return _DIGIT.search(text, 0, _LONGEST) is not None
