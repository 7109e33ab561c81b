"""From text to terms: folding, words, language, stems.

Text of any language becomes terms the same way when it is stored and when it is asked for. Scripts that write spaces are
cut into words and stemmed (Snowball) in the language the text is in; Chinese, Japanese, Korean and South-East Asian
scripts become single characters and pairs, so that any word of any length is found without a dictionary. Nothing in a
text is an operator.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
import Stemmer
from numpy.typing import NDArray

from memos_core.stores.index.stopwords import FUNCTION_CHARACTERS, LANGUAGE_WEIGHTS, STOPWORDS
from memos_core.stores.index.vocabulary import SHARED, Codes, Meaning, Vocabulary

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
_GRAMS: Final = "grams"  # what the vocabulary calls pieces of scripts without spaces; words go by language


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


class AnalyzedTexts(msgspec.Struct, frozen=True):
    """Several texts as terms, all in one array.

    Attributes:
        terms: (all terms,) their numbers in the vocabulary, text after text, repeated as often as they occur.
        starts: (texts + 1,) where each text's terms begin; the last one is where they all end.
        lengths: (texts,) how many of them carry meaning.
        languages: (texts,) as in `Analyzed`.
        vocabulary: what the numbers mean.
    """

    terms: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    languages: list[str | None]
    vocabulary: Vocabulary


class QueryTerm(msgspec.Struct, frozen=True):
    """One word of a query.

    Attributes:
        word: as folded.
        terms: under which it may be stored, one per language of the cube that stems it differently.
    """

    word: str
    terms: tuple[str, ...]


def _meaning(language: str) -> Meaning:
    """What tells the term of a word in a language, and whether it carries meaning. For one thread at a time."""
    if language == _GRAMS:
        return lambda gram: (gram, not _grammatical(gram))
    stemmer = Stemmer.Stemmer(_STEMMERS[language], 0) if language in _STEMMERS else None
    stop = STOPWORDS.get(language, frozenset())

    def meaning(word: str) -> tuple[str, bool]:
        stem = word if stemmer is None or word.isdecimal() else str(stemmer.stemWord(word))
        return stem[:_LONGEST_TERM], word not in stop

    return meaning


class Analyzer:
    """Turns texts and queries into terms. Several threads may use it at once."""

    def analyze(self, text: str) -> Analyzed:
        """Terms of a text to be stored."""
        found = self.analyze_all([text])
        named = found.vocabulary.terms
        return Analyzed([named[term] for term in found.terms.tolist()], int(found.lengths[0]), found.languages[0])

    def analyze_all(self, texts: Sequence[str]) -> AnalyzedTexts:
        """Terms of texts to be stored, for all of them at once."""
        vocabulary = SHARED.current()
        codes = array("q")
        ends = [0]
        languages: list[str | None] = []
        for text in texts:
            languages.append(_add_codes(codes, fold(text), vocabulary))
            ends.append(len(codes))
        coded = np.frombuffer(codes, dtype=np.int64)
        starts = np.array(ends, dtype=np.int64)
        carrying = np.concatenate(([0], np.cumsum(coded & 1)))
        return AnalyzedTexts(coded >> 1, starts, np.diff(carrying[starts]), languages, vocabulary)

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
        vocabulary = SHARED.current()
        stems = [vocabulary.codes(each, _meaning) for each in spoken]
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
            terms = tuple(dict.fromkeys(each.term(piece) for each in stems))
            dull = piece in stop and piece not in names
            (grammar if dull else content).setdefault(piece, QueryTerm(piece, terms))
        return list((content or grammar).values())


def _add_codes(codes: array[int], folded: str, vocabulary: Vocabulary) -> str | None:
    """Add the codes (`Codes`) of a folded text's words; returns its language."""
    if folded.isascii():
        words = _ASCII_WORD.findall(folded)
        language = guess_language(words)
        codes.extend(map(_words_of(vocabulary, language).__getitem__, words))
        return language
    language = detect_language(folded)
    code_of, grams = _words_of(vocabulary, language), vocabulary.codes(_GRAMS, _meaning)
    for match in _PIECES.finditer(folded):
        if match.group(1) is None:
            codes.append(code_of[match.group()])
        else:
            codes.extend(map(grams.__getitem__, _grams(match.group())))
    return language


def _words_of(vocabulary: Vocabulary, language: str | None) -> Codes:
    return vocabulary.codes(language or DEFAULT_LANGUAGE, _meaning)


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
    for word in filter(known.__contains__, words):
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
