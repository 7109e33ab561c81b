"""From text to terms: folding, words, language, stems.

Text of any language becomes terms the same way when it is stored and when it is asked for. Scripts that write spaces are
cut into words and stemmed (Snowball) in the language the text is in; Chinese, Japanese, Korean and South-East Asian
scripts become single characters and pairs, so that any word of any length is found without a dictionary. Nothing in a
text is an operator.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import Stemmer
from numpy.typing import NDArray

from memos_core.stores.index.stopwords import FUNCTION_CHARACTERS, LANGUAGE_WEIGHTS, STOPWORDS

ANALYSIS_VERSION: Final = "2"
DEFAULT_LANGUAGE: Final = "en"

_WORD = re.compile(r"[^\W_]+")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Scripts without spaces between words: Thai, Lao, Myanmar, Khmer, CJK, kana, Hangul, CJK beyond the basic plane.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u312f\u3131-\u318e"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_PIECES = re.compile(f"([{_UNSPACED}]+)|[^\\W_{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
# Accents; the breve of "й" is none: without it Russian words are neither stemmed nor known as function words.
_COMBINING = re.compile("[\u0300-\u0305\u0307-\u036f]|(?<!\u0438)\u0306")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
_STEMMERS: Final = {
    "en": "english",
    "de": "german",
    "fr": "french",
    "es": "spanish",
    "it": "italian",
    "pt": "portuguese",
    "nl": "dutch",
    "sv": "swedish",
    "ru": "russian",
    "el": "greek",
    "ar": "arabic",
    "hi": "hindi",
}
_SCRIPTS: Final = (
    ("ja", re.compile("[\u3041-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7ff]")),
    ("zh", re.compile("[\u4e00-\u9fff]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
)
_LONGEST_TERM: Final = 64
_CACHED_STEMS: Final = 200_000


def fold(text: str) -> str:
    """Text with case, width, accents and invisible characters taken out: what people mean to be the same is the same."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    decomposed = _COMBINING.sub("", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", decomposed)


class Analyzed(msgspec.Struct, frozen=True):
    """A text as terms.

    Attributes:
        terms: in order, repeated as often as they occur.
        length: how many of them carry meaning (function words do not count).
        language: ISO 639-1 code; None where the text does not tell.
    """

    terms: list[str]
    length: int
    language: str | None


class QueryTerm(msgspec.Struct, frozen=True):
    """One word of a query.

    Attributes:
        word: as folded.
        terms: under which it may be stored, one per language of the cube that stems it differently.
    """

    word: str
    terms: tuple[str, ...]


class _Stems(dict[str, str]):
    """word -> stem of one language, filled on first use."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._stemmer = Stemmer.Stemmer(_STEMMERS[language], 0) if language in _STEMMERS else None

    def __missing__(self, word: str) -> str:
        if len(self) > _CACHED_STEMS:
            self.clear()
        stem = word if self._stemmer is None or word.isdecimal() else str(self._stemmer.stemWord(word))
        stem = self[word] = stem[:_LONGEST_TERM]
        return stem


class Analyzer:
    """Turns texts and queries into terms. Holds a cache of stems; not safe for several threads at once."""

    def __init__(self) -> None:
        self._stems: dict[str, _Stems] = {}

    def analyze(self, text: str) -> Analyzed:
        """Terms of a text to be stored."""
        folded = fold(text)
        words = _ASCII_WORD.findall(folded) if folded.isascii() else None
        if words is not None:
            language = guess_language(words)
            stems = self._stems_of(language or DEFAULT_LANGUAGE)
            stop = STOPWORDS.get(language or DEFAULT_LANGUAGE, frozenset())
            return Analyzed([stems[word] for word in words], sum(word not in stop for word in words), language)
        language = detect_language(folded)
        stems = self._stems_of(language or DEFAULT_LANGUAGE)
        stop = STOPWORDS.get(language or DEFAULT_LANGUAGE, frozenset())
        terms: list[str] = []
        length = 0
        for match in _PIECES.finditer(folded):
            word = match.group()
            if match.group(1) is None:
                terms.append(stems[word])
                length += word not in stop
            else:
                grams = _grams(word)
                terms.extend(grams)
                length += sum(not _grammatical(gram) for gram in grams)
        return Analyzed(terms, length, language)

    def query(self, text: str, languages: Iterable[str] = ()) -> list[QueryTerm]:
        """Words of a query, each once, in order.

        Function words are left out as long as another word remains; those written with a capital inside the sentence
        ("Will", "IT") are kept, since they are names.

        Args:
            languages: those that the texts of the cube are in; a word is looked up under its stem in each of them.
        """
        folded = fold(text)
        language = detect_language(folded) or DEFAULT_LANGUAGE
        # A text whose language does not tell was stored under the default one, so that is always among them.
        spoken = dict.fromkeys([language, *sorted(languages), DEFAULT_LANGUAGE])
        stop = STOPWORDS.get(language, frozenset())
        names = {fold(word) for word in _WORD.findall(text)[1:] if word[0].isupper() and len(word) > 1}
        content: dict[str, QueryTerm] = {}
        grammar: dict[str, QueryTerm] = {}
        for match in _PIECES.finditer(folded):
            piece = match.group()
            if match.group(1) is not None:
                for gram in _grams(piece):
                    (grammar if _grammatical(gram) else content).setdefault(gram, QueryTerm(gram, (gram,)))
                continue
            terms = tuple(dict.fromkeys(self._stems_of(each)[piece] for each in spoken))
            dull = piece in stop and piece not in names
            (grammar if dull else content).setdefault(piece, QueryTerm(piece, terms))
        return list((content or grammar).values())

    def _stems_of(self, language: str) -> _Stems:
        found = self._stems.get(language)
        if found is None:
            found = self._stems[language] = _Stems(language)
        return found


def name_words(name: str) -> frozenset[str]:
    """The folded words of a person's name by which it is recognised; function words ("de", "van") are not among them."""
    found = frozenset(match.group() for match in _PIECES.finditer(fold(name)))
    return frozenset(word for word in found if word not in LANGUAGE_WEIGHTS) or found


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script that writes no spaces between words."""
    return _HAS_UNSPACED.match(word) is not None


# Rows that are added in thought, none of which holds the term: in a cube of one item a word still says something.
PRIOR_ROWS: Final = 100


def idf(held: NDArray[np.integer] | NDArray[np.floating], rows: int) -> NDArray[np.float64]:
    """Inverse document frequency of terms that so many rows hold, out of all; positive also for those that none holds."""
    return np.asarray(np.log1p((rows + PRIOR_ROWS - held + 0.5) / (held + 0.5)))


def guess_language(words: Iterable[str]) -> str | None:
    """The language whose function words occur most, or None where none speaks clearly enough."""
    votes: dict[str, float] = {}
    known = LANGUAGE_WEIGHTS
    for word in words:
        if word in known:
            for language, weight in known[word]:
                votes[language] = votes.get(language, 0.0) + weight
    if not votes:
        return None
    best = max(votes, key=lambda each: (votes[each], each == DEFAULT_LANGUAGE))
    return best if votes[best] >= 0.5 else None


def words_of(folded: str) -> list[str]:
    """The words of a folded text; runs of scripts without spaces are not cut."""
    return (_ASCII_WORD if folded.isascii() else _WORD).findall(folded)


def detect_language(folded: str, words: Iterable[str] | None = None) -> str | None:
    """The language of a folded text: by script where that decides, else by its function words.

    Args:
        folded: the text.
        words: its words, where they are known already.
    """
    if not folded.isascii():
        for language, pattern in _SCRIPTS:
            if pattern.search(folded):
                return language
    return guess_language(words_of(folded) if words is None else words)


def _grams(run: str) -> list[str]:
    """Every character and every pair of neighbours of a run in a script without spaces."""
    return [*run, *(run[i : i + 2] for i in range(len(run) - 1))]


def _grammatical(gram: str) -> bool:
    return all(character in FUNCTION_CHARACTERS for character in gram)
