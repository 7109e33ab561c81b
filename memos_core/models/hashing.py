"""HashingEmbedder: vectors from words and letter triples by feature hashing. No model, no weights, no meaning.

Texts that share words (or parts of words) are near each other, synonyms are not. It stands in where a real model cannot
be had: tests, demonstrations, air-gapped first steps. It is used only when asked for by name.
(Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import InvalidConfig

_WORD = re.compile(r"\w+")
_WHOLE_WORD = 3.0  # a word shared counts as much as three letter triples shared


class HashingEmbedder:
    """Feature hashing of words and letter triples.

    Args:
        dims: length of a vector, at least 16.

    Raises:
        InvalidConfig: fewer dimensions than that.
    """

    def __init__(self, dims: int = 256) -> None:
        if dims < 16:
            raise InvalidConfig(f"the hashing embedder needs at least 16 dimensions, not {dims}")
        self._dims = dims
        self._known: dict[str, tuple[tuple[int, float], ...]] = {}

    @property
    def identity(self) -> str:
        """ "hashing:1:" and the length of its vectors."""
        return f"hashing:1:{self._dims}"

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return self._dims

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, dims), of unit length; zero for a text without words."""
        vectors = np.zeros((len(texts), self._dims), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.casefold()):
                for place, sign in self._features(word):
                    row[place] += sign
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector (dims,) of a question: as of any text."""
        vector: NDArray[np.float32] = self.embed([text])[0]
        return vector

    def _features(self, word: str) -> tuple[tuple[int, float], ...]:
        known = self._known.get(word)
        if known is None:
            padded = f"<{word}>"
            features = [(word, _WHOLE_WORD), *((padded[i : i + 3], 1.0) for i in range(len(padded) - 2))]
            known = tuple(self._place(feature, weight) for feature, weight in features)
            if len(self._known) < 100_000:
                self._known[word] = known
        return known

    def _place(self, feature: str, weight: float) -> tuple[int, float]:
        number = int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "little")
        return (number >> 1) % self._dims, weight if number & 1 else -weight
