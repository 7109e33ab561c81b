"""Room: whether more jobs may be filed, without counting those that wait each time."""

from __future__ import annotations

from memos_core.stores.sql.job_rows import JobRows


class Room:
    """Knows how many jobs can wait at most by now, and counts them only when that may be too many.

    Jobs are numbered in the order of filing. So since a count no more can have come than numbers have been given out, and of
    those that ran or were for later then each may wait by now. (What a person has tried again is left out until the next count.)
    """

    def __init__(self) -> None:
        self._counted: tuple[int, int] | None = None  # how many waited, or could come to, and which job was the newest

    def left(self, rows: JobRows, most: int) -> bool:
        """Whether fewer than so many jobs wait.

        Args:
            rows: inside a transaction that writes.
            most: how many may wait.
        """
        newest = rows.newest()
        if self._counted is not None:
            counted, then = self._counted
            if 0 <= newest - then < most - counted:
                return True
        waiting = rows.count(most)
        counted = waiting if waiting >= most else waiting + rows.scheduled(most)
        self._counted = (counted, newest) if counted < most else None  # else there may be more than was counted
        return waiting < most
