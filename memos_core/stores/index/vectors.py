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
_BLOCK = 128
_SMALL, _LARGE = 1e-15, 1e15


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
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    # the squares of very large and very small numbers do not fit float32: those rows are brought into its middle first
    odd = np.flatnonzero(~((lengths > _SMALL) & (lengths < _LARGE)))
    if len(odd):
        vectors = vectors.copy()
        peaks = np.abs(vectors[odd]).max(axis=1, initial=0.0).astype(np.float64)
        vectors[odd] = (vectors[odd] / np.where(peaks > 0, peaks, 1)[:, None]).astype(np.float32)
        lengths[odd] = np.sqrt(np.einsum("nd,nd->n", vectors[odd], vectors[odd]))
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1)[:, None], dtype=np.float32)


class QueryVector:
    """A query of unit length, exact and quantised.

    Attributes:
        exact: (dims,) float32.
        error: length of what quantising lost.
    """

    def __init__(self, vector: Floats) -> None:
        self.exact = normalise(vector[None, :])[0]
        codes, scales, errors = quantise(self.exact[None, :])
        self._codes, self._scale = codes, float(scales[0])
        self.error = float(errors[0])

    def first_pass(self, codes: Codes, scales: Floats) -> Floats:
        """Approximate cosines (rows,) with rows given as codes (rows, dims) and scales (rows,). Needs the SIMD library."""
        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        products = np.asarray(simsimd.cdist(self._codes, codes, metric="dot"))[0]
        return np.asarray(products * scales * self._scale, dtype=np.float32)


def best(scores: Floats, count: int) -> Rows:
    """Places of the `count` highest scores, best first, ties by place; scores of -inf are left out."""
    if count >= len(scores):
        chosen = np.flatnonzero(scores > -np.inf)
    else:
        # The count-th best of the maxima of blocks is no higher than the count-th best of all, so only what reaches it is
        # looked at; partitioning all of them takes ten times as long, and crawls where many are equal.
        blocks = scores[: len(scores) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).max(axis=1)
        floor = np.partition(blocks, len(blocks) - count)[len(blocks) - count] if count < len(blocks) else -np.inf
        reaching = np.flatnonzero((scores >= floor) & (scores > -np.inf))
        if len(reaching) > count:
            own = scores[reaching]
            edge = np.partition(own, len(own) - count)[len(own) - count]
            reaching = reaching[own >= edge]
        chosen = reaching
    order = np.lexsort((chosen, -scores[chosen]))
    return chosen[order][:count]
