"""A moment of a cube, as somebody sees it: which rows live, which stands next to which, and the statistics of just those."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.people import People
from memos_core.stores.index.rows import ALIVE, NEVER, NONE, STATES, RowTable, Threads, order
from memos_core.types.items import LifecycleState

Rows = NDArray[np.int64]
FINDABLE: Final = frozenset({LifecycleState.ACTIVATED, LifecycleState.FROZEN})
ALWAYS: Final = -(1 << 62)


class Look(msgspec.Struct, frozen=True):
    """Whose eyes look at a cube, when, and for what.

    Attributes:
        reader: the actor, from whom private items of others are hidden; None: somebody who sees everything.
        states: only items in these.
        at: microseconds since 1970: what has expired by then is not seen; None: whatever has not been deleted.
    """

    reader: str | None = None
    states: frozenset[LifecycleState] = FINDABLE
    at: int | None = None


EVERYTHING: Final = Look()


class Moment(msgspec.Struct):
    """The rows that can be found at one moment.

    Attributes:
        as_of: number of the change; None for now.
        rows: their numbers, ascending.
        mask: for every row of the index whether it is among them.
        before, after: for every row the one next to it in its conversation or document; -1 for none.
        average_length: mean number of meaningful terms of these rows; 1.0 where there are none.
        reader: whose eyes; None: they see everything.
        hidden: rows made up to the moment, living or not, that these eyes may not see.
        since, until: it holds for looks from one time up to (not including) another, in microseconds.
        rarity: how rare the words of each row are, as far as somebody has asked (nan: not yet).
        people: the speakers that were known, once somebody has asked.
    """

    as_of: int | None
    rows: Rows
    mask: NDArray[np.bool_]
    before: NDArray[np.int32]
    after: NDArray[np.int32]
    average_length: float
    reader: str | None = None
    hidden: Rows = np.zeros(0, dtype=np.int64)
    since: int = ALWAYS
    until: int = NEVER
    rarity: NDArray[np.float32] | None = None
    people: People | None = None


def moment(
    table: RowTable, threads: Threads, as_of: int | None = None, look: Look = EVERYTHING, *, unindexed: bool = False
) -> Moment:
    """The moment after change `as_of` (None: now), as somebody sees it.

    Args:
        unindexed: whether items that no search may find are among them (to list them).
    """
    until = table["until"]
    alive = until == ALIVE if as_of is None else (table["seq"] <= as_of) & (until > as_of)
    wanted = np.isin(table["state"], [STATES.index(state) for state in look.states])
    mask = alive & wanted if unindexed else alive & wanted & (table["indexed"] == 1)
    hidden = hidden_rows(table, look.reader)
    mask[hidden] = False
    since, ends = _without_expired(mask, table["expires"], look.at)
    rows = np.flatnonzero(mask)
    if as_of is None:
        before, after = threads.now()
        if len(rows) < int(alive.sum()):
            before, after = _passing_over(before, mask), _passing_over(after, mask)
    else:
        before, after, _ = order(table, rows)
    lengths = table["length"][rows]
    average = float(lengths.mean()) if len(rows) and lengths.any() else 1.0
    if as_of is not None:
        hidden = hidden[table["seq"][hidden] <= as_of]
    return Moment(as_of, rows, mask, before, after, average, look.reader, hidden, since, ends)


def hidden_rows(table: RowTable, reader: str | None) -> Rows:
    """The rows of versions that an actor may not see, ascending.

    Those are private to somebody else, or older than one that is: who makes an item private hides its past with it.
    """
    private = table["private"]
    if reader is None or not table.readers.names:
        return np.zeros(0, dtype=np.int64)
    foreign = np.flatnonzero((private != NONE) & (private != table.readers.find(reader)))
    if not len(foreign):
        return foreign
    items, seqs = table["item"], table["seq"]
    owners, place = np.unique(items[foreign], return_inverse=True)
    newest = np.zeros(len(owners), dtype=np.int64)
    np.maximum.at(newest, place, seqs[foreign])
    own = np.flatnonzero(np.isin(items, owners))
    hidden: Rows = own[seqs[own] <= newest[np.searchsorted(owners, items[own])]]
    return hidden


def _passing_over(pointers: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Pointers from row to row that pass over rows outside of a mask. Runs of those shrink by half each time around."""
    found = pointers.copy()
    while True:
        off = np.flatnonzero((found != NONE) & ~mask[found])
        if not len(off):
            found[~mask] = NONE
            return found
        found[off] = found[found[off]]


def _without_expired(mask: NDArray[np.bool_], expires: NDArray[np.int64], at: int | None) -> tuple[int, int]:
    """Take rows that have expired by a time out of a mask; from when until when the answer is the same."""
    if at is None:
        return ALWAYS, NEVER
    mortal = np.flatnonzero(mask & (expires != NEVER))
    if not len(mortal):
        return ALWAYS, NEVER
    gone = expires[mortal] <= at
    mask[mortal[gone]] = False
    since = int(expires[mortal[gone]].max(initial=ALWAYS))
    return since, int(expires[mortal[~gone]].min(initial=NEVER))
