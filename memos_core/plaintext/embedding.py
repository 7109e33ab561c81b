"""Embedding: the store's embedder, and whether it is the one that its vectors come from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbedderMismatch, EmbedderUnavailable, WrongDimension
from memos_core.models.given import GivenVectors
from memos_core.plaintext.ranking import BACKGROUND_MEAN, BACKGROUND_SPREAD, UNRELATED, background
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
        background: mean and spread of its cosines between unrelated texts, so that cosines of all embedders mean the same.
    """

    identity: str
    dims: int = 0
    token_dims: int = 0
    spec: str = ""
    background: tuple[float, float] = (BACKGROUND_MEAN, BACKGROUND_SPREAD)


class QueryVectors(msgspec.Struct, frozen=True):
    """A question as vectors.

    Attributes:
        dense: (dims,).
        tokens: (tokens, token_dims), or None where the embedder gives none.
        words: for each token the word it is part of.
        background: mean and spread of the embedder's cosines between unrelated texts.
    """

    dense: Floats
    tokens: Floats | None = None
    words: tuple[str, ...] = ()
    background: tuple[float, float] = (BACKGROUND_MEAN, BACKGROUND_SPREAD)


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
        self._token: int | None = None
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
        return unmeasured_record(self.embedder, self._spec) if self._record is None else self._record

    @property
    def lacking(self) -> str | None:
        """Why questions cannot be embedded, in words; None where they can."""
        if self.embedder is not None:
            return None
        if self._record is not None and self._record.identity:
            return f"the store's embedder {self._record.identity!r} was not given: lexical search only"
        return "no embedder: lexical search only"

    def rebind(self, embedder: Embedder | None, spec: str) -> None:
        """Go on with another embedder, whose vectors the store has now."""
        self.embedder = embedder
        self._spec = spec
        self._record = recorded(self._store)
        self._token = None

    def confirm(self) -> None:
        """Make sure that the store still has the embedder that this was opened with; microseconds where nothing changed.

        Raises:
            EmbedderMismatch: its vectors have been replaced by those of another one.
        """
        token = self._store.change_token()
        if token == self._token:
            return
        now = recorded(self._store)
        if self._record is None:
            self._record = now
        self.check(None if now is None else now.identity)
        self._token = token

    def check_setting(self, raw: str | None) -> None:
        """As `check`, from the setting as it is stored."""
        self.check(None if raw is None else msgspec.json.decode(raw, type=EmbedderRecord).identity)

    def check(self, identity: str | None) -> None:
        """Refuse to go on if the store's embedder is another one by now.

        Raises:
            EmbedderMismatch: it is.
        """
        mine = self.record.identity
        if identity is not None and identity != mine and (mine or self.embedder is not None):
            raise EmbedderMismatch(
                f"the vectors of {self._store.name} have been replaced by those of {identity or 'no embedder'!r}, this was "
                f"opened with {mine!r}; open it anew"
            )

    def understands(self, text: str, *, latin: bool) -> bool:
        """Whether the embedder's vectors say anything about a text.

        Args:
            latin: whether most of it is written in Latin script.
        """
        return latin or self.embedder is None or not getattr(self.embedder, "latin_only", False)

    def claim(self) -> None:
        """Have the store remember this embedder, before the first item is written.

        Raises:
            EmbedderMismatch: another process was faster, with another embedder.
        """
        if self._record is not None:
            return
        mine = measured_record(self.embedder, self._spec)
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
        return list(encode_all(self.embedder, texts))

    def given(self, vectors: Floats, count: int) -> list[VectorBlobs | None]:
        """Vectors that the caller brings, checked and scaled to unit length.

        Raises:
            WrongDimension: not one for each text, or of another length than the store's.
        """
        vectors = _numbers(vectors)
        dims = self.record.dims
        if vectors.ndim != 2 or vectors.shape != (count, dims):
            raise WrongDimension(
                f"{count} texts need vectors of shape {(count, dims)}, these have shape {vectors.shape}"
                + ("" if dims else "; the store has no embedder (open it with embedder='given:384' to bring your own)")
            )
        return [VectorBlobs(row.tobytes()) for row in normalise(vectors).astype("<f4")]

    def query(self, text: str, late: str) -> QueryVectors | None:
        """A question as vectors; None where there is no embedder, or vectors are given by the application.

        Args:
            text: whose meaning is looked for.
            late: whose tokens are looked for.

        Raises:
            EmbeddingFailed: the model failed.
        """
        if self.embedder is None or isinstance(self.embedder, GivenVectors) or not text.strip():
            return None
        if isinstance(self.embedder, TokenEmbedder) and self.embedder.token_dims:
            dense, tokens, words = self.embedder.embed_question(text, late)
            return QueryVectors(dense, tokens, tuple(words), self.record.background)
        return self.query_given(self.embedder.embed_query(text))

    def query_given(self, vector: Floats) -> QueryVectors:
        """A question's vector that was made elsewhere.

        Raises:
            WrongDimension: it is of another length than the store's.
        """
        vector = _numbers(vector)
        if vector.shape != (self.record.dims,):
            raise WrongDimension(
                f"the question's vector has shape {vector.shape}, the store's have ({self.record.dims},)"
            )
        return QueryVectors(vector, background=self.record.background)


def _numbers(vectors: object) -> Floats:
    """What a caller gave as vectors, as finite numbers.

    Raises:
        WrongDimension: it is none.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            found = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise WrongDimension(f"vectors are lists or arrays of numbers: {error}") from error
    if not np.isfinite(found).all():
        raise WrongDimension("vectors with numbers that are not finite cannot be compared")
    return found


def unmeasured_record(embedder: Embedder | None, spec: str) -> EmbedderRecord:
    """What a store remembers of an embedder, as far as the embedder says it."""
    if embedder is None:
        return EmbedderRecord("")
    token_dims = embedder.token_dims if isinstance(embedder, TokenEmbedder) else 0
    return EmbedderRecord(embedder.identity, embedder.dims, token_dims, spec)


def measured_record(embedder: Embedder | None, spec: str) -> EmbedderRecord:
    """What a store remembers of an embedder; its cosines between unrelated texts are measured.

    Raises:
        EmbeddingFailed: the model failed.
    """
    record = unmeasured_record(embedder, spec)
    if embedder is None or isinstance(embedder, GivenVectors):
        return record
    return msgspec.structs.replace(record, background=background(normalise(embedder.embed(UNRELATED))))


def encode_all(embedder: Embedder, texts: Sequence[str]) -> list[VectorBlobs]:
    """Vectors of texts to be stored, in order.

    Raises:
        EmbeddingFailed: the model failed.
    """
    if isinstance(embedder, TokenEmbedder) and embedder.token_dims:
        dense, tokens = embedder.embed_tokens(texts)
        return [
            VectorBlobs(row.tobytes(), encode_tokens(own))
            for row, own in zip(normalise(dense).astype("<f4"), tokens, strict=True)
        ]
    return [VectorBlobs(row.tobytes()) for row in normalise(embedder.embed(texts)).astype("<f4")]
