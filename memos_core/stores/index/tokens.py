"""Token vectors: one small vector per token of a text, four bits a number, for late interaction.

The score of a text for a question is, token by token of the question, the best cosine with any token of the text (Khattab
and Zaharia, ColBERT, SIGIR 2020). A token's vector is kept as `scale · code`, codes -8 … 7 two to a byte, the even places
in the low half, and a float16 scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.growing import Ragged

Floats = NDArray[np.float32]
_HALF = 7  # codes -7 … 7 are used, so that a vector and its opposite are kept alike


def encode_tokens(vectors: Floats) -> bytes:
    """Token vectors (tokens, dims), dims even, as bytes: all codes, then all scales."""
    peak = np.abs(vectors).max(axis=1, initial=0.0)
    scales = np.where(peak > 0, peak / _HALF, 1).astype(np.float16)
    codes = np.clip(np.rint(vectors / scales[:, None].astype(np.float32)), -_HALF, _HALF).astype(np.int8)
    packed = (codes[:, 0::2] & 0x0F) | (codes[:, 1::2] << 4)
    return packed.astype(np.uint8).tobytes() + scales.tobytes()


def split_tokens(blob: bytes, dims: int) -> dict[str, NDArray[Any]]:
    """The arrays of encoded token vectors: "codes" (tokens, dims / 2) and "scales" (tokens,)."""
    tokens = len(blob) // (dims // 2 + 2) if dims else 0
    codes = np.frombuffer(blob, dtype=np.uint8, count=tokens * (dims // 2)).reshape(tokens, dims // 2)
    return {"codes": codes, "scales": np.frombuffer(blob, dtype="<f2", offset=codes.size, count=tokens)}


def unpack(codes: NDArray[np.uint8], scales: NDArray[np.float16]) -> Floats:
    """Token vectors (tokens, dims) from their codes and scales."""
    signed = codes.view(np.int8)
    vectors = np.empty((len(codes), 2 * codes.shape[1]), dtype=np.float32)
    vectors[:, 0::2] = (signed << 4) >> 4
    vectors[:, 1::2] = signed >> 4
    vectors *= scales.astype(np.float32)[:, None]
    return vectors


def best_matches(tokens: Ragged, rows: NDArray[np.int64], question: Floats) -> Floats:
    """For each of these rows and each token of the question the best cosine: (rows, question tokens).

    Args:
        tokens: of the part that the rows are in.
        question: (question tokens, dims), unit length.
    """
    places, begins = tokens.places(rows)
    best = np.zeros((len(rows), len(question)), dtype=np.float32)
    counts = np.diff(np.append(begins, len(places)))
    filled = np.flatnonzero(counts)
    if len(filled):
        vectors = unpack(tokens.entries["codes"][places], tokens.entries["scales"][places])
        cosines = vectors @ question.T
        best[filled] = np.maximum.reduceat(cosines, begins[filled], axis=0)
    return best
