"""GivenVectors: for applications that make vectors themselves and hand them in with each item and each question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbeddingFailed, InvalidConfig


class GivenVectors:
    """Knows how long vectors are, and makes none.

    Args:
        dims: length of a vector.
        name: tells models apart that have vectors of one length.

    Raises:
        InvalidConfig: no dimensions.
    """

    def __init__(self, dims: int, name: str = "") -> None:
        if dims < 1:
            raise InvalidConfig(f"given vectors need at least one dimension, not {dims}")
        self.dims = dims
        self.identity = f"given:{name}:{dims}" if name else f"given:{dims}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Only answers for no texts at all.

        Raises:
            EmbeddingFailed: there is something to embed.
        """
        if texts:
            raise EmbeddingFailed("this store's vectors are given by the application: pass vectors= with the texts")
        return np.zeros((0, self.dims), dtype=np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Never answers.

        Raises:
            EmbeddingFailed: always.
        """
        raise EmbeddingFailed("this store's vectors are given by the application: pass vector= with the question")
