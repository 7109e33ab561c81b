"""Asking somebody who may never answer: with a deadline, and not again at once after they have failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from memos_core.errors import FollowerUnavailable, MemosError

_T = TypeVar("_T")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds without asking after a failure; doubled each time
MOST_LOST: Final = 8  # calls that never came back, before nobody is asked any more


class Patience:
    """Runs calls to one outsider on threads of their own, so that a stalled one costs the deadline and no more.

    Args:
        name: of the outsider, for messages.
        clock: seconds that only go forward.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0
        self._resume_at = 0.0
        self._reason = ""
        self._lost: list[threading.Thread] = []
        self._under_way: set[_Errand[Any]] = set()
        self._given_up = False

    @property
    def resting(self) -> str | None:
        """Why nobody is asked just now; None where somebody is."""
        with self._lock:
            self._lost = [thread for thread in self._lost if thread.is_alive()]
            if self._given_up:
                return f"{self.name} is being closed"
            if len(self._lost) >= MOST_LOST:
                return f"{len(self._lost)} calls to {self.name} have not come back; none is made until one does"
            return self._reason if self._clock() < self._resume_at else None

    def ask(self, call: Callable[[], _T], deadline: float) -> _T:
        """What the call answers.

        Raises:
            FollowerUnavailable: it failed, did not answer within so many seconds, or is resting after a failure.
            MemosError: as the call itself raised it.
        """
        resting = self.resting
        if resting is not None:
            raise FollowerUnavailable(resting)
        errand = _Errand(call)
        thread = threading.Thread(target=errand.run, name="memos-waiting", daemon=True)
        with self._lock:
            self._under_way.add(errand)
        try:
            thread.start()
            errand.done.wait(deadline)
        finally:
            with self._lock:
                self._under_way.discard(errand)
        if not errand.ended:
            with self._lock:
                self._lost.append(thread)
                if self._given_up:
                    raise FollowerUnavailable(f"{self.name} is being closed")
            raise self._failed(f"{self.name} has not answered within {deadline:g} seconds")
        if errand.error is None:
            with self._lock:
                self._pause = self._resume_at = 0.0
            return errand.answers[0]
        if isinstance(errand.error, MemosError):
            raise errand.error
        raise self._failed(f"{self.name} failed: {_first_line(errand.error)}") from errand.error

    def give_up(self) -> None:
        """Wait for nobody any more: calls under way are left behind."""
        with self._lock:
            self._given_up = True
            for errand in self._under_way:
                errand.done.set()

    def _failed(self, reason: str) -> FollowerUnavailable:
        with self._lock:
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
            self._resume_at = self._clock() + self._pause
            self._reason = reason
        return FollowerUnavailable(reason)


class _Errand(Generic[_T]):
    """A call on its way."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self.done = threading.Event()
        self.ended = False
        self.answers: list[_T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.answers.append(self._call())
        except BaseException as error:  # noqa: BLE001 - whatever a foreign driver raises (panics too) goes to the asker
            self.error = error
        finally:
            self.ended = True
            self.done.set()


def _first_line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
