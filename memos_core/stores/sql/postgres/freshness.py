"""Whether anybody has committed since one last looked, asked of a server once an operation.

SQLite answers that in microseconds out of shared memory. A server must be asked, and there is no way round it: a
notification arrives some time after the commit that it tells of was acknowledged, and a search that trusted it would miss
writes in between. So an operation (a search, say) asks once, when it begins, and goes by the answer until it ends; whatever
was acknowledged before it began, it sees.

The question is about snapshots. A snapshot says which transactions had committed. Rows of `batches` and `store`, one of
which every commit that matters writes, bear the number of their transaction; if one can be seen now that the snapshot taken
last time did not see, somebody has committed. Transactions may commit in any order, none waits for another, and where
nobody has written anything at all (the snapshots are equal) no table is touched.

With `reads=eventual` a reader listens instead, and asks only when it was told that somebody wrote, when this process wrote,
or when it has not asked for `poll` seconds.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from psycopg import sql

from memos_core.errors import StoreClosed
from memos_core.stores.sql.postgres.connecting import Connection

_NEW_ROWS = """EXISTS (SELECT 1 FROM {} WHERE xid >= pg_snapshot_xmin(%(seen)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot) AND pg_visible_in_snapshot(xid, taken))"""
_QUESTION: Final = f"""WITH now AS (SELECT pg_current_snapshot() AS taken)
    SELECT taken::text, CASE WHEN taken::text = %(seen)s THEN false
        ELSE {_NEW_ROWS.format("batches")} OR {_NEW_ROWS.format("store")} END FROM now"""  # noqa: S608 - of constants


_SNAPSHOT: Final = re.compile(r"[0-9]+:[0-9]+:[0-9,]*")


class _Operation:
    """An operation under way: when it asked, and how often this process had committed then."""

    def __init__(self, freshness: Freshness) -> None:
        self.freshness = freshness
        self.seen = -1


_operation: ContextVar[_Operation | None] = ContextVar("memos_operation", default=None)


class Freshness:
    """Answers `change_token` for one store.

    Args:
        connect: makes a connection.
        name: of the store, for messages.
        channel: on which writers tell that they wrote.
        poll: with a number, listen, and ask at least that often (seconds); None asks once an operation.
    """

    def __init__(self, connect: Callable[[], Connection], *, name: str, channel: str, poll: float | None) -> None:
        self._connect = connect
        self._name = name
        self._channel = channel
        self._poll = poll
        self._begin()
        self._token = 0
        self._lineage = 0
        self._history: tuple[str, str] | None = None
        self._closed = False

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._seen: str | None = None  # the snapshot taken last
        self._asked = 0  # questions begun
        self._answered = 0  # the newest question that was answered
        self._asked_at = 0.0
        self._own = 0  # commits of this process
        self._own_asked = -1  # of them, those before the last question

    # -- operations ---------------------------------------------------------------------------------------------------

    @contextmanager
    def operation(self, *, anew: bool = False) -> Iterator[None]:
        """Inside, the server is asked at most once (and once more after each commit of this process).

        Args:
            anew: also where an operation is under way already.
        """
        around = _operation.get()
        if around is not None and around.freshness is self and not anew:
            yield
            return
        token = _operation.set(_Operation(self))
        try:
            yield
        finally:
            _operation.reset(token)

    def committed(self) -> None:
        """This process has written."""
        with self._lock:
            self._own += 1

    # -- the answer ---------------------------------------------------------------------------------------------------

    def token(self) -> int:
        """Differs from the last one exactly when somebody has committed since."""
        if self._closed:
            raise StoreClosed(f"{self._name} is closed")
        operation = _operation.get()
        if operation is not None and operation.freshness is self:
            own = self._own
            if operation.seen != own:
                self._ask()
                operation.seen = own
            return self._token
        self._ask()
        return self._token

    def lineage(self) -> int:
        """Differs from the last one where what was read before may be gone: the server has another history."""
        return self._lineage

    def _ask(self) -> None:
        before = self._asked
        with self._lock:
            if self._answered > before:  # asked by another thread, after this one had come
                return
            if self._closed:
                raise StoreClosed(f"{self._name} is closed")
            try:
                if self._poll is None or self._told(self._poll):
                    self._question()
            except BaseException:
                self._drop()
                raise

    # -- asking along with something else -----------------------------------------------------------------------------

    def question(self, connection: Connection) -> tuple[str, int] | None:
        """The question as text without parameters, to be asked in the same round trip as something else, over any
        connection to the same history; and what to give `answered`. None where it need not, or cannot, be asked so.
        """
        with self._lock:
            seen, own = self._seen, self._own
            if seen is None or self._poll is not None or connection.history != self._history:
                return None
        if not _SNAPSHOT.fullmatch(seen):
            return None
        return _QUESTION.replace("%(seen)s", f"'{seen}'"), own

    def answered(self, row: tuple[str, bool], own: int) -> None:
        """What was answered to `question`; the operation under way goes by it."""
        with self._lock:
            self._seen = row[0]
            self._token += row[1]
        operation = _operation.get()
        if operation is not None and operation.freshness is self:
            operation.seen = own

    def _told(self, poll: float) -> bool:
        """Whether there is a reason to ask, of a reader that listens."""
        if self._connection is None or self._own_asked != self._own or time.monotonic() > self._asked_at + poll:
            return True
        raw = self._connection.pgconn
        raw.consume_input()
        told = False
        while raw.notifies() is not None:
            told = True
        return told

    def _question(self) -> None:
        self._asked += 1
        number, own, at = self._asked, self._own, time.monotonic()
        if self._connection is None:
            self._connection = self._connected()
            self._token += 1
        row = self._connection.execute(_QUESTION, {"seen": self._seen}).fetchone()
        assert row is not None
        self._seen, changed = str(row[0]), bool(row[1])
        self._token += changed
        self._answered, self._own_asked, self._asked_at = number, own, at

    def _connected(self) -> Connection:
        """A connection; what was seen through the one before means nothing if the server's history is another one."""
        made = self._connect()
        try:
            if self._history is not None and made.history != self._history:
                self._lineage += 1
            self._history = made.history
            self._seen = None
            if self._poll is not None:
                made.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        except BaseException:
            made.close()
            raise
        return made

    # -- the end ------------------------------------------------------------------------------------------------------

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let the connection go."""
        with self._lock:
            self._closed = True
            self._drop()

    def after_fork(self) -> None:
        """In a forked child: the connection belongs to the parent."""
        self._begin()
        self._token += 1
