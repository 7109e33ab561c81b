"""Which rows hold a term, and how often: in memory for the newest rows, mapped from a file for the others.

In files a term is 64 bits of its hash; the upper half alone names it where the terms of a row are listed. In a cube of a
hundred thousand different terms two may have one name: whoever asks by name is answered for both.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]
Counts = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Names = NDArray[np.uint32]
_GATHERED = 1 << 20
_MOST = 255  # occurrences of one term in one text that are told apart


def term_hash(term: str) -> int:
    """64 bits that stand for a term in files: the same on every machine, and the term cannot be read from it."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


def term_name(term: str) -> int:
    """The 32 bits that name a term where the terms of a row are listed."""
    return term_hash(term) >> 32


class TailPostings:
    """Postings that grow. Rows are numbered from 0 within their part and are added in order."""

    def __init__(self) -> None:
        self._rows: dict[int, array[int]] = {}
        self._counts: dict[int, bytearray] = {}
        self._hashes: dict[str, int] = {}
        self._by_name: dict[int, int] = {}
        self._twins: dict[int, list[int]] = {}  # further hashes with the same name
        self.nbytes = 0  # of memory, roughly

    def add(self, row: int, terms: Iterable[str]) -> Names:
        """Add the terms of a row, repeated as often as they occur; returns the names of the distinct ones."""
        rows, counts, hashes = self._rows, self._counts, self._hashes
        names = []
        for term, count in Counter(terms).items():
            own = hashes.get(term)
            if own is None:
                own = hashes[term] = term_hash(term)
                if self._by_name.setdefault(own >> 32, own) != own:
                    self._twins.setdefault(own >> 32, []).append(own)
                rows[own] = array("i", (row,))
                counts[own] = bytearray((min(count, _MOST),))
                self.nbytes += 500
            else:
                rows[own].append(row)
                counts[own].append(min(count, _MOST))
            names.append(own >> 32)
        self.nbytes += 5 * len(names)
        return np.array(names, dtype=np.uint32)

    def lookup(self, wanted: int) -> tuple[Rows, Counts] | None:
        """Rows that hold the term of a hash, ascending, and how often; None where no row does."""
        rows = self._rows.get(wanted)
        if rows is None:
            return None
        return np.array(rows, dtype=np.int32), np.frombuffer(bytes(self._counts[wanted]), dtype=np.uint8)

    def named(self, name: int) -> tuple[Rows, Counts] | None:
        """As `lookup`, for the terms of a name."""
        full = self._by_name.get(name)
        if full is None or name not in self._twins:
            return None if full is None else self.lookup(full)
        each = [self.lookup(own) for own in (full, *self._twins[name])]
        rows, counts = zip(*(one for one in each if one is not None), strict=True)
        return _joined(np.concatenate(rows), np.concatenate(counts))

    def held(self, names: Names, until: int) -> NDArray[np.int64]:
        """How many of the first `until` rows hold each of these terms."""
        counts = np.zeros(len(names), dtype=np.int64)
        for place, name in enumerate(names.tolist()):
            full = self._by_name.get(name)
            if full is not None:
                for own in (full, *self._twins.get(name, ())):
                    rows = self._rows[own]
                    counts[place] += len(rows) if rows[-1] < until else bisect_left(rows, until)
        return counts

    def entries(self) -> tuple[Hashes, Rows, Counts]:
        """Every posting as (term hash, row, count), term by term."""
        rows: array[int] = array("i")
        counts = bytearray()
        for full, own in self._rows.items():
            rows.extend(own)
            counts.extend(self._counts[full])
        lengths = [len(own) for own in self._rows.values()]
        hashes = np.repeat(np.array(list(self._rows), dtype=np.uint64), lengths)
        return hashes, np.array(rows, dtype=np.int32), np.frombuffer(bytes(counts), dtype=np.uint8)


class MappedPostings:
    """Postings that stay as they are: sorted term hashes, and the rows of each term side by side."""

    def __init__(self, hashes: Hashes, starts: NDArray[np.int64], rows: Rows, counts: Counts, part_rows: int) -> None:
        self._part_rows = part_rows
        self._hashes, self._starts, self._rows, self._counts = hashes, starts, rows, counts
        self._names = (hashes >> np.uint64(32)).astype(np.uint32)

    def lookup(self, wanted: int) -> tuple[Rows, Counts] | None:
        """Rows that hold the term of a hash, ascending, and how often; None where no row does."""
        place = int(np.searchsorted(self._hashes, np.uint64(wanted)))
        if place == len(self._hashes) or int(self._hashes[place]) != wanted:
            return None
        low, high = self._starts[place], self._starts[place + 1]
        return self._rows[low:high], self._counts[low:high]

    def named(self, name: int) -> tuple[Rows, Counts] | None:
        """As `lookup`, for the terms of a name."""
        first, last = (int(np.searchsorted(self._names, np.uint32(name), side)) for side in ("left", "right"))
        if first == last:
            return None
        low, high = self._starts[first], self._starts[last]
        rows, counts = self._rows[low:high], self._counts[low:high]
        return (rows, counts) if last - first == 1 else _joined(rows, counts)

    def held(self, names: Names, until: int) -> NDArray[np.int64]:
        """How many of the first `until` rows hold each of these terms."""
        counts = np.zeros(len(names), dtype=np.int64)
        if not len(self._names) or until <= 0:
            return counts
        places = np.minimum(np.searchsorted(self._names, names), len(self._names) - 1)
        known = np.flatnonzero(self._names[places] == names)
        first = places[known]
        last = np.searchsorted(self._names, names[known], side="right")
        counts[known] = self._starts[last] - self._starts[first]
        if until < self._part_rows:
            counts[known] = self._before(first, last, until)
        return counts

    def _before(self, first: NDArray[np.int64], last: NDArray[np.int64], until: int) -> NDArray[np.int64]:
        """How many rows below a number there are in the postings of each of these stretches of terms."""
        low = self._starts[first]
        lengths = self._starts[last] - low
        begins = np.cumsum(lengths) - lengths
        if int(lengths.sum()) > _GATHERED:  # looking into each term's rows is cheaper than copying them all
            found = [sum(map(self._below(until), range(a, b))) for a, b in zip(first, last, strict=True)]
            return np.array(found, dtype=np.int64)
        places = np.arange(int(lengths.sum())) + np.repeat(low - begins, lengths)
        below = (self._rows[places] < until).astype(np.int64)
        return np.add.reduceat(below, begins) if len(below) else lengths

    def _below(self, until: int) -> Callable[[int], int]:
        return lambda term: int(np.searchsorted(self._rows[self._starts[term] : self._starts[term + 1]], until))

    def entries(self) -> tuple[Hashes, Rows, Counts]:
        """Every posting as (term hash, row, count), ordered by hash, then row."""
        return np.repeat(self._hashes, np.diff(self._starts)), self._rows, self._counts


def _joined(rows: Rows, counts: Counts) -> tuple[Rows, Counts]:
    """Postings of several terms as if they were one: rows ascending, each once."""
    distinct, places = np.unique(rows, return_inverse=True)
    summed = np.bincount(places, counts, minlength=len(distinct))
    return distinct, np.minimum(summed, _MOST).astype(np.uint8)


def pack(hashes: Hashes, rows: Rows, counts: Counts) -> dict[str, NDArray[np.generic]]:
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
