"""A moment of a cube: which rows live, which stands next to which, and the statistics of just those."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.people import People
from memos_core.stores.index.rows import ALIVE, STATES, RowTable, Threads, order
from memos_core.types.items import LifecycleState

Rows = NDArray[np.int64]
FINDABLE: Final = frozenset({LifecycleState.ACTIVATED, LifecycleState.FROZEN})


class Moment(msgspec.Struct):
    """The rows that can be found at one moment.

    Attributes:
        as_of: number of the change; None for now.
        rows: their numbers, ascending.
        mask: for every row of the index whether it is among them.
        before, after: for every row the one next to it in its conversation or document; -1 for none.
        average_length: mean number of meaningful terms of these rows; 1.0 where there are none.
        rarity: how rare the words of each row are, as far as somebody has asked (nan: not yet).
        people: the speakers that were known, once somebody has asked.
    """

    as_of: int | None
    rows: Rows
    mask: NDArray[np.bool_]
    before: NDArray[np.int32]
    after: NDArray[np.int32]
    average_length: float
    rarity: NDArray[np.float32] | None = None
    people: People | None = None


def moment(
    table: RowTable,
    threads: Threads,
    as_of: int | None = None,
    states: Iterable[LifecycleState] = FINDABLE,
    *,
    unindexed: bool = False,
) -> Moment:
    """The moment after change `as_of` (None: now).

    Args:
        states: only items in these.
        unindexed: whether items that no search may find are among them (to list them).
    """
    until = table["until"]
    alive = until == ALIVE if as_of is None else (table["seq"] <= as_of) & (until > as_of)
    wanted = np.isin(table["state"], [STATES.index(state) for state in states])
    mask = alive & wanted if unindexed else alive & wanted & (table["indexed"] == 1)
    rows = np.flatnonzero(mask)
    if as_of is None and len(rows) == int(alive.sum()):
        before, after = threads.now()
    else:
        before, after, _ = order(table, rows)
    lengths = table["length"][rows]
    average = float(lengths.mean()) if len(rows) and lengths.any() else 1.0
    return Moment(as_of, rows, mask, before, after, average)
