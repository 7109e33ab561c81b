"""Progress on stderr, for what takes longer than a moment; only where somebody looks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from memos_core.cli.options import Settings
from memos_core.cli.output import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE: Final = 0.7  # seconds without a bar: most work is done by then
Advance = Callable[[int, int | None], None]


class _Bar:
    """A bar that shows itself when the work has taken a while."""

    def __init__(self, label: str, settings: Settings, in_bytes: bool) -> None:
        self._label = label
        self._settings = settings
        self._in_bytes = in_bytes
        self._lock = threading.Lock()
        self._done, self._total = 0, 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._closed = False
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        self._timer.start()

    def advance(self, done: int, total: int | None = None) -> None:
        """So much is done, of so much in all (None: as said before)."""
        with self._lock:
            self._done, self._total = done, self._total if total is None else total
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, completed=self._done, total=self._total or None)

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._progress is not None:
                self._progress.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        with self._lock:
            if self._closed:
                return
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn() if self._in_bytes else MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True, no_color=self._settings.no_color or None),
                transient=True,
            )
            self._task = self._progress.add_task(self._label, total=self._total or None, completed=self._done)
            self._progress.start()


def _unseen(done: int, total: int | None = None) -> None:
    """Progress that nobody looks at."""


@contextmanager
def progress(label: str, settings: Settings, *, in_bytes: bool = False) -> Iterator[Advance]:
    """A function to call with (done, in all); it draws a bar on stderr, if that is a terminal and nobody asked for quiet.

    Args:
        label: what is going on.
        settings: whether anybody wants to see it.
        in_bytes: what is counted are bytes.
    """
    if settings.quiet or not is_terminal(sys.stderr):
        yield _unseen
        return
    bar = _Bar(label, settings, in_bytes)
    try:
        yield bar.advance
    finally:
        bar.close()
