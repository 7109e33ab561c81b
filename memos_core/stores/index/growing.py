"""Arrays that grow by doubling, and lists of unequal length kept in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def first_moved(rows: Array) -> int:
    """How many of these row numbers, from the first on, are what they count: 0, 1, 2 …"""
    moved = np.flatnonzero(rows != np.arange(len(rows)))
    return int(moved[0]) if len(moved) else len(rows)


class Growing:
    """An array (rows, *width) to which rows are added at the end; `view` is what has been added so far."""

    def __init__(self, dtype: DTypeLike, width: tuple[int, ...] = (), first: Array | None = None) -> None:
        self._data = np.empty((0, *width), dtype=dtype) if first is None else np.array(first, dtype=dtype)
        self.rows = len(self._data)

    @property
    def view(self) -> Array:
        """The rows added so far, not a copy."""
        return self._data[: self.rows]

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return int(self._data.nbytes)

    def extend(self, values: Array) -> None:
        """Add rows at the end."""
        needed = self.rows + len(values)
        if needed > len(self._data):
            grown = np.empty((max(needed, 2 * len(self._data), 16), *self._data.shape[1:]), dtype=self._data.dtype)
            grown[: self.rows] = self.view
            self._data = grown
        self._data[self.rows : needed] = values
        self.rows = needed

    def reorder(self, rows: Array) -> None:
        """Keep only these rows, in this order."""
        first = first_moved(rows)
        self._data[first : len(rows)] = self._data[rows[first:]]
        self.rows = len(rows)

    def replace(self, values: Array) -> None:
        """Take these rows in place of all that were there."""
        self._data = np.array(values, dtype=self._data.dtype)
        self.rows = len(self._data)


class Ragged:
    """For each row a list of entries; the entries of all rows side by side in a few parallel arrays.

    Attributes:
        starts: (rows + 1,) where each row's entries begin; the last one is where they all end.
        entries: the parallel arrays, by name.
    """

    def __init__(self, starts: Array, entries: Mapping[str, Array]) -> None:
        self.starts = starts
        self.entries = dict(entries)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def places(self, rows: Array) -> tuple[Array, Array]:
        """Places of the entries of these rows, one row after the other, and where each row's places begin (rows,)."""
        low = self.starts[rows]
        counts = self.starts[rows + 1] - low
        begins = np.cumsum(counts) - counts
        places = np.arange(int(counts.sum()), dtype=np.int64) + np.repeat(low - begins, counts)
        return places, begins

    def take(self, rows: Array) -> Ragged:
        """Only these rows, in this order."""
        if len(rows) == len(self) and first_moved(rows) == len(rows):
            return self
        places, begins = self.places(rows)
        starts = np.append(begins, len(places)).astype(np.int64)
        return Ragged(starts, {name: values[places] for name, values in self.entries.items()})


def join(parts: list[Ragged]) -> Ragged:
    """The rows of several, one after the other. There must be at least one."""
    if len(parts) == 1:
        return parts[0]
    shifts = np.cumsum([0, *(int(part.starts[-1]) for part in parts)])
    starts = [part.starts[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
    names = parts[0].entries
    return Ragged(
        np.append(np.concatenate(starts), shifts[-1]).astype(np.int64),
        {name: np.concatenate([part.entries[name] for part in parts]) for name in names},
    )


class GrowingRagged:
    """A `Ragged` to which rows are added at the end."""

    def __init__(self, entries: Mapping[str, Growing]) -> None:
        self._starts = Growing(np.int64, first=np.zeros(1, dtype=np.int64))
        self._entries = dict(entries)

    def add(self, rows: Ragged) -> None:
        """Add rows at the end."""
        self._starts.extend(rows.starts[1:] + self._starts.view[-1])
        for name, values in rows.entries.items():
            self._entries[name].extend(values)

    @property
    def view(self) -> Ragged:
        """The rows added so far, not a copy."""
        return Ragged(self._starts.view, {name: grown.view for name, grown in self._entries.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self._starts.nbytes + sum(grown.nbytes for grown in self._entries.values())
