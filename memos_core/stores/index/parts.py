"""The heavy side of the index: vectors, token vectors and postings of a run of rows.

The newest rows are in a `Tail` in memory. Older ones are in `MappedPart`s, whose arrays are files. Both answer alike.
Within a part rows are numbered from 0; `start` is the number of its first row in the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index import postings
from memos_core.stores.index.analysis import AnalyzedTexts
from memos_core.stores.index.growing import Growing, GrowingRagged, Ragged, join
from memos_core.stores.index.postings import SortedPostings, TailPostings
from memos_core.stores.index.rows import COLUMNS, NONE, Names, RowTable
from memos_core.stores.index.segment import Arrays
from memos_core.stores.index.tokens import decode_all
from memos_core.stores.index.vectors import Codes, Floats, quantise

Rows = NDArray[np.int64]
_QUANTISED = 128


class _Unpacked:
    """Vectors of a part as float32: made when the SIMD library is missing, and kept. Four times the memory, BLAS's speed."""

    def __init__(self) -> None:
        self._floats: Floats | None = None

    def get(self, codes: Codes, scales: Floats) -> Floats:
        """Vectors (rows, dims) as they were quantised."""
        if self._floats is None or len(self._floats) != len(scales):
            self._floats = codes * scales[:, None]
        return self._floats


class Tail:
    """The newest rows.

    Args:
        start: number of its first row in the index.
        dims: length of a vector; 0 where the store has no embedder.
        token_dims: length of a token vector; 0 where the embedder gives none.
    """

    history = False
    file = None

    def __init__(self, start: int, dims: int, token_dims: int) -> None:
        self.start = start
        self.postings = TailPostings()
        self._codes = Growing(np.int8, (dims,))
        self._scales = Growing(np.float32)
        self._errors = Growing(np.float32)
        self._token_dims = token_dims
        self.max_error = 0.0
        self._unpacked = _Unpacked()
        self._terms = GrowingRagged({"names": Growing(np.uint32)})
        self._tokens = GrowingRagged({"codes": Growing(np.uint8, (token_dims // 2,))})

    def __len__(self) -> int:
        return self._scales.rows

    @property
    def codes(self) -> Codes:
        """Quantised vectors (rows, dims)."""
        return self._codes.view

    @property
    def scales(self) -> Floats:
        """What a row's codes are multiplied with (rows,); 0 where it has no vector."""
        return self._scales.view

    @property
    def errors(self) -> Floats:
        """Length of what quantising lost (rows,)."""
        return self._errors.view

    @property
    def unpacked(self) -> Floats:
        """Vectors (rows, dims) as float32, for machines without the SIMD library."""
        return self._unpacked.get(self.codes, self.scales)

    @property
    def tokens(self) -> Ragged:
        """Token vectors of each row."""
        return self._tokens.view

    @property
    def terms(self) -> Ragged:
        """Names of the distinct terms of each row."""
        return self._terms.view

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return self._codes.nbytes + self._tokens.nbytes + self._terms.nbytes + self.postings.nbytes + 8 * len(self)

    def add(self, texts: AnalyzedTexts, dense: Sequence[bytes | None], tokens: Sequence[bytes | None]) -> None:
        """Add rows: terms, float32 vector and encoded token vectors of each."""
        dims = self._codes.view.shape[1]
        if dims:
            nothing = bytes(4 * dims)
            joined = b"".join([nothing if blob is None else blob for blob in dense])
            vectors = np.frombuffer(joined, dtype="<f4").reshape(len(dense), dims)
        else:
            vectors = np.zeros((len(dense), 0), dtype=np.float32)
        for start in range(0, len(dense), _QUANTISED):  # so many at a time stay in the processor's cache
            self._add_vectors(vectors[start : start + _QUANTISED])
        none = np.array([blob is None for blob in dense], dtype=np.bool_)
        self._scales.view[len(self) - len(dense) :][none] = 0
        self._terms.add(self.postings.add(texts.terms, texts.starts, texts.vocabulary.hashes))
        self._tokens.add(decode_all(tokens, self._token_dims))

    def _add_vectors(self, vectors: Floats) -> None:
        nothing = vectors.sum(1)
        codes, scales, errors = quantise(vectors) if vectors.shape[1] else (vectors.astype(np.int8), nothing, nothing)
        self._codes.extend(codes)
        self._scales.extend(scales)
        self._errors.extend(errors)
        self.max_error = max(self.max_error, float(errors.max(initial=0.0)))


class MappedPart:
    """Rows of a segment.

    Args:
        start: number of its first row in the index.
        arrays: of the segment.
        file: its name.
        history: whether none of its rows live.
    """

    def __init__(self, start: int, arrays: Arrays, file: str, *, history: bool) -> None:
        self.start = start
        self.file = file
        self.history = history
        self.codes: Codes = arrays["codes"]
        self.scales: Floats = arrays["scales"]
        self.errors: Floats = arrays["errors"]
        self.max_error = float(self.errors.max(initial=0.0))
        self._unpacked = _Unpacked()
        self.tokens = Ragged(arrays["token_starts"], {"codes": arrays["token_codes"]})
        self.terms = Ragged(arrays["name_starts"], {"names": arrays["names"]})
        self.postings = SortedPostings(
            arrays["term_hashes"],
            arrays["term_starts"],
            arrays["term_rows"],
            arrays["term_counts"],
            len(self.scales),
        )

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def unpacked(self) -> Floats:
        """Vectors (rows, dims) as float32, for machines without the SIMD library."""
        return self._unpacked.get(self.codes, self.scales)

    def at(self, start: int) -> MappedPart:
        """The same rows under other numbers."""
        if start == self.start:
            return self
        moved = copy(self)
        moved.start = start
        return moved

    nbytes = 0  # the operating system keeps what is in use and drops it when it must


Part = Tail | MappedPart


def merge(parts: Sequence[Part], keep: Sequence[Rows], order: Rows) -> Arrays:
    """Heavy arrays of one segment out of several parts.

    Args:
        parts: whose rows are taken.
        keep: for each part the rows (numbered within it, ascending) that are taken.
        order: the order they get: places among all that are taken, part after part.
    """
    place_of = np.empty(len(order), dtype=np.int32)
    place_of[order] = np.arange(len(order), dtype=np.int32)
    in_order = bool((np.diff(place_of) == 1).all())
    runs: list[postings.Run] = []
    start = 0
    for part, kept in zip(parts, keep, strict=True):
        to = np.full(len(part), -1, dtype=np.int32)
        to[kept] = place_of[start : start + len(kept)]
        runs.extend(postings.moved(run, to) for run in part.postings.runs())
        start += len(kept)

    def taken(name: str) -> NDArray[Any]:
        each = [getattr(part, name) for part in parts]
        some = [own if len(kept) == len(own) else own[kept] for own, kept in zip(each, keep, strict=True)]
        joined = np.concatenate(some)
        return joined if in_order else joined[order]

    tokens = join([part.tokens.take(kept) for part, kept in zip(parts, keep, strict=True)])
    terms = join([part.terms.take(kept) for part, kept in zip(parts, keep, strict=True)])
    if not in_order:
        tokens, terms = tokens.take(order), terms.take(order)
    hashes, starts, rows, counts = postings.join(runs)
    return {
        "codes": taken("codes"),
        "scales": taken("scales"),
        "errors": taken("errors"),
        "token_starts": tokens.starts,
        "token_codes": tokens.entries["codes"],
        "name_starts": terms.starts,
        "names": terms.entries["names"],
        "term_hashes": hashes,
        "term_starts": starts,
        "term_rows": rows,
        "term_counts": counts,
    }


def _names(table: RowTable) -> Iterator[tuple[str, Names]]:
    """The columns that hold numbers of names, and those names."""
    yield from (("conversation", table.conversations), ("speaker", table.speakers), ("private", table.readers))


def light(table: RowTable, rows: Rows) -> Arrays:
    """The plain columns of some rows, as a segment holds them: names as numbers of its own, and the names."""
    arrays: Arrays = {f"row_{name}": table[name][rows] for name in COLUMNS}
    for column, names in _names(table):
        used, numbers = np.unique(arrays[f"row_{column}"], return_inverse=True)
        known = used >= 0
        arrays[f"row_{column}"] = (numbers - int(not known.all())).astype(np.int32)
        text = "".join(names.names[number] + "\x00" for number in used[known]).encode()
        arrays[f"names_{column}"] = np.frombuffer(text, dtype=np.uint8)
    return arrays


def restore_light(table: RowTable, arrays: Arrays) -> None:
    """Add the rows of a segment to the table."""
    values = {name: arrays[f"row_{name}"] for name in COLUMNS}
    for column, names in _names(table):
        text = arrays[f"names_{column}"].tobytes().decode()
        numbers = np.array([*(names.number(name) for name in text.split("\x00")[:-1]), NONE], dtype=np.int32)
        values[column] = numbers[values[column]]
    table.extend(values)
