"""Embedding: the store's embedder, and whether it is the one that its vectors come from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbedderMismatch, EmbedderUnavailable, WrongDimension
from memos_core.protocols.models import Embedder, TokenEmbedder
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.tokens import encode_tokens
from memos_core.stores.index.vectors import normalise
from memos_core.types.work import VectorBlobs

Floats = NDArray[np.float32]
SETTING = "embedder"


class EmbedderRecord(msgspec.Struct, frozen=True):
    """What the store remembers of its embedder.

    Attributes:
        identity: as the embedder says; "" for none (search is lexical).
        dims: length of a vector.
        token_dims: length of a token vector; 0 for none.
        spec: the name by which it can be loaded again ("minilm"); "" for an object that only the application has.
    """

    identity: str
    dims: int = 0
    token_dims: int = 0
    spec: str = ""


class QueryVectors(msgspec.Struct, frozen=True):
    """A question as vectors.

    Attributes:
        dense: (dims,).
        tokens: (tokens, token_dims), or None where the embedder gives none.
        words: for each token the word it is part of.
    """

    dense: Floats
    tokens: Floats | None = None
    words: tuple[str, ...] = ()


def recorded(store: RecordStore) -> EmbedderRecord | None:
    """What the store remembers of its embedder; None before the first item."""
    raw = store.setting(SETTING)
    return None if raw is None else msgspec.json.decode(raw, type=EmbedderRecord)


class Embedding:
    """An embedder bound to a store.

    Args:
        store: whose vectors.
        embedder: None for none.
        spec: the name under which it was loaded; "" for an object.

    Raises:
        EmbedderMismatch: the store's vectors come from another embedder, or its items have none.
    """

    def __init__(self, store: RecordStore, embedder: Embedder | None, *, spec: str = "") -> None:
        self._store = store
        self.embedder = embedder
        self._spec = spec
        self._record = recorded(store)
        if embedder is not None and self._record is not None and embedder.identity != self._record.identity:
            have = f"embedder {self._record.identity!r}" if self._record.identity else "no embedder"
            raise EmbedderMismatch(
                f"{store.name} was filled with {have}, and is opened with {embedder.identity!r}; their vectors cannot "
                "be compared. Open it without an embedder argument, or change all its vectors with `memos reembed`"
            )

    @property
    def record(self) -> EmbedderRecord:
        """What the store remembers, or will remember with its first item."""
        if self._record is None:
            embedder = self.embedder
            if embedder is None:
                return EmbedderRecord("")
            token_dims = embedder.token_dims if isinstance(embedder, TokenEmbedder) else 0
            return EmbedderRecord(embedder.identity, embedder.dims, token_dims, self._spec)
        return self._record

    @property
    def lacking(self) -> str | None:
        """Why questions cannot be embedded, in words; None where they can."""
        if self.embedder is not None:
            return None
        if self._record is not None and self._record.identity:
            return f"the store's embedder {self._record.identity!r} was not given: lexical search only"
        return "no embedder: lexical search only"

    def claim(self) -> None:
        """Have the store remember this embedder, before the first item is written.

        Raises:
            EmbedderMismatch: another process was faster, with another embedder.
        """
        if self._record is not None:
            return
        mine = self.record
        if not self._store.put_setting(SETTING, msgspec.json.encode(mine).decode()):
            theirs = recorded(self._store)
            if theirs is None or theirs.identity != mine.identity:
                raise EmbedderMismatch(
                    f"{self._store.name} has meanwhile been filled with {theirs.identity if theirs else None!r}, not with "
                    f"{mine.identity!r}; open it anew"
                )
        self._record = mine

    def encode(self, texts: Sequence[str]) -> list[VectorBlobs | None]:
        """Vectors of texts to be stored, in order; None for each where the store has no embedder.

        Raises:
            EmbedderUnavailable: the store has an embedder, but it was not given.
            EmbeddingFailed: the model failed.
        """
        if self.embedder is None:
            if self.record.identity:
                raise EmbedderUnavailable(
                    f"{self._store.name} needs its embedder {self.record.identity!r} to add or change texts; open it with "
                    "MOS.open(..., embedder=...)"
                )
            return [None] * len(texts)
        if isinstance(self.embedder, TokenEmbedder):
            dense, tokens = self.embedder.embed_tokens(texts)
            return [
                VectorBlobs(row.astype("<f4").tobytes(), encode_tokens(own))
                for row, own in zip(normalise(dense), tokens, strict=True)
            ]
        return self.given(self.embedder.embed(texts), len(texts))

    def given(self, vectors: Floats, count: int) -> list[VectorBlobs | None]:
        """Vectors that the caller brings, checked and scaled to unit length.

        Raises:
            WrongDimension: not one for each text, or of another length than the store's.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        dims = self.record.dims
        if vectors.ndim != 2 or vectors.shape != (count, dims):
            raise WrongDimension(
                f"{count} texts need vectors of shape {(count, dims)}, these have shape {vectors.shape}"
                + ("" if dims else "; the store has no embedder (open it with embedder='given:384' to bring your own)")
            )
        if not np.isfinite(vectors).all():
            raise WrongDimension("vectors with numbers that are not finite cannot be compared")
        scaled = normalise(vectors).astype("<f4")
        return [VectorBlobs(row.tobytes()) for row in scaled]

    def query(self, text: str) -> QueryVectors | None:
        """A question as vectors; None where there is no embedder.

        Raises:
            EmbeddingFailed: the model failed.
        """
        if self.embedder is None or not text.strip():
            return None
        if isinstance(self.embedder, TokenEmbedder):
            dense, tokens, words = self.embedder.embed_query_tokens(text)
            return QueryVectors(dense, tokens, tuple(words))
        return QueryVectors(self.embedder.embed_query(text))
