"""What a model must promise to serve memory. `memos_core.models.hosts` makes LangChain's and LlamaIndex's fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors of one length. Safe to call from several threads."""

    @property
    def identity(self) -> str:
        """What distinguishes its vectors from other embedders': "minilm:<weights digest>:384". Stored with them."""

    @property
    def dims(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, dims) of texts to be stored, in order; `(0, dims)` for none.

        Raises:
            EmbeddingFailed: the model raised, or answered with something that is no vector.
        """

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector (dims,) of a question. Models that treat questions and texts alike answer as `embed` does."""


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder that also gives a small vector for each token, for late interaction."""

    @property
    def token_dims(self) -> int:
        """Length of a token's vector; even."""

    def embed_tokens(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Vectors (texts, dims), and for each text those of its tokens (tokens, token_dims), of unit length."""

    def embed_query_tokens(self, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
        """Vector (dims,) of a question, those of its tokens (tokens, token_dims), and the word each token is part of."""
