"""Made-up memories for benchmarks: words as often as in a language (Zipf), random vectors of unit length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

WORDS = 30_000
_PIECE = 1000


class MadeUp:
    """So many memories, always the same for a seed."""

    def __init__(self, count: int, dims: int = 384, seed: int = 0, words: int = 31) -> None:
        self.count = count
        self.dims = dims
        self._seed = seed
        self._words = words
        rank = 1 / np.arange(1, WORDS + 1)
        self._share = rank / rank.sum()
        syllables = ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ra", "se", "ti", "vo", "xu", "ze"]
        rng = np.random.default_rng(7)
        self.vocabulary = ["".join(rng.choice(syllables, 2 + i % 3)) + str(i % 97) for i in range(WORDS)]

    def vectors(self) -> np.ndarray:
        """(count, dims) float32."""
        return np.concatenate([vectors for _, vectors in self.pieces(texts=False)])

    def pieces(self, *, texts: bool = True) -> Iterator[tuple[list[str], np.ndarray]]:
        """Texts and vectors, a thousand at a time."""
        for start in range(0, self.count, _PIECE):
            rng = np.random.default_rng((self._seed, start))
            size = min(_PIECE, self.count - start)
            vectors = rng.standard_normal((size, self.dims), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            chosen = rng.choice(WORDS, size=(size, self._words), p=self._share) if texts else []
            yield [" ".join(self.vocabulary[word] for word in row) for row in chosen], vectors

    def questions(self, count: int) -> list[tuple[str, np.ndarray]]:
        """Questions of six words with a vector each; words from the middle of the vocabulary, as questions have them."""
        rng = np.random.default_rng((self._seed, 1 << 30))
        found = []
        for _ in range(count):
            words = [self.vocabulary[int(WORDS ** rng.uniform(0.25, 0.9))] for _ in range(6)]
            vector = rng.standard_normal(self.dims, dtype=np.float32)
            found.append((" ".join(words), vector / np.linalg.norm(vector)))
        return found
