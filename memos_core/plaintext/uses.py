"""Uses as ranking sees them: what is counted for the items of each cube, kept in memory, followed like a change log."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos_core.lifecycle.activation import Doubles, base_levels, likelihoods
from memos_core.protocols.storage import RecordStore
from memos_core.types.work import CubeRow

_PAST: Final = 8  # earlier countings kept for each cube, for the later pages of a search
_STALE: Final = 30.0  # seconds: where commits of others that only count are not told, they are asked for so often
_CUBES: Final = 256
_MINUTE: Final = 60_000_000  # microseconds
_ALL: Final = 20


class Counted:
    """The uses of a cube's items, as they were counted at one time.

    Args:
        changed: which writing of them was the newest.
        items: (things,) the store's own numbers of the items, ascending.
        numbers: (things, 4) the fields of `Use`.
    """

    def __init__(self, changed: int, items: NDArray[np.int64], numbers: Doubles) -> None:
        self.changed = changed
        self._items = items
        self._numbers = numbers
        self._known: tuple[int, Doubles] | None = None  # likelihoods of all of them, in some minute

    def __len__(self) -> int:
        return len(self._items)

    def likelihoods(self, items: NDArray[np.int64], at: int) -> Doubles:
        """How likely each of these items is to be needed again, by its uses: 0 for those never used.

        Args:
            items: the store's own numbers of them.
            at: microseconds since 1970; the same all through a minute.
        """
        found = np.zeros(len(items))
        if not len(self._items):
            return found
        places = np.minimum(np.searchsorted(self._items, items), len(self._items) - 1)
        used = self._items[places] == items
        minute = at // _MINUTE
        if len(self._items) <= _ALL * len(items):  # of few that are asked about among many, those alone are worked out
            known = self._known
            if known is None or known[0] != minute:
                known = self._known = (minute, self._likely(self._numbers, minute))
            found[used] = known[1][places[used]]
        else:
            found[used] = self._likely(self._numbers[places[used]], minute)
        return found

    @staticmethod
    def _likely(numbers: Doubles, minute: int) -> Doubles:
        total, newest, first, last = numbers.T
        return likelihoods(base_levels(total, newest, first, last, minute * _MINUTE))

    def with_new(self, changed: int, items: NDArray[np.int64], numbers: Doubles) -> Counted:
        """These, with the newer numbers of some."""
        stay = ~np.isin(self._items, items)
        every = np.concatenate([self._items[stay], items])
        order = np.argsort(every, kind="stable")
        return Counted(changed, every[order], np.concatenate([self._numbers[stay], numbers])[order])


NOTHING: Final = Counted(0, np.zeros(0, dtype=np.int64), np.zeros((0, 4)))


class Uses:
    """What is counted of the cubes that are searched.

    Args:
        store: where it is counted.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: OrderedDict[int, tuple[int, float, list[Counted]]] = (
            OrderedDict()
        )  # by cube: token, when, newest last

    def of(self, cube: CubeRow, changed: int | None = None) -> Counted:
        """The uses of a cube's items now, or (if that is still known here) as they were after a writing.

        Args:
            changed: which writing; None for now.
        """
        token, now = self._store.change_token(), time.monotonic()
        with self._lock:
            seen, at, past = self._known.get(cube.number, (None, 0.0, [NOTHING]))
        if seen != token or now - at > _STALE:
            past = self._followed(cube, past)
            with self._lock:
                self._known[cube.number] = (token, now, past)
                self._known.move_to_end(cube.number)
                while len(self._known) > _CUBES:
                    self._known.popitem(last=False)
        return next((each for each in past if each.changed == changed), past[-1])

    def _followed(self, cube: CubeRow, past: list[Counted]) -> list[Counted]:
        fresh = self._store.uses.used(cube, past[-1].changed)
        if fresh.changed == past[-1].changed:
            return past
        items = np.array(sorted(fresh.items), dtype=np.int64)
        uses = [fresh.items[item] for item in items.tolist()]
        numbers = np.array([(use.total, use.newest, use.first_at, use.last_at) for use in uses], dtype=np.float64)
        newest = past[-1].with_new(fresh.changed, items, numbers.reshape(len(uses), 4))
        return [*past[1 - _PAST :], newest]

    def after_fork(self) -> None:
        """In a forked child: a lock that a thread of the parent held would never be released."""
        self._lock = threading.Lock()
