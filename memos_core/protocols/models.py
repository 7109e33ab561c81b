"""What a model must promise to serve memory. `memos_core.models.hosts` makes LangChain's and LlamaIndex's fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors of one length. Safe to call from several threads.

    An embedder whose vectors mean nothing for texts in other scripts than Latin says so with an attribute `latin_only`
    that is true; questions in other scripts are then searched for by words alone.
    """

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
class TextModel(Protocol):
    """Answers a prompt. Safe to call from several threads."""

    @property
    def identity(self) -> str:
        """What it is called in the provenance of what it helped to make: "gpt-4o-2024-08-06", say."""

    def complete(self, prompt: str) -> str:
        """The answer, as text.

        Raises:
            Exception: of any kind, where there is none.
        """


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder that also gives a small vector for each token, for late interaction."""

    @property
    def token_dims(self) -> int:
        """Length of a token's vector; even."""

    def embed_tokens(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Vectors (texts, dims), and for each text those of its tokens (tokens, token_dims), of unit length."""

    def embed_question(self, text: str, late: str) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
        """Vector (dims,) of one text, token vectors (tokens, token_dims) of another, and the word each token is part of.

        Args:
            text: the question as its meaning is looked for.
            late: the question as its words are looked for (most often the same, or with names and without dates).
        """
