"""Time for the scheduler. It is asked only here, so that tests set it and never sleep."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is. May jump, forwards and backwards: nothing is lost by that, it only runs sooner or later."""

    def __call__(self) -> datetime:
        """The time, aware, in UTC."""


class ManualClock:
    """A clock that stands still until it is told to go on. Give it to `MOS.open(now=...)`.

    Args:
        start: the time it shows first.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._now = start

    def __call__(self) -> datetime:
        """The time it shows."""
        return self._now

    def go(self, seconds: float) -> datetime:
        """Go on by so many seconds (back, where they are negative); the new time."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now
