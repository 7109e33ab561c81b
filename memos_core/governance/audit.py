"""AuditLog: who read what, and who was refused, written into the audit chain of the cube without slowing the reader.

What is read is noted in memory (microseconds) and written within a second by one thread, which ends when there is nothing
to write; a cube with strict reads has it written before the answer is given. A denial that says so is written at once. One
that looks like absence is noted in memory too, whoever asks, so that the time of the answer does not tell that there is
something. Questions are never written: they may be as private as what they find.

What is lost when the process is killed is what it read in its last second, outside of strict cubes. An ordinary end of the
process, and `close`, write everything first.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from memos_core.errors import MemosError, StoreClosed, StoreError, StoreReadOnly, StoreRefused
from memos_core.events import event
from memos_core.protocols.storage import RecordStore
from memos_core.types.work import CubeRow, utc_now

READ: Final = "read"
DENIED: Final = "denied"
MOST_IDS: Final = 100  # of one operation that are written down; of more, how many
_DELAY: Final = 0.5  # seconds from the first note to the writing of it
_IDLE: Final = 2.0  # seconds after which the thread ends
_RETRY: Final = 1.0
_AT_ONCE: Final = 100  # cubes in one transaction; their writers wait meanwhile
log = logging.getLogger(__name__)


class _Group(msgspec.Struct):
    """What one actor did with one cube since the last writing."""

    cube: CubeRow
    operations: list[dict[str, Any]] = []
    refused: dict[tuple[str, str], dict[str, Any]] = {}


_Waiting = dict[tuple[str, str, int], _Group]  # by actor, action and number of the cube


class AuditLog:
    """Reads and denials of one open store.

    Args:
        store: whose chains they go to.
        now: the clock.
        delay: seconds after which a note is written at the latest, where the store can be written.
        most: operations that are kept in memory; whoever makes one more writes them first.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        now: Callable[[], datetime] = utc_now,
        delay: float = _DELAY,
        most: int = 10_000,
    ) -> None:
        self._store = store
        self._now = now
        self._delay = delay
        self._most = most
        self._closed = False
        self.failed: MemosError | None = None  # why the last writing did not succeed
        self.lost = 0  # operations that could not be written, because the store is only readable here
        self._begin()
        own = weakref.ref(self)
        self._at_exit = lambda: _write_before_the_end(own())
        atexit.register(self._at_exit)

    def _begin(self) -> None:
        self._lock = threading.Lock()  # of what waits; held for microseconds
        self._writing = threading.Lock()  # one writes at a time
        self._changed = threading.Condition(self._lock)
        self._waiting: _Waiting = {}
        self._count = 0
        self._since = 0.0  # when the oldest note was made
        self._thread: threading.Thread | None = None

    # -- noting ---------------------------------------------------------------------------------------------------

    def read(
        self, cube: CubeRow, actor: str, operation: str, ids: Sequence[str], reason: str, *, strict: bool = False
    ) -> None:
        """Note that somebody has read items of a cube.

        Args:
            operation: "search", "get", ...
            ids: of the items; those behind the first hundred are only counted.
            reason: why it was allowed: "owner", "grant to role:team by bob".
            strict: it is in the chain when this returns.

        Raises:
            StoreError: strict, and it cannot be written; or as many notes wait as may, and they cannot be written.
        """
        told: dict[str, Any] = {"operation": operation, "ids": list(ids[:MOST_IDS]), "at": self._now(), "by": reason}
        if len(ids) > MOST_IDS:
            told["more"] = len(ids) - MOST_IDS
        if strict:
            self._write({(actor, READ, cube.number): _Group(cube, [told])})
            return
        if self._count >= self._most:
            self.flush()
        with self._lock:
            self._check_open()
            self._group(actor, READ, cube).operations.append(told)
            self._noted()

    def denied(self, cube: CubeRow, actor: str, operation: str, reason: str, *, visible: bool) -> None:
        """Note that somebody was refused.

        Args:
            operation: what was asked for: "read", "write", ...
            reason: why not.
            visible: the answer says that the cube is there; then it is in the chain when this returns (but for denials
                inside of a transaction, which undo it).

        Raises:
            StoreError: visible, and it cannot be written now.
        """
        told: dict[str, Any] = {"operation": operation, "at": self._now(), "by": reason}
        if visible and not self._store.writing:  # inside of a transaction another one would wait for it
            self._write_each({(actor, DENIED, cube.number): _Group(cube, [told])})
            return
        if self._count >= 2 * self._most:
            self.flush()
        with self._lock:
            self._check_open()
            refused = self._group(actor, DENIED, cube).refused
            before = refused.get((operation, reason))
            if before is not None:  # counted, so that whoever knocks again and again fills no memory
                before["times"] = before.get("times", 1) + 1
                return
            refused[operation, reason] = told
            self._noted()

    def _group(self, actor: str, action: str, cube: CubeRow) -> _Group:
        key = (actor, action, cube.number)
        group = self._waiting.get(key)
        if group is None:
            group = self._waiting[key] = _Group(cube, [], {})
        return group

    def _noted(self) -> None:
        """One note more; somebody will write it. The lock is held."""
        self._count += 1
        if self._count == 1:
            self._since = time.monotonic()
        if self._thread is None:
            thread = threading.Thread(target=self._write_in_turn, name="memos-audit", daemon=True)
            with suppress(RuntimeError):  # the process is ending, and starts no threads any more: `close` writes it
                thread.start()
                self._thread = thread
        elif self._count == 1:
            self._changed.notify()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self._store.name} is closed")

    # -- writing --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything that was noted.

        Raises:
            StoreError: it cannot be written; it is kept, and tried again.
        """
        with self._writing:
            with self._lock:
                waiting, count = self._waiting, self._count
                self._waiting, self._count = {}, 0
            try:
                self._write_each(waiting)
            except BaseException:
                self._keep(waiting, count)
                raise

    def _write_each(self, waiting: _Waiting) -> None:
        """Write it, so many cubes at a time; what is written is taken out."""
        while waiting:
            action = next(iter(waiting))[1]
            part: _Waiting = {}
            cubes: set[int] = set()
            for key, group in waiting.items():
                if key[1] == action and group.cube.number not in cubes and len(part) < _AT_ONCE:
                    part[key] = group
                    cubes.add(group.cube.number)
            try:
                self._write(part)
            except (StoreReadOnly, StoreRefused) as error:
                self._lose(part, error)
            for key in part:
                del waiting[key]

    def _write(self, groups: _Waiting) -> None:
        """One transaction: an entry for each cube, under its own actor. All are of the same action."""
        first, action, _ = next(iter(groups))
        with self._store.begin(actor=first, action=action) as transaction:
            for (actor, _, _), group in sorted(groups.items(), key=lambda each: each[1].cube.name):
                row = transaction.cube(group.cube.name)
                if row is None or row.number != group.cube.number:
                    continue  # it is gone, and its chain with it
                operations = [*group.operations, *group.refused.values()]
                told = [{**each, "at": each["at"].isoformat()} for each in operations]
                transaction.note(row, operations=told)
                transaction.enter(row, actor=actor)

    def _lose(self, groups: _Waiting, error: MemosError) -> None:
        """Whoever may only read the store cannot write what it reads: that is said, and not tried for ever."""
        count = sum(len(group.operations) + len(group.refused) for group in groups.values())
        if not self.lost:
            log.warning("reads of this process are not audited: %s", error)
        self.lost += count
        with event("memos.audit_lost", operations=count):
            pass

    def _keep(self, waiting: _Waiting, count: int) -> None:
        """Put what could not be written before what has been noted since."""
        with self._lock:
            for key, group in self._waiting.items():
                before = waiting.get(key)
                if before is None:
                    waiting[key] = group
                else:
                    before.operations += group.operations
                    for told, refused in group.refused.items():
                        known = before.refused.setdefault(told, refused)
                        if known is not refused:
                            known["times"] = known.get("times", 1) + refused.get("times", 1)
            self._waiting = waiting
            self._count = sum(len(group.operations) + len(group.refused) for group in waiting.values())

    # -- the thread -----------------------------------------------------------------------------------------------

    def _write_in_turn(self) -> None:
        """Write what is noted, until nothing has been for a while."""
        try:
            with suppress(StoreClosed):  # by somebody who has not closed this first: nobody will ever write it
                while self._time_to_write():
                    self._try_to_write()
        finally:  # whatever ended it: the next note starts another one
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _time_to_write(self) -> bool:
        """Wait until there is something to write; False where there is not, and the thread has ended."""
        with self._lock:
            if not self._count:
                self._changed.wait(_IDLE)
            if self._count:
                self._changed.wait_for(lambda: self._closed, max(0.0, self._since + self._delay - time.monotonic()))
            if self._closed or not self._count:
                self._thread = None  # under the lock: whoever makes the next note sees it
                return False
            return True

    def _try_to_write(self) -> None:
        try:
            with event("memos.audit"):
                self.flush()
            self.failed = None
        except StoreClosed:
            raise
        except MemosError as error:
            if self.failed is None:
                log.warning("reads wait to be audited (%s); this is tried again", type(error).__name__)
            self.failed = error
            with self._lock:
                self._changed.wait_for(lambda: self._closed, _RETRY)

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write everything, and take no more. Doing it twice does nothing.

        What cannot be written (the server is away, the disk is full) is lost with the process, and the log says how much: who
        only reads is not told of it by an error at the end. Cubes with strict reads have nothing here to lose.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        atexit.unregister(self._at_exit)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        try:
            self.flush()
        except StoreError as error:
            self.failed, self.lost = error, self.lost + self._count
            log.error("%d reads of %s are in no audit: %s", self._count, self._store.name, error)

    def after_fork(self) -> None:
        """In a forked child: what was noted is the parent's to write, and its thread is not here."""
        self._begin()


def _write_before_the_end(audit: AuditLog | None) -> None:
    """At the end of the process, of a store that nobody has closed."""
    if audit is not None:
        try:
            audit.close()
        except MemosError as error:
            log.warning("reads were not audited: %s", error)
