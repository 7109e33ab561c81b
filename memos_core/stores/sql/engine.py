"""Connections to the truth: one rule for threads and processes, and drivers' errors in our words.

SQLite runs in WAL mode with `synchronous=FULL`: what a commit acknowledged survives a power cut. Writers of one process
take turns at a lock, writers of several processes at `BEGIN IMMEDIATE`, with a deadline and jitter: SQLite's own busy
handler does not wait in every case (recovery of the WAL answers BUSY at once), so its timeout alone is not enough.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from memos_core.errors import (
    ForeignStore,
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreReadOnly,
)
from memos_core.stores.sql.databases import Answer, CopyIn, Kept

APPLICATION_ID = 0x6D656D6F  # "memo": tells our files from other people's SQLite files
PAGE_BYTES = 8192
_T = TypeVar("_T")
_LOOK = 0.05  # seconds between two looks at whether others have committed, of who waits for that
_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700


def translate(error: BaseException, where: str) -> StoreError:
    """A driver's error in our words."""
    raw = getattr(error, "orig", None) or error
    said = str(raw).partition(" with text ")[0]  # SQLite quotes what it cannot decode, which is somebody's memory
    code = getattr(raw, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"{where}: other processes kept the database locked ({said}); try again, or write less at once"
        )
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"{where}: no space left ({said}); nothing of this change was kept. Free some space, try again"
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StoreReadOnly(f"{where}: cannot be opened for writing ({said}); check its owner and permissions")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode to UTF-8" in said:
        return StoreDamaged(
            f"{where}: not readable as a database ({said}); nothing was changed. Restore a backup, or salvage it with "
            "the sqlite3 program's .recover"
        )
    if primary == sqlite3.SQLITE_IOERR:
        return StoreError(f"{where}: the disk failed ({said}); what was acknowledged before is kept")
    if isinstance(raw, sqlite3.ProgrammingError) and "closed" in said:
        return StoreClosed(f"{where} is closed")
    return StoreError(f"{where}: {said}")


def is_busy(error: BaseException) -> bool:
    """Whether the database asked to try again."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _Operation:
    """What an operation goes by."""

    __slots__ = ("commits", "rules", "token")

    def __init__(self) -> None:
        self.commits = -1  # of this process, when it asked
        self.token = self.rules = 0


class Database:
    """An open database. Use `reading()` and `writing()`; both give a connection inside one transaction.

    Args:
        path: the SQLite file; its folder is made, private to the user, when missing.
        deadline: seconds that a caller waits at most while others write.
    """

    def __init__(self, path: Path, *, deadline: float = 30.0) -> None:
        self.path = path
        self.name = str(path)
        self._deadline = deadline
        self._patience = min(1.0, deadline)  # seconds that SQLite itself waits; the rest is waited for here
        self._writer = threading.Lock()
        self._held_by: int | None = None  # the thread that writes
        self._waiting_for_fork = False
        self._watch_lock = threading.Lock()
        self._watch: sqlite3.Connection | None = None
        self._rules = 0  # how often cubes, grants or settings may have changed
        self._rules_as_of: int | None = None  # the change token that this holds for
        self._settings: tuple[int, dict[str, str]] = (-1, {})  # as they were under that many changes of the rules
        self._commits = 0  # of this process
        self._asked = threading.local()  # `.operation`: what the operation of this thread goes by
        self._forks = 0  # between the process that opened it and this one
        self._writing_on: Connection | None = None
        self._closed = False
        self._prepare_file()
        self.engine = self._make_engine()
        own = weakref.ref(self)
        os.register_at_fork(
            before=lambda: _before_fork(own()),
            after_in_parent=lambda: _after_fork(own()),
            after_in_child=lambda: _forget_connections(own()),
        )

    # -- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database, whatever others write meanwhile."""
        with self._translated(), self._connection("BEGIN") as connection:
            yield connection

    def asking(self) -> AbstractContextManager[Connection]:
        """A connection for one statement; the same as `reading` here."""
        return self.reading()

    @contextmanager
    def writing(
        self, *, alone: bool = False, kept: Kept | None = None, same_rules: Callable[[], bool] | None = None
    ) -> Iterator[Connection]:
        """A connection that alone may write; committed at the end, rolled back on any error.

        Args:
            alone: every writer is, here.
            kept: a file does not go away while it commits; never asked.
            same_rules: whether cubes, grants and settings stay what they were, asked after the commit; None: they may not.

        Raises:
            StoreBusy: others kept writing until the deadline.
        """
        until = time.monotonic() + self._deadline
        writer = self._writer  # a child that is forked meanwhile has another one
        if not writer.acquire(timeout=self._deadline):
            raise StoreBusy(f"{self.name}: another thread has been writing for over {self._deadline:g} s")
        self._held_by = threading.get_ident()
        before: int | None = None

        def committed(connection: Connection) -> None:
            if same_rules is not None and same_rules():
                self._carry_rules_over(connection, before)

        try:
            with self._translated(), self._connection("BEGIN IMMEDIATE", until, committed) as connection:
                self._writing_on = connection
                if same_rules is not None:
                    before = self._commits_of_others(connection)
                yield connection
        finally:
            self._commits += 1  # or nearly
            self._held_by = self._writing_on = None
            writer.release()

    @contextmanager
    def _connection(
        self, begin: str, until: float | None = None, committed: Callable[[Connection], None] = lambda _: None
    ) -> Iterator[Connection]:
        connection, forks = self._retried(lambda: self._begin(begin), until), self._forks
        try:
            yield connection
            self._commit(connection, until, forks)
            committed(connection)
        except BaseException:
            if self._forks == forks:
                self._roll_back(connection)
            raise
        finally:
            if self._forks == forks:
                connection.close()

    def _commit(self, connection: Connection, until: float | None, forks: int) -> None:
        """Commit what was begun so many forks after the file was opened.

        Raises:
            StoreError: the parent of this process began it, or it has been rolled back.
        """
        if self._forks != forks:
            raise StoreError(
                f"{self.name}: this process was forked inside of a transaction, which is its parent's to end; begin another one"
            )
        raw = self._inside(connection)
        self._retried(lambda: raw.execute("COMMIT"), until)

    def _inside(self, connection: Connection) -> sqlite3.Connection:
        """The driver's connection, inside the transaction that was begun.

        Raises:
            StoreError: SQLite has ended it, as it does where a disk is full or fails; what follows would be kept by itself.
        """
        raw = _raw(connection)
        if not raw.in_transaction:
            raise StoreError(
                f"{self.name}: an error has ended this transaction, nothing of it was kept; do all of it again"
            )
        return raw

    def _begin(self, begin: str) -> Connection:
        if self._closed:
            raise StoreClosed(f"{self.name} is closed")
        connection = self.engine.connect()
        try:
            raw = _raw(connection)
            raw.execute(begin)
            if begin == "BEGIN":  # the first read fixes the moment; recovery of the WAL may answer BUSY here
                raw.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except BaseException:
            self._roll_back(connection)
            connection.close()
            raise
        return connection

    @staticmethod
    def _roll_back(connection: Connection) -> None:
        if connection.invalidated:  # after an interrupt: what it had begun is gone with it
            return
        raw = _raw(connection)
        if raw.in_transaction:
            raw.rollback()

    def _retried(self, attempt: Callable[[], _T], until: float | None) -> _T:
        until = time.monotonic() + self._deadline if until is None else until
        pause = 0.001
        while True:
            try:
                return attempt()
            except (DBAPIError, sqlite3.OperationalError) as error:
                if not is_busy(error) or time.monotonic() + pause > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.25)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            raise translate(error, self.name) from error
        except UnicodeDecodeError as error:  # the driver's, of a text or a table's name
            raise StoreDamaged(
                f"{self.name}: holds bytes that are no text ({error}); nothing was changed. Restore a backup"
            ) from error
        except PoolTimeout as error:
            raise StoreBusy(f"{self.name}: all connections of this process are in use: {error}") from error

    # -- changes of others --------------------------------------------------------------------------------------------

    def change_token(self) -> int:
        """A number that differs from the last one exactly when any connection, of any process, has committed since.

        Takes microseconds, so a follower may ask before every read.
        """
        operation = self._of_operation()
        if operation is not None:
            return operation.token
        with self._watch_lock, self._translated():
            return self._token()

    def _of_operation(self) -> _Operation | None:
        """What the operation of this thread goes by, asked anew if this process has committed since."""
        operation: _Operation | None = getattr(self._asked, "operation", None)
        if operation is not None and operation.commits != self._commits:
            commits = self._commits
            with self._watch_lock, self._translated():
                operation.token, operation.rules = self._token(), self._counted_rules()
            operation.commits = commits  # now that it has been asked: if that fails, it is asked again
        return operation

    def _token(self) -> int:
        if self._closed:
            raise StoreClosed(f"{self.name} is closed")
        if self._watch is None:
            self._watch = self._retried(self._raw_connection, None)
        watch = self._watch
        try:
            counted = _data_version(watch)
        except sqlite3.OperationalError:
            counted = self._retried(lambda: _data_version(watch), None)
        return (self._forks << 32) + counted  # each connection counts anew, in 32 bits

    def rules_token(self) -> int:
        """A number that differs from the last one wherever cubes, grants or settings may have changed since.

        It stays the same across commits of this process that touched none of them. SQLite does not tell whose a commit was,
        but a connection's own commits do not show in its `data_version`: see `_carry_rules_over`.
        """
        operation = self._of_operation()
        if operation is not None:
            return operation.rules
        with self._watch_lock, self._translated():
            return self._counted_rules()

    def _counted_rules(self) -> int:
        now = self._token()
        if now != self._rules_as_of:
            self._rules += 1
            self._rules_as_of = now
        return self._rules

    def _commits_of_others(self, connection: Connection) -> int:
        """A number that a commit over another connection changes. Taken while this one keeps all others from committing."""
        with self._watch_lock:
            self._counted_rules()
        return _data_version(_raw(connection))

    def _carry_rules_over(self, connection: Connection, before: int | None) -> None:
        """What was known of the rules before this connection's own commit holds after it, if nobody else has committed since.

        The token is taken first: whoever commits behind it changes it again.
        """
        with self._watch_lock, suppress(sqlite3.Error):  # it is committed: at worst the rules are read once more
            if not self._closed:
                now = self._token()
                if _data_version(_raw(connection)) == before:
                    self._rules_as_of = now

    def wait_for_commit(self, seconds: float, sooner: threading.Event) -> None:
        """Return when anybody may have committed, when an event is set, or after so many seconds.

        Other processes are noticed within 50 ms: asking takes microseconds.
        """
        until = time.monotonic() + seconds
        token = self.change_token()
        while not sooner.wait(max(0.0, min(_LOOK, until - time.monotonic()))):
            if time.monotonic() >= until or self.change_token() != token:
                return

    def facts(self) -> dict[str, str | int]:
        """What SQLite says of itself and of this file."""
        with self.reading() as connection:

            def pragma(name: str) -> str | int:
                found: str | int = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                return found

            page = int(pragma("page_size"))
            levels = ("off", "normal", "full", "extra")
            return {
                "database": f"SQLite {sqlite3.sqlite_version}",
                "journal_mode": pragma("journal_mode"),
                "synchronous": levels[int(pragma("synchronous"))],
                "secure_delete": pragma("secure_delete"),
                "page_bytes": page,
                "unused_bytes": int(pragma("freelist_count")) * page,
                "log_bytes": _size(Path(f"{self.path}-wal")),
                "bytes": sum(_size(Path(f"{self.path}{part}")) for part in ("", "-wal", "-shm")),
            }

    def vacuum(self, *, whole: bool = False) -> list[str]:
        """Move everything to the front of the file and cut the rest off.

        Others may read meanwhile; writers wait. Nothing is lost if it is interrupted: the file stays as it was.

        Args:
            whole: it always is: all that is in use is written anew, what is not is cut off or overwritten.

        Raises:
            StoreBusy: others kept writing (or reading one moment) until the deadline.
            StoreFull: the disk has no room for a second copy of the database and a log of it.
        """
        free, needed = shutil.disk_usage(self.path.parent).free, 2 * self.path.stat().st_size
        if free < needed:
            raise StoreFull(
                f"{self.name}: to vacuum it needs {needed >> 20} MB free, there are {free >> 20} MB; free some space first"
            )
        until = time.monotonic() + self._deadline
        if not self._writer.acquire(timeout=self._deadline):
            raise StoreBusy(f"{self.name}: another thread has been writing for over {self._deadline:g} s")
        try:
            with self._translated(), closing(self._retried(self._raw_connection, until)) as connection:
                connection.execute("PRAGMA temp_store=FILE")  # the copy is as large as the database
                self._retried(lambda: connection.execute("VACUUM"), until)
                self._retried(lambda: _truncate_wal(connection), until)
            return []
        finally:
            self._writer.release()

    @contextmanager
    def operation(self, *, anew: bool = False) -> Iterator[None]:
        """Inside, this thread goes by what had been committed when it first asked, and by this process's own commits.

        Args:
            anew: even inside another operation, which goes by its own answers afterwards.
        """
        outer: _Operation | None = getattr(self._asked, "operation", None)
        if outer is not None and not anew:
            yield
            return
        self._asked.operation = _Operation()
        try:
            yield
        finally:
            self._asked.operation = outer

    def lineage(self) -> int:
        """Always the same: a file that was opened is never exchanged for another."""
        return 0

    # -- what the statements need of this database --------------------------------------------------------------------

    def run(self, connection: Connection, text: str, values: Sequence[Any]) -> Answer:
        """Run a statement by the driver itself: SQLAlchemy's way there and back costs more than SQLite does."""
        cursor = self._inside(connection).execute(text, values)
        try:
            rows = cursor.fetchall()  # all at once: a statement that is not read to its end would keep its moment open
        except BaseException:  # whoever keeps the error keeps this frame, too
            cursor.close()
            raise
        return Answer(rows, [each[0] for each in cursor.description or ()])

    def run_each(self, connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement that answers nothing once for each of these rows of values."""
        if len(rows) == 1:
            self._inside(connection).execute(text, rows[0])
        else:
            self._inside(connection).executemany(text, rows)

    def repeated(self, work: Callable[[], _T]) -> _T:
        """What some work answers; a file is never away for a while."""
        return work()

    def settings(self, connection: Connection) -> dict[str, str]:
        """All settings, for a transaction that writes and has changed none of them."""
        rules = self.rules_token()
        if self._settings[0] != rules:
            found = self.run(connection, "SELECT key, value FROM store", ())
            self._settings = (rules, dict(found.rows))
        return self._settings[1]

    def later(self, connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Nothing is put off: there are no round trips to save."""
        return False

    def lock(self, connection: Connection, what: str) -> bool:
        """Nothing to do, whoever writes is alone; what was read before still holds."""
        return False

    def new_cube_number(self, connection: Connection) -> int:
        """A number that no cube has."""
        return int(connection.exec_driver_sql("SELECT coalesce(max(cube), 0) + 1 FROM cubes").scalar_one())

    def numbers_taken(self, connection: Connection) -> None:
        """Nothing to do: the next number is the highest and one."""

    copy_in: CopyIn | None = None  # inserting many rows needs no other way here

    # -- opening and closing ------------------------------------------------------------------------------------------

    def belongs_to(self, store_id: str) -> None:
        """Nothing to do: a file that was opened stays the same one."""

    def close(self) -> None:
        """Close every connection. Doing it twice does nothing."""
        with self._watch_lock:
            self._closed = True
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self.engine.dispose()

    def before_fork(self) -> None:
        """Wait until no other thread writes: a child would take SQLite's notes of that thread's lock for its own, for ever."""
        if self._held_by != threading.get_ident():
            self._waiting_for_fork = self._writer.acquire(timeout=self._deadline)

    def after_fork_in_parent(self) -> None:
        """Let the threads go on."""
        if self._waiting_for_fork:
            self._waiting_for_fork = False
            self._writer.release()

    def after_fork(self) -> None:
        """In the child: forget all connections without closing them."""
        self._forks += 1
        self._commits += 1  # what an operation goes by is asked anew
        self._watch = None
        self._rules_as_of = None
        if self._writing_on is not None:
            _never_close(self._writing_on)
        self._held_by = self._writing_on = None
        self._waiting_for_fork = False
        self._writer = threading.Lock()
        self._watch_lock = threading.Lock()
        self.engine.dispose(close=False)

    def _prepare_file(self) -> None:
        try:
            self.path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _PRIVATE_FILE))
        except OSError as error:
            raise StoreReadOnly(f"{self.path.parent}: cannot make the store here: {error}") from error
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK):
            raise StoreReadOnly(
                f"{self.path}: the file and its folder must be writable (readers write to the WAL's index too); "
                "check its owner and permissions"
            )
        with self._translated():
            self._retried(self._claim, None)

    def _claim(self) -> None:
        """Refuse files that are not ours; set up a new one."""
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None)
        try:
            connection.execute("BEGIN")  # both answers are of one moment: another process may be setting it up just now
            found = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            connection.execute("COMMIT")
            if found == APPLICATION_ID:
                return
            if found != 0 or tables:
                raise ForeignStore(
                    f"{self.path} is a SQLite database of another program (application_id {found:#x}); "
                    "give memos a folder of its own"
                )
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        finally:
            connection.close()

    def _raw_connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            _set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite+pysqlite", database=str(self.path)),
            connect_args={"check_same_thread": False, "timeout": self._patience, "isolation_level": None},
            pool_size=8,
            max_overflow=56,
            pool_timeout=self._deadline,
            skip_autocommit_rollback=True,
            hide_parameters=True,  # they are people's memories: not for logs, nor for the text of errors
        )

        @event.listens_for(engine, "connect")
        def connected(raw: sqlite3.Connection, _: object) -> None:
            self._retried(lambda: _set_up(raw), None)

        @event.listens_for(engine, "before_cursor_execute")
        def executes(connection: Connection, *_: object) -> None:
            self._inside(connection)

        return engine


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _raw(connection: Connection) -> sqlite3.Connection:
    raw: Any = connection.connection.dbapi_connection
    return cast(sqlite3.Connection, raw)


def _before_fork(database: Database | None) -> None:
    if database is not None:
        database.before_fork()


def _after_fork(database: Database | None) -> None:
    if database is not None:
        database.after_fork_in_parent()


def _forget_connections(database: Database | None) -> None:
    """In a forked child: the parent's connections must not be used or closed here."""
    if database is not None:
        database.after_fork()


def _never_close(connection: Connection) -> None:
    """Keep a connection even behind the end of this process: its parent is writing, and whoever closes it or rolls it back takes
    what it has written out of the log, which they share.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _truncate_wal(connection: sqlite3.Connection) -> None:
    """Move the log into the database and empty it."""
    blocked = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if blocked:
        error = sqlite3.OperationalError("a reader or writer holds the log")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA wal_autocheckpoint=8000")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA cache_size=-16000")  # kB; vectors are read from all over the file
