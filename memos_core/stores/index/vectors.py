"""Dense vectors of an index: an int8 first pass whose error is bounded, so that exact rescoring misses nothing.

A row x is kept as x̂ = scale · codes, with the length of x − x̂ beside it. For a query q, quantised alike to q̂,
|x·q − x̂·q̂| ≤ ‖x − x̂‖·‖q‖ + ‖x̂‖·‖q − q̂‖, so a row whose first-pass score lies further below the k-th best than that
error on both sides cannot be among the k best. Codes are multiplied by a SIMD library (simsimd); without it the rows are
unpacked to float32 once and multiplied by BLAS, which is as fast as an ordinary float32 scan and takes four times the
memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

try:
    import simsimd
except ImportError:  # no wheel for this platform: the float32 way below answers the same
    simsimd = None  # type: ignore[assignment]

SIMD = simsimd is not None

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]
Rows = NDArray[np.int64]
_LONGEST_LENGTH = np.float32(1.01)  # of x̂, where x has unit length


def quantise(vectors: Floats) -> tuple[Codes, Floats, Floats]:
    """Vectors (rows, dims) as codes (rows, dims), scales (rows,) and lengths of the error (rows,)."""
    peak = np.abs(vectors).max(axis=1, initial=0.0)
    scales = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype(np.float32)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    errors = np.linalg.norm(vectors - codes * scales[:, None], axis=1).astype(np.float32)
    return codes, scales, errors


def normalise(vectors: NDArray[np.floating]) -> Floats:
    """Vectors (rows, dims) scaled to unit length, as float32; zero vectors stay zero."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


class QueryVector:
    """A query of unit length, exact and quantised.

    Attributes:
        exact: (dims,) float32.
        error: how far the quantised one may put a score of a unit vector off.
    """

    def __init__(self, vector: Floats) -> None:
        self.exact = normalise(vector[None, :])[0]
        codes, scales, errors = quantise(self.exact[None, :])
        self._codes, self._scale = codes, float(scales[0])
        self.error = float(errors[0] * _LONGEST_LENGTH)

    def first_pass(self, codes: Codes, scales: Floats) -> Floats:
        """Approximate cosines (rows,) with rows given as codes (rows, dims) and scales (rows,)."""
        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        if not SIMD:
            return np.asarray((codes.astype(np.float32) @ self.exact) * scales, dtype=np.float32)
        products = np.asarray(simsimd.cdist(self._codes, codes, metric="dot"))[0]
        return np.asarray(products * scales * self._scale, dtype=np.float32)


def best(scores: Floats, count: int) -> Rows:
    """Places of the `count` highest scores, best first, ties by place; scores of -inf are left out."""
    if count >= len(scores):
        chosen = np.flatnonzero(scores > -np.inf)
    else:
        # argpartition crawls over many equal values, so only what can be among the best is handed to it
        edge = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero((scores >= edge) & (scores > -np.inf))
    order = np.lexsort((chosen, -scores[chosen]))
    return chosen[order][:count]
