"""Embedding: the store's embedder, and whether it is the one that its vectors come from."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbedderMismatch, EmbedderUnavailable, StoreDamaged, WrongDimension
from memos_core.events import event
from memos_core.models.given import GivenVectors
from memos_core.plaintext import numbers
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
        epoch: another one each time all vectors were replaced: what was derived before is of no use then, even if the
            embedder is the same.
    """

    identity: str
    dims: int = 0
    token_dims: int = 0
    spec: str = ""
    background: tuple[float, float] = (BACKGROUND_MEAN, BACKGROUND_SPREAD)
    epoch: str = ""

    @property
    def mark(self) -> str:
        """What an index made from these vectors bears."""
        return f"{self.identity}#{self.epoch}" if self.epoch else self.identity


class QueryVectors(msgspec.Struct, frozen=True):
    """A question as vectors.

    Attributes:
        dense: (dims,).
        tokens: (tokens, token_dims), or None where the embedder gives none.
        words: for each token the word it is part of.
        background: mean and spread of the embedder's cosines between unrelated texts.
        mark: of the vectors that it can be compared with.
    """

    dense: Floats
    tokens: Floats | None = None
    words: tuple[str, ...] = ()
    background: tuple[float, float] = (BACKGROUND_MEAN, BACKGROUND_SPREAD)
    mark: str = ""


def recorded(store: RecordStore) -> EmbedderRecord | None:
    """What the store remembers of its embedder; None before the first item.

    Raises:
        StoreDamaged: it is not what was written.
    """
    raw = store.setting(SETTING)
    try:
        return None if raw is None else msgspec.json.decode(raw, type=EmbedderRecord)
    except msgspec.MsgspecError as error:
        raise StoreDamaged(
            f"{store.name}: what it remembers of its embedder is not what was written ({error}); restore a backup"
        ) from error


class _Bound(msgspec.Struct, frozen=True):
    """An embedder, and what the store remembers of it (None before the first item). Replaced as a whole, never in part."""

    embedder: Embedder | None
    spec: str
    remembered: EmbedderRecord | None

    @property
    def record(self) -> EmbedderRecord:
        """What the store remembers, or will remember with its first item."""
        return unmeasured_record(self.embedder, self.spec) if self.remembered is None else self.remembered

    @property
    def mark(self) -> str:
        """Of the vectors that it makes."""
        if self.remembered is not None:
            return self.remembered.mark
        return "" if self.embedder is None else self.embedder.identity

    def differs(self, now: EmbedderRecord | None) -> bool:
        """Whether what the store remembers by now is something else."""
        if self.remembered is not None:
            return now is None or now.mark != self.remembered.mark
        return now is not None and self.embedder is not None and now.identity != self.embedder.identity


class Embedding:
    """An embedder bound to a store.

    Args:
        store: whose vectors.
        embedder: None for none.
        spec: the name under which it was loaded; "" for an object.
        missing: why the embedder that the store remembers is not here; "" where nobody tried to load it.

    Raises:
        EmbedderMismatch: the store's vectors come from another embedder, or its items have none.
    """

    def __init__(self, store: RecordStore, embedder: Embedder | None, *, spec: str = "", missing: str = "") -> None:
        self._store = store
        self._missing = missing
        self._token: int | None = None
        self._bound = _Bound(embedder, spec, recorded(store))
        self.replacing = threading.Lock()  # held while this process puts new vectors in the place of all old ones
        have = self._bound.remembered
        if embedder is not None and have is not None and embedder.identity != have.identity:
            raise EmbedderMismatch(
                f"{store.name} was filled with {f'embedder {have.identity!r}' if have.identity else 'no embedder'}, and is "
                f"opened with {embedder.identity!r}; their vectors cannot be compared. Open it without an embedder argument, "
                "or change all its vectors with `memos reembed`"
            )

    @property
    def embedder(self) -> Embedder | None:
        """The embedder; None for none."""
        return self._bound.embedder

    @property
    def record(self) -> EmbedderRecord:
        """What the store remembers, or will remember with its first item."""
        return self._bound.record

    @property
    def mark(self) -> str:
        """What tells its vectors from those that the store had before all were replaced."""
        return self._bound.mark

    @property
    def lacking(self) -> str | None:
        """Why questions cannot be embedded, in words; None where they can."""
        bound = self._bound
        if bound.embedder is not None:
            return None
        if bound.remembered is not None and bound.remembered.identity:
            why = self._missing or "was not given"
            return f"the store's embedder {bound.remembered.identity!r} {why}: lexical search only"
        return "no embedder: lexical search only"

    def rebind(self, embedder: Embedder | None, spec: str) -> None:
        """Go on with another embedder, whose vectors the store has now."""
        self._bound = _Bound(embedder, spec, recorded(self._store))
        self._missing = ""
        self._token = None

    def after_fork(self) -> None:
        """In a forked child: a lock that a thread of the parent held would never be released."""
        self.replacing = threading.Lock()

    def confirm(self) -> None:
        """Make sure that the store still has the embedder that this was opened with; microseconds where nothing changed.

        Raises:
            EmbedderMismatch: its vectors have been replaced by those of another one.
        """
        token = self._store.rules_token()
        if token == self._token:
            return
        now = recorded(self._store)
        if self._bound.differs(now):
            with self.replacing:  # by this process, perhaps: then it knows the new ones by now
                now = recorded(self._store)
            self._check(now, self._bound.mark)
        if self._bound.remembered is None:
            self._bound = msgspec.structs.replace(self._bound, remembered=now)
        self._token = token

    def check_setting(self, raw: str | None, mark: str) -> None:
        """Make sure, within a transaction, that vectors made under a mark still belong to the store.

        Args:
            raw: the setting, as the transaction sees it.
            mark: `mark`, as it was when they were made.

        Raises:
            EmbedderMismatch: all vectors have been replaced since.
        """
        self._check(None if raw is None else msgspec.json.decode(raw, type=EmbedderRecord), mark)

    def _check(self, now: EmbedderRecord | None, mark: str) -> None:
        if self._bound.differs(now) or (now is not None and now.mark != mark):
            theirs = now.identity if now is not None and now.identity else "no embedder"
            raise EmbedderMismatch(
                f"the vectors of {self._store.name} are by now those of {theirs!r}, this was opened with "
                f"{mark.partition('#')[0] or 'no embedder'!r}; open it anew"
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
        bound = self._bound
        if bound.remembered is not None:
            return
        mine = measured_record(bound.embedder, bound.spec)
        theirs = None
        if not self._store.put_setting(SETTING, msgspec.json.encode(mine).decode()):
            theirs = recorded(self._store)
            if theirs is None or theirs.mark != mine.mark:
                raise EmbedderMismatch(
                    f"{self._store.name} has meanwhile been filled with {theirs.identity if theirs else None!r}, not with "
                    f"{mine.identity!r}; open it anew"
                )
        self._bound = msgspec.structs.replace(bound, remembered=theirs or mine)

    def encode(self, texts: Sequence[str]) -> list[VectorBlobs | None]:
        """Vectors of texts to be stored, in order; None for each where the store has no embedder.

        Raises:
            EmbedderUnavailable: the store has an embedder, but it was not given.
            EmbeddingFailed: the model failed.
        """
        bound = self._bound
        if bound.embedder is None:
            if bound.record.identity and texts:
                raise EmbedderUnavailable(
                    f"{self._store.name} needs its embedder {bound.record.identity!r} to add or change texts, which "
                    f"{self._missing or 'was not given'}; open it with MOS.open(..., embedder=...), or change all vectors "
                    "with `memos reembed`"
                )
            return [None] * len(texts)
        with event("memos.embed", texts=len(texts), embedder=bound.record.identity):
            return list(encode_all(bound.embedder, texts, bound.record.dims))

    def embedded(self, vectors: Floats, count: int) -> list[VectorBlobs | None]:
        """Vectors of texts to be stored that the embedder made elsewhere, checked and scaled to unit length.

        Raises:
            EmbeddingFailed: not one for each text, or of another length than the store's.
        """
        bound = self._bound
        assert bound.embedder is not None
        checked = numbers.answered(bound.embedder, vectors, (count, bound.record.dims))
        return [VectorBlobs(row.tobytes()) for row in normalise(checked).astype("<f4")]

    def given(self, vectors: Floats, count: int) -> list[VectorBlobs | None]:
        """Vectors that the caller brings, checked and scaled to unit length.

        Raises:
            WrongDimension: not one for each text, or of another length than the store's.
        """
        vectors = numbers.given(vectors)
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
        bound = self._bound
        embedder, record = bound.embedder, bound.record
        if embedder is None or isinstance(embedder, GivenVectors) or not text.strip():
            return None
        if isinstance(embedder, TokenEmbedder) and embedder.token_dims:
            dense, tokens, words = numbers.asked(embedder, lambda both: embedder.embed_question(*both), (text, late))
            tokens = numbers.answered(embedder, tokens, (len(words), record.token_dims))
        else:
            dense, tokens, words = numbers.asked(embedder, embedder.embed_query, text), None, []
        dense = numbers.answered(embedder, dense, (record.dims,))
        return QueryVectors(dense, tokens, tuple(words), record.background, bound.mark)

    def answered(self, vector: Floats) -> Floats:
        """A question's vector that the embedder made elsewhere, checked.

        Raises:
            EmbeddingFailed: it is no vector of the store's length.
        """
        bound = self._bound
        assert bound.embedder is not None
        return numbers.answered(bound.embedder, vector, (bound.record.dims,))

    def query_given(self, vector: Floats) -> QueryVectors:
        """A question's vector that was made elsewhere.

        Raises:
            WrongDimension: it is of another length than the store's.
        """
        vector, record = numbers.given(vector), self.record
        if vector.shape != (record.dims,):
            raise WrongDimension(f"the question's vector has shape {vector.shape}, the store's have ({record.dims},)")
        return QueryVectors(vector, background=record.background, mark=record.mark)


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
    unrelated = numbers.answered(
        embedder, numbers.asked(embedder, embedder.embed, UNRELATED), (len(UNRELATED), record.dims)
    )
    return msgspec.structs.replace(record, background=background(normalise(unrelated)))


def encode_all(embedder: Embedder, texts: Sequence[str], dims: int) -> list[VectorBlobs]:
    """Vectors of texts to be stored, in order.

    Args:
        dims: length that a vector must have.

    Raises:
        EmbeddingFailed: the model failed, or answered with something else.
    """
    if not texts:
        return []
    if isinstance(embedder, TokenEmbedder) and embedder.token_dims:
        dense, tokens = numbers.asked(embedder, embedder.embed_tokens, texts)
        checked = numbers.answered_tokens(embedder, tokens, len(texts), embedder.token_dims)
        encoded: list[bytes | None] = [encode_tokens(own) for own in checked]
    else:
        dense, encoded = numbers.asked(embedder, embedder.embed, texts), [None] * len(texts)
    rows = normalise(numbers.answered(embedder, dense, (len(texts), dims))).astype("<f4")
    return [VectorBlobs(row.tobytes(), own) for row, own in zip(rows, encoded, strict=True)]
