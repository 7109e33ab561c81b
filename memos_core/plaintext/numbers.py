"""Vectors that come from outside, as arrays of finite numbers, or an error that says whose they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbeddingFailed, MemosError, WrongDimension
from memos_core.protocols.models import Embedder

Floats = NDArray[np.float32]
_A = TypeVar("_A")
_R = TypeVar("_R")


def given(vectors: object) -> Floats:
    """What a caller gave as one vector or several.

    Raises:
        WrongDimension: no numbers, or some that are not finite.
    """
    try:
        found = _floats(vectors)
    except (TypeError, ValueError, OverflowError) as error:
        raise WrongDimension(f"vectors are lists or arrays of numbers: {error}") from error
    if not np.isfinite(found).all():
        raise WrongDimension("vectors with numbers that are not finite cannot be compared")
    return found


def asked(embedder: Embedder, method: Callable[[_A], _R], argument: _A) -> _R:
    """What a model's method answers with.

    Raises:
        EmbeddingFailed: it raised; an error of memos stays what it is.
    """
    try:
        return method(argument)
    except MemosError:
        raise
    except Exception as error:
        raise EmbeddingFailed(f"{embedder.identity} failed: {type(error).__name__}: {error}") from error


def answered(embedder: Embedder, vectors: object, shape: tuple[int, ...]) -> Floats:
    """What a model answered with.

    Args:
        embedder: for the message.
        vectors: its answer.
        shape: that the answer should have.

    Raises:
        EmbeddingFailed: it is something else.
    """
    try:
        found = _floats(vectors)
    except (TypeError, ValueError, OverflowError) as error:
        raise EmbeddingFailed(f"{embedder.identity!r} answered with something that is no array of numbers") from error
    if found.shape != shape:
        raise EmbeddingFailed(f"{embedder.identity!r} answered with shape {found.shape}; it should be {shape}")
    if not np.isfinite(found).all():
        raise EmbeddingFailed(f"{embedder.identity!r} answered with numbers that are not finite")
    return found


def answered_tokens(embedder: Embedder, tokens: Sequence[object], count: int, dims: int) -> list[Floats]:
    """Token vectors that a model answered with, for each of so many texts; raises as `answered` does."""
    if len(tokens) != count:
        raise EmbeddingFailed(f"{embedder.identity!r} answered with token vectors of {len(tokens)} texts, not {count}")
    return [answered(embedder, own, (len(np.atleast_1d(np.asarray(own))), dims)) for own in tokens]


def _floats(vectors: object) -> Floats:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        return np.asarray(vectors, dtype=np.float32)
