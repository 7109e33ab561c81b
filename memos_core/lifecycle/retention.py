"""Which items of a cube have had their time: expired, too old, or too many."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import numpy as np

from memos_core.filters import F
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.moments import Look
from memos_core.stores.index.rows import NEVER, STATES
from memos_core.types.cube_policy import CubePolicy
from memos_core.types.items import PINNED, LifecycleState
from memos_core.types.work import micros

_LIVING: Final = frozenset({LifecycleState.GENERATED, LifecycleState.ACTIVATED})


def overdue(index: CubeIndex, policy: CubePolicy, now: datetime) -> dict[str, list[int]]:
    """The changes that made the items which have had their time, by why: "expired", "max_age", "max_items".

    Frozen items and those tagged "pinned" are spared, except that what has expired has expired.

    Args:
        index: of the cube, caught up and locked.
        policy: of the cube.
        now: the time.
    """
    table = index.table
    every = index.moment(None, Look(states=_LIVING), unindexed=True).rows
    expired = every[(table["expires"][every] != NEVER) & (table["expires"][every] <= micros(now))]
    living = np.setdiff1d(every, expired)
    pinned = index.matching(F.tags.contains(PINNED), living)
    spared = np.setdiff1d(living, pinned)
    old = np.zeros(0, dtype=np.int64)
    if policy.max_age_days is not None:
        limit = micros(now - timedelta(days=policy.max_age_days))
        old = spared[table["created"][spared] < limit]
    many = np.zeros(0, dtype=np.int64)
    if policy.max_items is not None:
        rest = np.setdiff1d(spared, old)
        rest = rest[table["state"][rest] == STATES.index(LifecycleState.ACTIVATED)]
        frozen = index.moment(None, Look(states=frozenset({LifecycleState.FROZEN})), unindexed=True).rows
        over = len(rest) + len(pinned) + len(frozen) - policy.max_items
        by_age = rest[np.lexsort((table["seq"][rest], table["created"][rest]))]
        many = by_age[: max(0, over)]
    found = {"expired": expired, "max_age": old, "max_items": many}
    return {why: table["seq"][rows].tolist() for why, rows in found.items() if len(rows)}
