"""Which rows hold a term, and how often: sorted arrays, in memory for the newest rows, mapped from a file for the others.

A term is 64 bits of its hash; the upper half alone names it where the terms of a row are listed. In a cube of a
hundred thousand different terms two may have one name: whoever asks by name is answered for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.growing import Ragged

Rows = NDArray[np.int32]
Counts = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Names = NDArray[np.uint32]
Starts = NDArray[np.int64]
Run = tuple[Hashes, Starts, Rows, Counts]
_GATHERED = 1 << 20
_ALIKE = 2  # a run becomes one with the next when it is less than so many times as long
_MOST = 255  # occurrences of one term in one text that are told apart


def term_hash(term: str) -> int:
    """64 bits that stand for a term in files: the same on every machine, and the term cannot be read from it."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


def term_name(term: str) -> int:
    """The 32 bits that name a term where the terms of a row are listed."""
    return term_hash(term) >> 32


class TailPostings:
    """Postings that grow. Rows are numbered from 0 within their part and are added in order.

    What is added lies in runs, each like the postings of a file. When somebody asks, runs that are about as long as those
    behind them become one with them: so few have to be looked into, however often little is added.
    """

    def __init__(self) -> None:
        self._runs: list[SortedPostings] = []
        self._rows = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(run.nbytes for run in self._runs)

    def add(self, terms: NDArray[np.int64], starts: NDArray[np.int64], hashes: Hashes) -> Ragged:
        """Add rows.

        Args:
            terms: numbers of the terms of all rows, row after row, repeated as often as they occur.
            starts: (rows + 1,) where each row's terms begin; the last one is where they all end.
            hashes: of each term, by number.

        Returns:
            The names of the distinct terms of each row, in order of first appearance.
        """
        rows = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
        # Sorting (term, place) as one number puts equal terms together, row by row, the first of each row before the others.
        bits = np.int64(len(terms).bit_length())
        keys = (terms << bits) | np.arange(len(terms))
        keys.sort()
        places = keys & ((1 << bits) - 1)
        sorted_terms, sorted_rows = keys >> bits, rows[places]
        new_term = _changes(sorted_terms)
        firsts = np.flatnonzero(new_term | _changes(sorted_rows))
        counts = np.minimum(np.diff(np.append(firsts, len(terms))), _MOST).astype(np.uint8)
        term_starts = np.flatnonzero(new_term[firsts])
        own_hashes = hashes[sorted_terms[firsts][term_starts]]
        by_hash = np.argsort(own_hashes)
        term_rows = (sorted_rows[firsts] + self._rows).astype(np.int32)
        postings = Ragged(np.append(term_starts, len(firsts)), {"rows": term_rows, "counts": counts}).take(by_hash)
        self._rows += len(starts) - 1
        if len(firsts):
            entries = postings.entries
            run = SortedPostings(own_hashes[by_hash], postings.starts, entries["rows"], entries["counts"], self._rows)
            self._runs.append(run)
        distinct = np.zeros(len(terms), dtype=np.bool_)
        distinct[places[firsts]] = True
        ends = np.concatenate(([0], np.cumsum(distinct)))
        return Ragged(ends[starts], {"names": (hashes[terms[distinct]] >> np.uint64(32)).astype(np.uint32)})

    def lookup(self, wanted: int) -> tuple[Rows, Counts] | None:
        """Rows that hold the term of a hash, ascending, and how often; None where no row does."""
        return _after_each_other([run.lookup(wanted) for run in self._settled()])

    def named(self, name: int) -> tuple[Rows, Counts] | None:
        """As `lookup`, for the terms of a name."""
        return _after_each_other([run.named(name) for run in self._settled()])

    def held(self, names: Names, until: int) -> NDArray[np.int64]:
        """How many of the first `until` rows hold each of these terms."""
        counts = np.zeros(len(names), dtype=np.int64)
        for run in self._settled():
            counts += run.held(names, until)
        return counts

    def runs(self) -> list[Run]:
        """The arrays of its runs, the rows of each behind those of the one before."""
        return [each for run in self._runs for each in run.runs()]

    def _settled(self) -> list[SortedPostings]:
        runs = self._runs
        while len(runs) > 1 and len(runs[-2]) < _ALIKE * len(runs[-1]):
            joined = join([each for run in runs[-2:] for each in run.runs()])
            runs[-2:] = [SortedPostings(*joined, self._rows)]
        return runs


class SortedPostings:
    """Postings that stay as they are: sorted term hashes, and the rows of each term side by side."""

    def __init__(self, hashes: Hashes, starts: Starts, rows: Rows, counts: Counts, part_rows: int) -> None:
        self._part_rows = part_rows
        self._hashes, self._starts, self._rows, self._counts = hashes, starts, rows, counts
        self._names = (hashes >> np.uint64(32)).astype(np.uint32)

    def lookup(self, wanted: int) -> tuple[Rows, Counts] | None:
        """Rows that hold the term of a hash, ascending, and how often; None where no row does."""
        place = int(self._hashes.searchsorted(np.uint64(wanted)))
        if place == len(self._hashes) or int(self._hashes[place]) != wanted:
            return None
        low, high = self._starts[place], self._starts[place + 1]
        return self._rows[low:high], self._counts[low:high]

    def named(self, name: int) -> tuple[Rows, Counts] | None:
        """As `lookup`, for the terms of a name."""
        first = int(self._names.searchsorted(np.uint32(name)))
        if first == len(self._names) or self._names[first] != name:
            return None
        last = int(self._names.searchsorted(np.uint32(name), "right"))
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

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, where it is not mapped from a file."""
        return sum(each.nbytes for each in (self._hashes, self._starts, self._rows, self._counts, self._names))

    def runs(self) -> list[Run]:
        """Its arrays, as the one run that it is."""
        return [(self._hashes, self._starts, self._rows, self._counts)]


def _changes(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """For each value whether it is another one than that before it."""
    found = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=found[1:])
    return found


def _after_each_other(found: list[tuple[Rows, Counts] | None]) -> tuple[Rows, Counts] | None:
    there = [one for one in found if one is not None]
    if len(there) < 2:
        return there[0] if there else None
    rows, counts = zip(*there, strict=True)
    return np.concatenate(rows), np.concatenate(counts)


def _joined(rows: Rows, counts: Counts) -> tuple[Rows, Counts]:
    """Postings of several terms as if they were one: rows ascending, each once."""
    distinct, places = np.unique(rows, return_inverse=True)
    summed = np.bincount(places, counts, minlength=len(distinct))
    return distinct, np.minimum(summed, _MOST).astype(np.uint8)


def moved(run: Run, to: Rows) -> Run:
    """A run with other numbers of rows: `to` has one for each row, -1 for those that are left out."""
    hashes, starts, rows, counts = run
    rows = to[rows]
    there = rows >= 0
    if not there.all():
        starts = np.concatenate(([0], np.cumsum(there)))[starts]
        rows, counts = rows[there], counts[there]
    return hashes, starts, rows, counts


def join(runs: Sequence[Run]) -> Run:
    """One run out of several, no two of which have a row in common."""
    hashes = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *(run[0] for run in runs)]))
    terms = [np.searchsorted(hashes, run[0]) for run in runs]
    lengths = np.zeros(len(hashes), dtype=np.int64)
    for own, run in zip(terms, runs, strict=True):
        lengths[own] += np.diff(run[1])
    starts = np.concatenate(([0], np.cumsum(lengths)))
    rows, counts = np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1], dtype=np.uint8)
    free = starts[:-1].copy()  # where the next run's rows of each term go
    for own, (_, run_starts, run_rows, run_counts) in zip(terms, runs, strict=True):
        many = np.diff(run_starts)
        places = np.repeat(free[own] - run_starts[:-1], many) + np.arange(len(run_rows))
        rows[places], counts[places] = run_rows, run_counts
        free[own] += many
    filled = lengths > 0
    hashes, starts = hashes[filled], np.append(starts[:-1][filled], starts[-1])
    _sort_within(starts, rows, counts)
    return hashes, starts, rows, counts


def _sort_within(starts: Starts, rows: Rows, counts: Counts) -> None:
    """Have the rows of each term ascend, in place. They do already unless rows of one part belong between another's."""
    falling = rows[1:] < rows[:-1]
    falling[starts[1:-1] - 1] = False
    if falling.any():
        keys = (np.repeat(np.arange(len(starts) - 1), np.diff(starts)) << 32) | rows
        order = np.argsort(keys, kind="stable")
        rows[:], counts[:] = rows[order], counts[order]
