"""Token vectors: one small vector per token of a text, four bits a number, for late interaction.

The score of a text for a question is, token by token of the question, the best cosine with any token of the text (Khattab
and Zaharia, ColBERT, SIGIR 2020). Token vectors have unit length and every dimension the same scale, so one step serves
all of them and no scale has to be stored: code 0 … 15 stands for (code - 7.5) steps. Two codes share a byte, the even
dimension in the low half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.growing import Ragged

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

# the best uniform step for sixteen levels of a normal distribution, in standard deviations
_STEP: Final = 0.335


def encode_tokens(vectors: Floats) -> bytes:
    """Token vectors (tokens, dims) of unit length, dims even, as bytes."""
    step = _STEP / np.sqrt(vectors.shape[1] or 1)
    codes = (np.clip(np.floor(vectors / step), -8, 7) + 8).astype(np.uint8)
    packed: Codes = codes[:, 0::2] | (codes[:, 1::2] << 4)
    return packed.tobytes()


def decode_codes(blob: bytes, dims: int) -> Codes:
    """The codes (tokens, dims / 2) of encoded token vectors."""
    return np.frombuffer(blob, dtype=np.uint8).reshape(-1, dims // 2) if dims else np.zeros((0, 0), dtype=np.uint8)


def decode_all(blobs: Sequence[bytes | None], dims: int) -> Ragged:
    """The codes (tokens, dims / 2) of the encoded token vectors of several texts; of None there are none."""
    sizes = np.array([len(blob or b"") if dims else 0 for blob in blobs], dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes // max(dims // 2, 1))))
    return Ragged(starts, {"codes": decode_codes(b"".join(blob or b"" for blob in blobs), dims)})


_LEVELS = np.arange(16, dtype=np.float32) - np.float32(7.5)
# both numbers that a byte stands for, as one 64-bit value: looking up one is four times as fast as looking up two
_PAIRS = np.stack([_LEVELS[np.arange(256) & 15], _LEVELS[np.arange(256) >> 4]], axis=1).view(np.float64)[:, 0]


def unpack(codes: Codes) -> Floats:
    """Token vectors (tokens, dims), of unit length, from their codes (tokens, dims / 2)."""
    vectors = _PAIRS[codes].view(np.float32)
    return vectors / _lengths(vectors)[:, None]


def _lengths(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("td,td->t", vectors, vectors)), dtype=np.float32)


def best_matches(tokens: Ragged, rows: NDArray[np.int64], question: Floats) -> Floats:
    """For each of these rows and each token of the question the best cosine: (rows, question tokens).

    A row without tokens gets 0 for each.

    Args:
        tokens: of the part that the rows are in.
        question: (question tokens, dims), unit length.
    """
    places, begins = tokens.places(rows)
    best = np.zeros((len(rows), len(question)), dtype=np.float32)
    filled = np.flatnonzero(np.diff(np.append(begins, len(places))))
    if len(filled) and len(question):
        vectors = _PAIRS[tokens.entries["codes"][places]].view(np.float32)
        cosines = (vectors @ question.T) / _lengths(vectors)[:, None]
        best[filled] = np.maximum.reduceat(cosines, begins[filled], axis=0)
    return best
