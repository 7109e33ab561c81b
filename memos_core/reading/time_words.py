"""Words about times: whether a text says any, also where they make no date ("in the morning", "for weeks", "recently")."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Final

from memos_core.reading import dates_chinese
from memos_core.reading.date_languages import time_words
from memos_core.stores.index.analysis import fold

# Words that need another one to make a date.
_BESIDE: Final = """
    last next ago recently lately soon earlier afterwards
    letzte letzten letzter letztes letztem nächste nächsten nächster nächstes neulich kürzlich bald früher
    dernier dernière prochain prochaine récemment bientôt
    último última próximo próxima recientemente pronto
"""
_CHINESE: Final = ("最近", "以前", "刚才", "不久", "后来")


def says_time(text: str, words: Collection[str], language: str | None = None) -> bool:
    """Whether a text says a time.

    Args:
        text: as written.
        words: its folded words.
        language: ISO 639-1 code, if known.
    """
    if not _known(language).isdisjoint(words):
        return True
    if text.isascii():
        return False
    return dates_chinese.may_have_dates(text) or any(word in text for word in _CHINESE)


@cache  # there are as many as languages are told apart
def _known(language: str | None) -> frozenset[str]:
    return frozenset(fold(word) for word in (*time_words(language), *_BESIDE.split()))
