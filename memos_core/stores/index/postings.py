"""Which rows hold a term, and how often: in memory for the newest rows, mapped from a file for the others."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]
Counts = NDArray[np.uint8]
_MOST = 255  # occurrences of one term in one text that are told apart


def term_hash(term: str) -> int:
    """64 bits that stand for a term in files: the same on every machine, and the term cannot be read from it."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


class TailPostings:
    """Postings that grow. Rows are numbered from 0 within their part and are added in order."""

    def __init__(self) -> None:
        self._rows: dict[str, array[int]] = {}
        self._counts: dict[str, bytearray] = {}

    def add(self, row: int, terms: Iterable[str]) -> None:
        """Add the terms of a row, repeated as often as they occur."""
        rows, counts = self._rows, self._counts
        for term, count in Counter(terms).items():
            known = rows.get(term)
            if known is None:
                rows[term] = array("i", (row,))
                counts[term] = bytearray((min(count, _MOST),))
            else:
                known.append(row)
                counts[term].append(min(count, _MOST))

    def lookup(self, term: str) -> tuple[Rows, Counts] | None:
        """Rows that hold the term, ascending, and how often; None where no row does."""
        rows = self._rows.get(term)
        if rows is None:
            return None
        return np.array(rows, dtype=np.int32), np.frombuffer(bytes(self._counts[term]), dtype=np.uint8)

    def entries(self) -> tuple[NDArray[np.uint64], Rows, Counts]:
        """Every posting as (term hash, row, count), term by term."""
        hashes = np.array([term_hash(term) for term in self._rows], dtype=np.uint64)
        rows: array[int] = array("i")
        counts = bytearray()
        for term, own in self._rows.items():
            rows.extend(own)
            counts.extend(self._counts[term])
        repeated = np.repeat(hashes, [len(own) for own in self._rows.values()])
        return repeated, np.array(rows, dtype=np.int32), np.frombuffer(bytes(counts), dtype=np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return sum(5 * len(rows) + 200 for rows in self._rows.values())


class MappedPostings:
    """Postings that stay as they are: sorted term hashes, and the rows of each term side by side."""

    def __init__(self, hashes: NDArray[np.uint64], starts: NDArray[np.int64], rows: Rows, counts: Counts) -> None:
        self._hashes, self._starts, self._rows, self._counts = hashes, starts, rows, counts

    def lookup(self, term: str) -> tuple[Rows, Counts] | None:
        """Rows that hold the term, ascending, and how often; None where no row does."""
        wanted = np.uint64(term_hash(term))
        place = int(np.searchsorted(self._hashes, wanted))
        if place == len(self._hashes) or self._hashes[place] != wanted:
            return None
        low, high = self._starts[place], self._starts[place + 1]
        return self._rows[low:high], self._counts[low:high]

    def entries(self) -> tuple[NDArray[np.uint64], Rows, Counts]:
        """Every posting as (term hash, row, count), ordered by hash, then row."""
        return np.repeat(self._hashes, np.diff(self._starts)), self._rows, self._counts


def pack(hashes: NDArray[np.uint64], rows: Rows, counts: Counts) -> dict[str, NDArray[np.generic]]:
    """The arrays of `MappedPostings` from postings in any order (several parts made one)."""
    order = np.lexsort((rows, hashes))
    hashes, rows, counts = hashes[order], rows[order], counts[order]
    firsts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1]))) if len(hashes) else np.zeros(0, int)
    return {
        "term_hashes": hashes[firsts],
        "term_starts": np.concatenate((firsts, [len(hashes)])).astype(np.int64),
        "term_rows": rows,
        "term_counts": counts,
    }
