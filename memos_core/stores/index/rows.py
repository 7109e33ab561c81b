"""What the index knows of every row in plain columns, and which row stands before and after which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.growing import Growing, first_moved
from memos_core.types.items import LifecycleState

Array = NDArray[Any]
Rows = NDArray[np.int64]

ALIVE: Final = int(np.iinfo(np.int64).max)
NEVER: Final = ALIVE
NONE: Final = -1
STATES: Final = tuple(LifecycleState)

# seq: the change that made the row; until: the change that ended it (ALIVE: none has); vectors_of: the change that holds
# its vectors (0: none); length: meaningful terms; timed: whether a time or number is said; expires: NEVER where it does not;
# private: to whom; the rest as in MemoryItem, names as numbers (NONE: has none), times in microseconds.
COLUMNS: Final = {
    "seq": np.int64,
    "until": np.int64,
    "item": np.int64,
    "state": np.uint8,
    "indexed": np.uint8,
    "conversation": np.int32,
    "position": np.int64,
    "speaker": np.int32,
    "occurred": np.int64,
    "created": np.int64,
    "updated": np.int64,
    "vectors_of": np.int64,
    "length": np.int32,
    "salience": np.float32,
    "timed": np.uint8,
    "expires": np.int64,
    "private": np.int32,
}


class Names:
    """Strings as numbers, in order of first appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str | None) -> int:
        """The number of a name, a new one where it has none yet; NONE for None."""
        if name is None:
            return NONE
        known = self._numbers.get(name)
        if known is None:
            known = self._numbers[name] = len(self.names)
            self.names.append(name)
        return known

    def find(self, name: str) -> int:
        """The number of a name; NONE where no row bears it."""
        return self._numbers.get(name, NONE)


class RowTable:
    """The plain columns, all parts of the index one after the other."""

    def __init__(self) -> None:
        self._columns = {name: Growing(dtype) for name, dtype in COLUMNS.items()}
        self._row_of = np.full(64, NONE, dtype=np.int32)  # row of each change, by its number
        self.conversations = Names()
        self.speakers = Names()
        self.readers = Names()  # of private rows

    def __len__(self) -> int:
        return self._columns["seq"].rows

    def __getitem__(self, name: str) -> Array:
        return self._columns[name].view

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return (
            sum(column.nbytes for column in self._columns.values())
            + self._row_of.nbytes
            + 100 * len(self.conversations.names)
        )

    def extend(self, values: Mapping[str, Array]) -> None:
        """Add rows at the end: one array for each column."""
        first = len(self)
        for name, column in self._columns.items():
            column.extend(values[name])
        self._place(self["seq"][first:], first)

    def reorder(self, rows: Rows) -> None:
        """Keep only these rows, in this order."""
        first = first_moved(rows)
        self._row_of[self["seq"][first:]] = NONE
        for column in self._columns.values():
            column.reorder(rows)
        self._place(self["seq"][first:], first)

    def _place(self, seqs: Array, first: int) -> None:
        highest = int(seqs.max(initial=0))
        if highest >= len(self._row_of):
            grown = np.full(max(highest + 1, 2 * len(self._row_of)), NONE, dtype=np.int32)
            grown[: len(self._row_of)] = self._row_of
            self._row_of = grown
        self._row_of[seqs] = np.arange(first, first + len(seqs), dtype=np.int32)

    def row_of(self, seq: int) -> int:
        """The row that a change made; NONE where it made none."""
        return int(self._row_of[seq]) if seq < len(self._row_of) else NONE

    def rows_of(self, seqs: Array) -> Rows:
        """The rows that these changes made; those that made none are left out."""
        rows = self._row_of[seqs[seqs < len(self._row_of)]].astype(np.int64)
        known: Rows = rows[rows != NONE]
        return known

    def end(self, seqs: Array, at: Array | int) -> None:
        """Mark the rows of these changes as ended by a later change."""
        known = (seqs < len(self._row_of)) & (self._row_of[np.minimum(seqs, len(self._row_of) - 1)] != NONE)
        self["until"][self._row_of[seqs[known]]] = at if isinstance(at, int) else at[known]


class Threads:
    """For every living row the one before and after it in its conversation (or document).

    Adding at the end, replacing and removing are done in place; anything else has the whole order made anew when it is
    next asked for.
    """

    def __init__(self, table: RowTable) -> None:
        self._table = table
        self._before = Growing(np.int32)
        self._after = Growing(np.int32)
        self._last: dict[int, int] = {}
        self._stale = False

    def add(self, replaces: Mapping[int, int]) -> None:
        """Rows were added at the end of the table.

        Args:
            replaces: for those that are the next version of a row, that row.
        """
        first = self._before.rows
        added = np.full(len(self._table) - first, NONE, dtype=np.int32)
        self._before.extend(added)
        self._after.extend(added)
        for row in range(first, len(self._table)):
            if self._stale:
                return
            self._add(row, replaces.get(row, NONE))

    def _add(self, row: int, replaces: int) -> None:
        conversation, position = self._table["conversation"], self._table["position"]
        before, after = self._before.view, self._after.view
        own = int(conversation[row])
        if replaces != NONE:
            if conversation[replaces] == own and position[replaces] == position[row]:
                before[row], after[row] = before[replaces], after[replaces]
                if before[row] != NONE:
                    after[before[row]] = row
                if after[row] != NONE:
                    before[after[row]] = row
                elif own != NONE:
                    self._last[own] = row
                before[replaces] = after[replaces] = NONE
                return
            self.remove(replaces)
        if own == NONE:
            return
        last = self._last.get(own, NONE)
        item = self._table["item"]
        if last != NONE and (position[last], item[last]) > (position[row], item[row]):
            self._stale = True
            return
        if last != NONE:
            before[row], after[last] = last, row
        self._last[own] = row

    def remove(self, row: int) -> None:
        """A row lives no longer."""
        if self._stale:
            return
        before, after = self._before.view, self._after.view
        earlier, later = int(before[row]), int(after[row])
        own = int(self._table["conversation"][row])
        if earlier != NONE:
            after[earlier] = later
        if later != NONE:
            before[later] = earlier
        elif own != NONE:
            if earlier != NONE:
                self._last[own] = earlier
            else:
                self._last.pop(own, None)
        before[row] = after[row] = NONE

    def forget(self) -> None:
        """The table is another one."""
        self._stale = True

    def reorder(self, rows: Rows) -> None:
        """All rows were put in this order."""
        first = first_moved(rows)
        if self._stale or first == len(rows):
            return
        place_of = np.arange(len(rows), dtype=np.int32)
        place_of[rows] = np.arange(len(rows), dtype=np.int32)
        for pointers in (self._before, self._after):
            pointers.reorder(rows)
            view = pointers.view
            moved = np.flatnonzero(view >= first)
            view[moved] = place_of[view[moved]]
        self._last = {conversation: int(place_of[row]) for conversation, row in self._last.items()}

    def now(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(before, after) of every row, NONE where there is none or the row is dead."""
        if self._stale:
            living = np.flatnonzero(self._table["until"] == ALIVE)
            before, after, ends = order(self._table, living)
            self._before.replace(before)
            self._after.replace(after)
            conversations = self._table["conversation"]
            self._last = {int(conversations[row]): int(row) for row in ends}
            self._stale = False
        return self._before.view, self._after.view


def order(table: RowTable, living: Rows) -> tuple[NDArray[np.int32], NDArray[np.int32], Rows]:
    """(before, after) of every row and the last rows of all conversations, when just these rows live."""
    before = np.full(len(table), NONE, dtype=np.int32)
    after = np.full(len(table), NONE, dtype=np.int32)
    conversation, position = table["conversation"], table["position"]
    rows = living[conversation[living] != NONE]
    if not len(rows):
        return before, after, rows
    # two at one place: the one that was there first stays first, whichever of them was changed since
    rows = rows[np.lexsort((table["item"][rows], position[rows], conversation[rows]))]
    same = conversation[rows][1:] == conversation[rows][:-1]
    before[rows[1:][same]] = rows[:-1][same]
    after[rows[:-1][same]] = rows[1:][same]
    return before, after, rows[np.append(~same, True)]
