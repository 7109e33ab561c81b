"""Room: whether more jobs may be filed, without counting those that wait each time."""

from __future__ import annotations

import time
from typing import Final

from memos_core.stores.sql.job_rows import JobRows

_GOOD_FOR: Final = 1.0  # seconds; a count does not know of what is tried again since


class Room:
    """Knows how many jobs can wait at most by now, and counts them only when that may be too many.

    Jobs are numbered in the order of filing. So since a count no more can have come than numbers have been given out, and of
    those that ran or were for later then each may wait by now. What somebody has tried again is left out until the next count,
    a second later at most.
    """

    def __init__(self) -> None:
        self._counted: tuple[int, int, float] | None = None  # how many waited or may come to, the newest job, and when

    def left(self, rows: JobRows, most: int) -> bool:
        """Whether fewer than so many jobs wait.

        Args:
            rows: inside a transaction that writes.
            most: how many may wait.
        """
        newest = rows.newest()
        if self._counted is not None:
            counted, then, when = self._counted
            if 0 <= newest - then < most - counted and time.monotonic() - when < _GOOD_FOR:
                return True
        waiting = rows.count(most)
        counted = waiting if waiting >= most else waiting + rows.scheduled(most)
        self._counted = (
            (counted, newest, time.monotonic()) if counted < most else None
        )  # else there may be more than was counted
        return waiting < most
